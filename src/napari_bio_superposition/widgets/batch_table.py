"""The list of fields of a batch run, with pictures and standing. Shows; starts nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)
from typing_extensions import override

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.batch_browse import FieldRow

_HEADER = ("Field", "Status", "Result")
_COLOURS = {"done": QColor("#3f9b62"), "failed": QColor("#d9534f")}
_PICTURE_PX = 32
_ROOT = QModelIndex()


class FieldTableModel(QAbstractTableModel):
    """Rows of fields; a row is replaced as its field ends."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[FieldRow] = []
        self._position: dict[str, int] = {}
        self._pictures: dict[str, QIcon | None] = {}

    def show_rows(self, rows: "Sequence[FieldRow]") -> None:
        """Show other fields; pictures of the same ones are kept."""
        self.beginResetModel()
        self.rows = list(rows)
        self._position = {row.id: number for number, row in enumerate(self.rows)}
        self._pictures = {k: v for k, v in self._pictures.items() if k in self._position}
        self.endResetModel()

    def replace_row(self, row: "FieldRow") -> None:
        """Show where a field stands now."""
        number = self._position.get(row.id)
        if number is not None:
            self.rows[number] = row
            self.dataChanged.emit(self.index(number, 0), self.index(number, len(_HEADER) - 1))

    def show_picture(self, image_id: str, picture: npt.NDArray[np.uint8] | None) -> None:
        """Show the picture of a field; ``None`` where it cannot be read."""
        number = self._position.get(image_id)
        if number is None:
            return
        self._pictures[image_id] = None if picture is None else _make_icon(picture)
        index = self.index(number, 0)
        self.dataChanged.emit(index, index)

    def without_picture(self, numbers: Sequence[int]) -> "list[FieldRow]":
        """Return those of some rows for which no picture was tried yet."""
        some = [self.rows[number] for number in numbers if 0 <= number < len(self.rows)]
        return [row for row in some if row.id not in self._pictures]

    def count(self, standing: str) -> int:
        """Return how many fields stand so."""
        return sum(row.standing == standing for row in self.rows)

    @override
    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Return the number of fields."""
        return 0 if parent.isValid() else len(self.rows)

    @override
    def columnCount(self, parent: QModelIndex = _ROOT) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(_HEADER)

    @override
    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return the heading of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _HEADER[section]
        return None

    @override
    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        row, column = self.rows[index.row()], index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return (row.id, row.standing, row.detail)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return self._pictures.get(row.id)
        if role == Qt.ItemDataRole.ForegroundRole and column == 1:
            return _COLOURS.get(row.standing)
        return None


class FieldTable(QTableView):
    """The view: pictures are asked for as rows come into sight."""

    pictures_wanted = Signal()
    """Other rows are in sight."""
    opened = Signal(str)
    """A field was double-clicked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.fields = FieldTableModel()
        self.setModel(self.fields)
        self.setIconSize(QSize(_PICTURE_PX, _PICTURE_PX))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        self.setItemDelegateForColumn(0, _MiddleLeftOut(self))
        self.setAccessibleName("Fields of the run")
        if (rows := self.verticalHeader()) is not None:
            rows.setDefaultSectionSize(_PICTURE_PX + 4)
            rows.hide()
        if (columns := self.horizontalHeader()) is not None:
            columns.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
            columns.setStretchLastSection(True)
            for column, width in enumerate((160, 56)):
                columns.resizeSection(column, width)
        if (bar := self.verticalScrollBar()) is not None:
            bar.valueChanged.connect(lambda _: self.pictures_wanted.emit())
        self.fields.modelReset.connect(self.pictures_wanted)
        self.doubleClicked.connect(lambda index: self.opened.emit(self.fields.rows[index.row()].id))

    def rows_in_sight(self) -> list[int]:
        """Return the numbers of the rows that can be seen."""
        viewport = self.viewport()
        if viewport is None or not self.fields.rows:
            return []
        first = max(0, self.rowAt(0))
        last = self.rowAt(viewport.height() - 1)
        return list(range(first, (last if last >= 0 else len(self.fields.rows) - 1) + 1))

    def selected_ids(self) -> list[str]:
        """Return the selected fields."""
        model = self.selectionModel()
        chosen = [] if model is None else model.selectedRows()
        return [self.fields.rows[index.row()].id for index in chosen]


class _MiddleLeftOut(QStyledItemDelegate):
    """Shortens names in their middle: those of fields differ at the end."""

    @override
    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:
        """Set how a cell is drawn."""
        super().initStyleOption(option, index)
        if option is not None:
            option.textElideMode = Qt.TextElideMode.ElideMiddle


def _make_icon(picture: npt.NDArray[np.uint8]) -> QIcon:
    pixels = np.ascontiguousarray(picture)
    height, width, _ = pixels.shape
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QIcon(QPixmap.fromImage(image))
