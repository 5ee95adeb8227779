"""The tab of groups: name a selection, compare groups, gather patches. It computes nothing."""

from typing import Any

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.widgets.explore_card import make_pixmap
from napari_bio_superposition.widgets.explore_controller import ExploreController
from napari_bio_superposition.widgets.explore_thumbnails import Thumbnails
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.message import MessageLine

SELECTION = "selection"
REST = "all others"
_COLUMNS = (
    ("feature", "Feature"),
    ("auroc", "AUROC"),
    ("log2_fold_change", "log2 ratio"),
    ("q_well", "q (wells)"),
)
_MOST_ROWS = 100
_MOST_PICTURES = 48
_PICTURE_PX = 64
_ROW = Qt.ItemDataRole.UserRole


class GroupsPanel(QWidget):
    """Names selections, compares them and shows their patches.

    Parameters
    ----------
    controller
        Knows the study.
    """

    compare_asked = Signal(object, object)
    """Masks over the rows; the second is ``None`` for all others."""
    feature_chosen = Signal(str)
    show_asked = Signal(int)
    """Show this row in its image."""

    def __init__(self, controller: ExploreController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._thumbnails = Thumbnails(controller.study)
        self.count_label = QLabel()
        self.name_line = QLineEdit()
        self.name_line.setPlaceholderText("Name of a group")
        self.save_button = QPushButton("Save group")
        self.show_button = QPushButton("Show in image")
        self.clear_button = QPushButton("Clear")
        self.first_box, self.second_box = CalmComboBox(), CalmComboBox()
        self.select_button, self.remove_button = QPushButton("Select"), QPushButton("Remove")
        self.compare_button = QPushButton("Compare")
        self.results = self._make_results()
        self.gallery_button = QPushButton("Gather patches")
        self.gallery = self._make_gallery()
        self.message = MessageLine()
        self._lay_out()
        self._connect()
        self.refresh()

    def _make_results(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels([title for _, title in _COLUMNS])
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setToolTip("A click colours the plot by the feature and shows it in the image.")
        rows, header = table.verticalHeader(), table.horizontalHeader()
        if rows is not None and header is not None:
            rows.hide()
            rows.setDefaultSectionSize(20)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        return table

    def _make_gallery(self) -> QListWidget:
        gallery = QListWidget()
        gallery.setViewMode(QListView.ViewMode.IconMode)
        gallery.setResizeMode(QListView.ResizeMode.Adjust)
        gallery.setMovement(QListView.Movement.Static)
        gallery.setIconSize(QSize(_PICTURE_PX, _PICTURE_PX))
        gallery.setSpacing(3)
        gallery.setToolTip("Double click: show the patch in its image.")
        return gallery

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 0)
        for widgets in (
            (self.count_label, self.clear_button, self.show_button),
            (self.name_line, self.save_button),
            (self.first_box, QLabel("against"), self.second_box, self.compare_button),
        ):
            layout.addLayout(_make_row(*widgets))
        layout.addWidget(self.results, 2)
        layout.addLayout(_make_row(self.gallery_button, self.select_button, self.remove_button))
        layout.addWidget(self.gallery, 2)
        layout.addWidget(self.message)

    def _connect(self) -> None:
        study = self._controller.study
        study.selection_changed.connect(self._on_selected)
        study.groups_changed.connect(self.refresh)
        self.save_button.clicked.connect(self._save)
        self.name_line.returnPressed.connect(self._save)
        self.clear_button.clicked.connect(lambda: study.selection.clear())
        self.show_button.clicked.connect(self._ask_show)
        self.compare_button.clicked.connect(self._ask_compare)
        self.select_button.clicked.connect(self._select_group)
        self.remove_button.clicked.connect(self._remove_group)
        self.gallery_button.clicked.connect(self.gather)
        self.results.cellClicked.connect(self._on_result_clicked)
        self.gallery.itemClicked.connect(self._on_picture_clicked)
        self.gallery.itemDoubleClicked.connect(lambda item: self.show_asked.emit(item.data(_ROW)))

    def shut_down(self) -> None:
        """Stop listening to the study."""
        study = self._controller.study
        study.selection_changed.disconnect(self._on_selected, missing_ok=True)
        study.groups_changed.disconnect(self.refresh, missing_ok=True)

    # --- what is shown -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Offer the groups there are."""
        names = [SELECTION, *self._controller.study.groups]
        for box, texts in ((self.first_box, names), (self.second_box, [REST, *names])):
            chosen = box.currentText()
            box.clear()
            box.addItems(texts)
            box.setCurrentIndex(max(0, box.findText(chosen)))
        self._on_selected()

    def show_comparison(self, table: Any) -> None:
        """List the features of a comparison, the largest effect first."""
        shown = table.head(_MOST_ROWS)
        self.results.setRowCount(len(shown))
        for column, (name, _) in enumerate(_COLUMNS):
            for row, value in enumerate(shown[name]):
                text = value if isinstance(value, str) else f"{value:.3g}"
                self.results.setItem(row, column, QTableWidgetItem(text))
        warning = str(shown["warning"].iloc[0]) if len(shown) else ""
        self.message.show_plain(warning)

    def _on_selected(self, *_: object) -> None:
        selection = self._controller.study.selection
        self.count_label.setText(f"{len(selection):,} of {selection.n_rows:,} selected")
        has_any = len(selection) > 0
        for button in (self.save_button, self.show_button, self.clear_button):
            button.setEnabled(has_any)

    # --- what the user does ------------------------------------------------------------------

    def _save(self) -> None:
        try:
            self._controller.study.save_group(self.name_line.text())
        except BioSuperpositionError as error:
            self.message.show_error(str(error))
            return
        name = self.name_line.text().strip()
        self.first_box.setCurrentText(name)
        self.message.show_good(f"Saved as the group {name}.")
        self.name_line.clear()

    def _mask(self, name: str) -> BoolArray | None:
        if name == REST:
            return None
        if name == SELECTION:
            return np.array(self._controller.study.selection.mask)
        return self._controller.study.groups[name]

    def _ask_compare(self) -> None:
        first = self._mask(self.first_box.currentText())
        self.message.clear()
        self.compare_asked.emit(first, self._mask(self.second_box.currentText()))

    def _select_group(self) -> None:
        mask = self._mask(self.first_box.currentText())
        if mask is not None:
            self._controller.study.selection.select(mask, source="table")

    def _remove_group(self) -> None:
        self._controller.study.remove_group(self.first_box.currentText())

    def gather(self) -> None:
        """Show the patches of the first group, those of open images."""
        self.gallery.clear()
        mask = self._mask(self.first_box.currentText())
        rows = np.flatnonzero(mask) if mask is not None else np.zeros(0, np.int64)
        at_hand = self._thumbnails.rows_at_hand(rows)
        step = max(1, len(at_hand) // _MOST_PICTURES)
        for row, picture in self._thumbnails.pictures(at_hand[::step], _MOST_PICTURES):
            item = QListWidgetItem(QIcon(make_pixmap(picture, _PICTURE_PX)), "")
            item.setData(_ROW, row)
            table = self._controller.table
            item.setToolTip("" if table is None else str(table.obs_names[row]))
            self.gallery.addItem(item)
        self.message.show_plain(
            f"{self.gallery.count()} of {len(rows):,} patches shown"
            + ("." if len(at_hand) == len(rows) else f"; {len(at_hand):,} lie in open images.")
        )

    def _on_picture_clicked(self, item: QListWidgetItem) -> None:
        self._controller.study.selection.select([item.data(_ROW)], source="table")

    def _on_result_clicked(self, row: int, _: int) -> None:
        item = self.results.item(row, 0)
        if item is not None:
            self.feature_chosen.emit(item.text())

    def _ask_show(self) -> None:
        rows = self._controller.study.selection.rows
        if len(rows):
            self.show_asked.emit(int(rows[0]))


def _make_row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, 0 if isinstance(widget, QPushButton) else 1)
    return row
