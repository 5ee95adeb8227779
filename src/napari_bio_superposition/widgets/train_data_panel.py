"""Choice of images, table and classes for a training, with counts. It reads no pixel."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.message import MessageLine
from napari_bio_superposition.widgets.train_jobs import read_columns

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.training_data import TrainingPreview

_USUAL_CLASSES = ("auto", "genotype", "line", "treatment", "none")
_CLASS_TEXT = {"auto": "Automatic", "none": "None (no classes)"}
_NOT_CLASSES = ("image", "plate", "well", "field", "row", "column")
_HEADER = ("Class", "Line", "Plate", "Wells", "Images")
_ROWS_IN_SIGHT = 6


class TrainDataPanel(QWidget):
    """Folder or open layers, table, class column, and what they come to."""

    changed = Signal()
    """Other images, another table or another class column."""
    layers_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._paths: tuple[Path, ...] = ()
        self.folder_edit, self.table_edit = QLineEdit(), QLineEdit()
        self.folder_edit.setPlaceholderText("Folder of images")
        self.table_edit.setPlaceholderText("CSV with line, genotype, plate …")
        self.folder_button, self.table_button = QPushButton("Folder…"), QPushButton("Table…")
        self.layers_button = QPushButton("Use open images")
        self.layers_button.setToolTip("Train on the files of the layers that are open")
        self.class_box = CalmComboBox()
        self.class_box.setToolTip(
            "Column whose values the encoder learns to tell apart; Automatic takes genotype where "
            "it varies, else line"
        )
        self.counts = _make_counts_table()
        self.message = MessageLine()
        self._offer_columns(())
        self._lay_out()
        self.folder_edit.editingFinished.connect(self._on_folder_edited)
        self.table_edit.editingFinished.connect(self._on_table_edited)
        self.folder_button.clicked.connect(self._ask_folder)
        self.table_button.clicked.connect(self._ask_table)
        self.layers_button.clicked.connect(self.layers_clicked)
        self.class_box.currentIndexChanged.connect(lambda _: self.changed.emit())

    def _lay_out(self) -> None:
        folder, table = QHBoxLayout(), QHBoxLayout()
        folder.addWidget(self.folder_edit, 1)
        folder.addWidget(self.folder_button)
        table.addWidget(self.table_edit, 1)
        table.addWidget(self.table_button)
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Images", folder)
        rows.addRow("", self.layers_button)
        rows.addRow("Table", table)
        rows.addRow("Classes", self.class_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(rows)
        layout.addWidget(self.counts)
        layout.addWidget(self.message)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Folder, or files, that were chosen."""
        return self._paths

    @property
    def table(self) -> Path | None:
        """The table, if one was chosen."""
        text = self.table_edit.text().strip()
        return Path(text).expanduser() if text else None

    @property
    def class_column(self) -> str:
        """Column that gives the classes; see `TrainingDataConfig`."""
        return str(self.class_box.currentData())

    def choose_folder(self, folder: Path) -> None:
        """Take the images of a folder, and the table beside them where there is just one."""
        self._paths = (folder,)
        self.folder_edit.setText(str(folder))
        if self.table is None and (found := _find_table(folder)) is not None:
            self._show_table(found)
        self.changed.emit()

    def choose_files(self, paths: tuple[Path, ...]) -> None:
        """Take single files, for instance those of open layers."""
        self._paths = paths
        self.folder_edit.setText(f"{len(paths)} open images")
        self.changed.emit()

    def choose_table(self, table: Path) -> None:
        """Take a table."""
        self._show_table(table)
        self.changed.emit()

    def show_preview(self, preview: "TrainingPreview") -> None:
        """Show the counts of what was chosen."""
        rows = preview.counts.to_dict("records")
        self.counts.setRowCount(len(rows))
        for row, values in enumerate(rows):
            for column, name in enumerate(_HEADER):
                item = QTableWidgetItem(str(values[name.lower()]) or "—")
                item.setToolTip(item.text())
                self.counts.setItem(row, column, item)
        self.counts.setVisible(bool(rows))
        classes = preview.counts["class"][preview.counts["class"] != ""].nunique()
        text = f"{preview.n_images} images"
        text += f", {classes} classes ({preview.class_column})." if classes else "."
        if preview.warnings:
            self.message.show_error(" ".join((text, *preview.warnings)))
        else:
            self.message.show_good(text)

    def show_problem(self, text: str) -> None:
        """Tell why nothing can be counted."""
        self.counts.setRowCount(0)
        self.counts.hide()
        self.message.show_error(text)

    def _show_table(self, table: Path) -> None:
        self.table_edit.setText(str(table))
        self._offer_columns(read_columns(table))

    def _offer_columns(self, columns: tuple[str, ...]) -> None:
        own = [name for name in columns if name not in (*_USUAL_CLASSES, *_NOT_CLASSES)]
        chosen = self.class_box.currentData()
        blocked = self.class_box.blockSignals(True)
        self.class_box.clear()
        for name in (*_USUAL_CLASSES, *own):
            self.class_box.addItem(_CLASS_TEXT.get(name, name), name)
        self.class_box.setCurrentIndex(max(0, self.class_box.findData(chosen)))
        self.class_box.blockSignals(blocked)

    def _on_folder_edited(self) -> None:
        text = self.folder_edit.text().strip()
        if text and (Path(text).expanduser(),) != self._paths and not text.endswith("open images"):
            self.choose_folder(Path(text).expanduser())

    def _on_table_edited(self) -> None:
        self._offer_columns(() if self.table is None else read_columns(self.table))
        self.changed.emit()

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images to train on")
        if folder:
            self.choose_folder(Path(folder))

    def _ask_table(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Table of lines and plates", "", "CSV (*.csv)")
        if path:
            self.choose_table(Path(path))


def _make_counts_table() -> QTableWidget:
    table = QTableWidget(0, len(_HEADER))
    table.setHorizontalHeaderLabels(_HEADER)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setWordWrap(False)
    table.setTextElideMode(Qt.TextElideMode.ElideLeft)  # the end of a line's name tells more
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    header, rows = table.horizontalHeader(), table.verticalHeader()
    if header is not None and rows is not None:
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_HEADER.index("Line"), QHeaderView.ResizeMode.Stretch)
        rows.hide()
        rows.setDefaultSectionSize(20)
        table.setFixedHeight(24 + 20 * _ROWS_IN_SIGHT)
    table.setAccessibleName("Images and wells by class, line and plate")
    table.hide()
    return table


def _find_table(folder: Path) -> Path | None:
    """Return the only CSV file in the folder, or else beside it; ``table.csv`` before others."""
    for place in (folder, folder.parent):
        try:
            found = sorted(place.glob("*.csv"))
        except OSError:
            return None
        if (named := place / "table.csv") in found:
            return named
        if len(found) == 1:
            return found[0]
    return None
