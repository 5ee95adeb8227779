"""Latents as rows of a Qt table with columns to choose: filtered, sorted, ticked. No view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, Signal
from qtpy.QtGui import QIcon
from typing_extensions import override

from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.types import IntArray

_NOTHING = QModelIndex()
_NAME: Final = 0


@dataclass(frozen=True, eq=False)
class LatentColumn:
    """One column beside the names.

    Parameters
    ----------
    title
        Its header.
    values
        One number or text per row, ``(n,)``.
    tip
        What the numbers are.
    form
        Format of a number.
    """

    title: str
    values: npt.NDArray[Any]
    tip: str = ""
    form: str = ".2g"

    @property
    def is_text(self) -> bool:
        """Whether it holds words."""
        return self.values.dtype.kind not in "fiub"

    def text(self, row: int) -> str:
        """Return what a cell shows; nothing for nan."""
        value = self.values[row]
        if self.is_text:
            return str(value)
        return "" if np.isnan(float(value)) else format(float(value), self.form)


class LatentTableModel(QAbstractTableModel):
    """Rows are latents, or anything else that has a number and a name.

    Sorting and filtering are numpy on whole columns: a proxy model would call Python for each
    comparison, which 8192 latents make slow.
    """

    checked = Signal(int, bool)
    """The user ticked or cleared this latent."""

    def __init__(self, parent: QObject | None = None, *, tickable: bool = True) -> None:
        super().__init__(parent)
        self.is_tickable = tickable
        self.row_title = "Feature"
        self._latents: IntArray = np.zeros(0, np.int64)
        self._names: list[str] = []
        self._columns: tuple[LatentColumn, ...] = ()
        self._rows: IntArray = np.zeros(0, np.int64)
        self._shown: dict[int, QIcon] = {}
        self._sorting: tuple[int, Qt.SortOrder] | None = None
        self._text = ""

    def set_rows(
        self,
        latents: npt.ArrayLike,
        columns: Sequence[LatentColumn],
        names: Sequence[str] | None = None,
    ) -> None:
        """Show other rows, in the order in which they are given.

        Parameters
        ----------
        latents
            Number of each row, distinct.
        columns
            Beside the names; one entry per row.
        names
            Of the rows; ``latent_00042`` where omitted.
        """
        self.beginResetModel()
        self._latents = np.asarray(latents, np.int64)
        self._names = list(names) if names is not None else list(map(feature_name, self._latents))
        self._columns = tuple(columns)
        self._sorting = None
        self._arrange()
        self.endResetModel()

    def set_filter(self, text: str) -> None:
        """Keep the rows whose name, or a word of whose text columns, holds *text*."""
        self.beginResetModel()
        self._text = text.strip().lower()
        self._arrange()
        self.endResetModel()

    def set_shown(self, icons: dict[int, QIcon]) -> None:
        """Tick exactly these latents, with the colours of their overlays."""
        changed = set(self._shown) | set(icons)
        self._shown = dict(icons)
        for latent in changed:
            row = self.row_of(latent)
            if row is not None:
                index = self.index(row, _NAME)
                self.dataChanged.emit(index, index)

    @property
    def latents(self) -> IntArray:
        """The latents that pass the filter, in the order of the rows."""
        return self._latents[self._rows]

    def latent_at(self, row: int) -> int:
        """Return the latent of a row."""
        return int(self._latents[self._rows[row]])

    def row_of(self, latent: int) -> int | None:
        """Return the row of a latent, or ``None`` where there is none."""
        rows = np.flatnonzero(self.latents == latent)
        return int(rows[0]) if rows.size else None

    @override
    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 brings the given order back. Equal values keep that order."""
        self._sorting = None if column < 0 else (column, order)
        self.layoutAboutToBeChanged.emit()
        persistent = self.persistentIndexList()
        latents = [(self.latent_at(index.row()), index.column()) for index in persistent]
        self._arrange()
        moved = [self.index(self.row_of(latent) or 0, place) for latent, place in latents]
        self.changePersistentIndexList(persistent, moved)
        self.layoutChanged.emit()

    @override
    def rowCount(self, parent: QModelIndex = _NOTHING) -> int:
        return 0 if parent.isValid() else len(self._rows)

    @override
    def columnCount(self, parent: QModelIndex = _NOTHING) -> int:
        return 0 if parent.isValid() else 1 + len(self._columns)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if section == _NAME:
            texts = (self.row_title, "Click to look at it; tick to keep its map on the image")
        elif section <= len(self._columns):
            texts = (self._columns[section - 1].title, self._columns[section - 1].tip)
        else:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return texts[0]
        return texts[1] if role == Qt.ItemDataRole.ToolTipRole else None

    @override
    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == _NAME and self.is_tickable:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags

    @override
    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        column = index.column()
        if column == _NAME:
            return self._name_data(index.row(), role)
        shown = self._columns[column - 1]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            text = shown.text(int(self._rows[index.row()]))
            return text if role == Qt.ItemDataRole.DisplayRole or shown.is_text else None
        if role == Qt.ItemDataRole.TextAlignmentRole and not shown.is_text:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    @override
    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != _NAME:
            return False
        # The tick follows the overlay, which `set_shown` reports; it may fail to appear.
        is_on = Qt.CheckState(value) == Qt.CheckState.Checked
        self.checked.emit(self.latent_at(index.row()), is_on)
        return True

    def _name_data(self, row: int, role: int) -> Any:
        latent = self.latent_at(row)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return self._names[self._rows[row]]
        if role == Qt.ItemDataRole.CheckStateRole and self.is_tickable:
            is_shown = latent in self._shown
            return Qt.CheckState.Checked if is_shown else Qt.CheckState.Unchecked
        return self._shown.get(latent) if role == Qt.ItemDataRole.DecorationRole else None

    def _arrange(self) -> None:
        rows = np.arange(len(self._latents))
        if self._text:
            rows = rows[[self._matches(int(row)) for row in rows]]
        if self._sorting is not None and self._sorting[0] <= len(self._columns):
            rows = rows[self._order(rows, *self._sorting)]
        self._rows = rows

    def _matches(self, row: int) -> bool:
        texts = [self._names[row], *(c.text(row) for c in self._columns if c.is_text)]
        return any(self._text in text.lower() for text in texts)

    def _order(self, rows: IntArray, column: int, order: Qt.SortOrder) -> IntArray:
        is_descending = order == Qt.SortOrder.DescendingOrder
        values = np.array(self._names) if column == _NAME else self._columns[column - 1].values
        if values.dtype.kind not in "fiub":
            found: IntArray = np.argsort(values[rows].astype(str), kind="stable")
            return found[::-1] if is_descending else found
        numbers = np.asarray(values[rows], float)
        # What is not known comes last, whatever the direction.
        numbers = np.where(np.isnan(numbers), np.inf, -numbers if is_descending else numbers)
        ordered: IntArray = np.argsort(numbers, kind="stable")
        return ordered
