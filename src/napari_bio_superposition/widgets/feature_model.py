"""The features of a result as rows of a Qt table: filtered, sorted, checked. No layer, no view."""

from typing import Any, Final

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, Signal
from qtpy.QtGui import QIcon
from typing_extensions import override

from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.widgets.controller import FeatureStatistics

FEATURE, MEAN, FIRING, MAXIMUM = range(4)
_HEADERS: Final = ("Feature", "Mean", "Firing", "Max")
_TOOL_TIPS: Final = (
    "SAE latent; tick it to show its map on the image",
    "Mean activation over all places of all accepted patches",
    "Share of places on which the latent is active",
    "Largest activation at any place",
)
_NOTHING = QModelIndex()


class FeatureTableModel(QAbstractTableModel):
    """One row per latent that passes the filter.

    Sorting and filtering are numpy on whole columns: a proxy model would call Python for each
    comparison, which 8192 latents make slow.
    """

    checked = Signal(int, bool)
    """The user ticked or cleared this latent."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._columns: dict[int, Any] = {}
        self._names: list[str] = []
        self._rows: IntArray = np.zeros(0, np.int64)
        self._shown: dict[int, QIcon] = {}
        self._sorting = (MEAN, Qt.SortOrder.DescendingOrder)
        self._text = ""
        self._only_active = True

    def set_statistics(self, statistics: FeatureStatistics | None) -> None:
        """Show the features of another result, or none; nothing is ticked."""
        self.beginResetModel()
        n_latents = 0 if statistics is None else len(statistics)
        self._names = [feature_name(latent) for latent in range(n_latents)]
        self._columns = {FEATURE: np.arange(n_latents)}
        if statistics is not None:
            self._columns |= {
                MEAN: statistics.mean,
                FIRING: statistics.firing_rate,
                MAXIMUM: statistics.maximum,
            }
        self._shown = {}
        self._arrange()
        self.endResetModel()

    def set_filter(self, text: str, *, only_active: bool) -> None:
        """Keep the features whose name holds *text* and, if asked, those that fire here."""
        self.beginResetModel()
        self._text, self._only_active = text.strip().lower(), only_active
        self._arrange()
        self.endResetModel()

    def set_shown(self, latent: int, icon: QIcon | None) -> None:
        """Tick a latent and show the colours of its overlay, or clear it."""
        if icon is None:
            self._shown.pop(latent, None)
        else:
            self._shown[latent] = icon
        row = self.row_of(latent)
        if row is not None:
            index = self.index(row, FEATURE)
            self.dataChanged.emit(index, index)

    def is_shown(self, latent: int) -> bool:
        """Whether a latent is ticked."""
        return latent in self._shown

    def latent_at(self, row: int) -> int:
        """Return the latent of a row."""
        return int(self._rows[row])

    def row_of(self, latent: int) -> int | None:
        """Return the row of a latent, or ``None`` where the filter hides it."""
        rows = np.flatnonzero(self._rows == latent)
        return int(rows[0]) if rows.size else None

    @override
    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; equal values keep the order of their numbers."""
        self._sorting = (column, order)
        self.layoutAboutToBeChanged.emit()
        persistent = self.persistentIndexList()
        latents = [(self.latent_at(index.row()), index.column()) for index in persistent]
        self._arrange()
        moved = [self.index(self.row_of(latent) or 0, column) for latent, column in latents]
        self.changePersistentIndexList(persistent, moved)
        self.layoutChanged.emit()

    @override
    def rowCount(self, parent: QModelIndex = _NOTHING) -> int:
        return 0 if parent.isValid() else len(self._rows)

    @override
    def columnCount(self, parent: QModelIndex = _NOTHING) -> int:
        return 0 if parent.isValid() else len(_HEADERS)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _HEADERS[section]
        return _TOOL_TIPS[section] if role == Qt.ItemDataRole.ToolTipRole else None

    @override
    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == FEATURE:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags

    @override
    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        latent, column = self.latent_at(index.row()), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text_of(latent, column)
        if role == Qt.ItemDataRole.TextAlignmentRole and column != FEATURE:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if column == FEATURE and role == Qt.ItemDataRole.CheckStateRole:
            is_shown = latent in self._shown
            return Qt.CheckState.Checked if is_shown else Qt.CheckState.Unchecked
        if column == FEATURE and role == Qt.ItemDataRole.DecorationRole:
            return self._shown.get(latent)
        return None

    @override
    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != FEATURE:
            return False
        # The tick follows the overlay, which `set_shown` reports; it may fail to appear.
        is_on = Qt.CheckState(value) == Qt.CheckState.Checked
        self.checked.emit(self.latent_at(index.row()), is_on)
        return True

    def _text_of(self, latent: int, column: int) -> str:
        if column == FEATURE:
            return self._names[latent]
        value = float(self._columns[column][latent])
        return f"{value:.1%}" if column == FIRING else f"{value:.2g}"

    def _arrange(self) -> None:
        if not self._columns or MAXIMUM not in self._columns:
            self._rows = np.zeros(0, np.int64)
            return
        keep = np.ones(len(self._names), bool)
        if self._only_active:
            keep &= np.nan_to_num(self._columns[MAXIMUM]) > 0
        if self._text:
            keep &= np.array([self._text in name for name in self._names], bool)
        rows = np.flatnonzero(keep)
        column, order = self._sorting
        values = np.nan_to_num(np.asarray(self._columns[column][rows], float), nan=-np.inf)
        if order == Qt.SortOrder.DescendingOrder:
            values = -values
        self._rows = rows[np.argsort(values, kind="stable")]
