"""A table of latents with a search field: a click looks at one, a tick keeps its map."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from qtpy.QtCore import QModelIndex, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.widgets.feature_display import FeatureDisplay
from napari_bio_superposition.widgets.latent_table_model import LatentColumn, LatentTableModel
from napari_bio_superposition.widgets.map_queue import MapQueue
from napari_bio_superposition.widgets.swatch import make_swatch

_ROW_HEIGHT_PX = 22
_SMALLEST_HEIGHT_PX = 110
_COLUMN_WIDTH_PX = 50
_TEXT_WIDTH_PX = 150
_PER_LETTER_PX = 8
_NAME_WIDTH_PX = 134
_BARE_NAME_WIDTH_PX = 108
"""Of names without a tick."""


class LatentTable(QWidget):
    """Shows latents with figures.

    Parameters
    ----------
    display
        Draws ticked latents; without one there are no ticks.
    """

    latent_clicked = Signal(int)
    """The user chose this row by mouse or keyboard."""
    failed = Signal(str)
    """A map could not be shown; carries why."""

    def __init__(
        self, display: FeatureDisplay | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._display = display
        self._queue = None if display is None else MapQueue(display, self)
        self.model = LatentTableModel(self, tickable=display is not None)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Search features")
        self.view = self._make_view()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.search)
        layout.addWidget(self.view, 1)
        self.search.textChanged.connect(self.model.set_filter)
        self.model.checked.connect(self._on_checked)
        chosen = self.view.selectionModel()
        if chosen is not None:
            chosen.currentRowChanged.connect(self._on_current_changed)
        if display is not None:
            display.shown_changed.connect(self._on_shown_changed)
            self._on_shown_changed()

    def _make_view(self) -> QTableView:
        view = QTableView()
        view.setModel(self.model)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setIconSize(QSize(14, 10))
        view.setMinimumHeight(_SMALLEST_HEIGHT_PX)
        rows, header = view.verticalHeader(), view.horizontalHeader()
        if rows is not None and header is not None:  # Qt's stubs allow for none
            rows.hide()
            rows.setDefaultSectionSize(_ROW_HEIGHT_PX)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
            header.setSortIndicatorShown(True)
            header.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        view.setSortingEnabled(True)
        return view

    def show_rows(
        self,
        latents: npt.ArrayLike,
        columns: Sequence[LatentColumn],
        names: Sequence[str] | None = None,
    ) -> None:
        """Show other rows, as `LatentTableModel.set_rows` takes them."""
        header = self.view.horizontalHeader()
        if header is not None:
            header.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        self.model.set_rows(latents, columns, names)
        is_bare = not self.model.is_tickable
        self.view.setColumnWidth(0, _BARE_NAME_WIDTH_PX if is_bare else _NAME_WIDTH_PX)
        for place, column in enumerate(columns, start=1):
            title = _PER_LETTER_PX * len(column.title) + 4
            least = _TEXT_WIDTH_PX if column.is_text else _COLUMN_WIDTH_PX
            self.view.setColumnWidth(place, max(least, title))

    def set_kind(self, row_title: str, *, tickable: bool) -> None:
        """Say what the rows are; only those of latents can be ticked, and with a display alone."""
        self.model.row_title = row_title
        self.model.is_tickable = tickable and self._display is not None

    def choose(self, latent: int) -> None:
        """Mark the row of a latent, without a signal; nothing happens where it is not listed."""
        row, chosen = self.model.row_of(latent), self.view.selectionModel()
        if row is None or chosen is None:
            return
        is_blocked = chosen.blockSignals(True)
        self.view.selectRow(row)
        chosen.blockSignals(is_blocked)
        self.view.scrollTo(self.model.index(row, 0))
        viewport = self.view.viewport()
        if viewport is not None:
            viewport.update()

    def _on_current_changed(self, current: QModelIndex, _: Any) -> None:
        if current.isValid():
            self.latent_clicked.emit(self.model.latent_at(current.row()))

    def _on_checked(self, latent: int, is_on: bool) -> None:
        if self._display is None or self._queue is None:
            return
        if not is_on:
            self._queue.forget(latent)
            self._display.hide(latent)
            return
        try:
            self._queue.show(latent)
        except Exception as error:  # told beside the table, whatever it is
            self.failed.emit(str(error))

    def _on_shown_changed(self) -> None:
        if self._display is None:
            return
        icons = {}
        for shown in self._display.shown:
            layer = self._display.overlays.layer(shown.latent)
            if shown.pinned and layer is not None:
                icons[shown.latent] = make_swatch(layer)
        self.model.set_shown(icons)
