"""The clusters of RNA cells as a table with ticks. It knows no plot."""

from typing import Final

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.widgets.gwmap_jobs import RnaCells

CLUSTER: Final = "leiden"
LINEAGE: Final = "lineage"
_HEADER: Final = ("Cluster", "Cells", "Lineage", "Markers")
_ROW_PX: Final = 20
_ROWS_IN_SIGHT: Final = 4


class ClusterTable(QWidget):
    """Lists clusters with their size, lineage and strongest genes; ticks choose some."""

    ticked = Signal()
    """Other clusters are chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = QTableWidget(0, len(_HEADER))
        self.table.setHorizontalHeaderLabels(list(_HEADER))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setWordWrap(False)
        self.table.setAccessibleName("Clusters of RNA cells")
        header, rows = self.table.horizontalHeader(), self.table.verticalHeader()
        if header is not None and rows is not None:  # Qt's stubs allow for none
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(len(_HEADER) - 1, QHeaderView.ResizeMode.Stretch)
            rows.hide()
            rows.setDefaultSectionSize(_ROW_PX)
        self.table.setFixedHeight(24 + _ROW_PX * _ROWS_IN_SIGHT)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        self.table.itemChanged.connect(self._on_changed)
        self.hide()

    @property
    def names(self) -> list[str]:
        """The clusters, in the order of the rows."""
        items = [self.table.item(row, 0) for row in range(self.table.rowCount())]
        return [item.text() for item in items if item is not None]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The ticked clusters."""
        return tuple(name for row, name in enumerate(self.names) if self._is_ticked(row))

    def show_clusters(self, rna: RnaCells) -> None:
        """Show the clusters of other cells, none ticked; hidden where there are none."""
        counts = {}
        if CLUSTER in rna.table.obs:
            counts = rna.table.obs[CLUSTER].astype(str).value_counts().to_dict()
        names = sorted(counts, key=lambda name: (len(name), name))
        self.table.blockSignals(True)
        self.table.setRowCount(len(names))
        for row, name in enumerate(names):
            self._show_row(row, name, counts[name], rna)
        self.table.blockSignals(False)
        self.setVisible(bool(names))

    def toggle(self, name: str) -> None:
        """Tick a cluster, or take its tick away."""
        if name not in self.names:
            return
        row = self.names.index(name)
        item = self.table.item(row, 0)
        if item is not None:
            is_on = self._is_ticked(row)
            item.setCheckState(Qt.CheckState.Unchecked if is_on else Qt.CheckState.Checked)

    def _show_row(self, row: int, name: str, count: int, rna: RnaCells) -> None:
        lineage = markers = ""
        if rna.clusters is not None and name in rna.clusters.index:
            about = rna.clusters.loc[name]
            lineage, markers = str(about.get(LINEAGE, "")), str(about.get("markers", ""))
        for column, text in enumerate((name, f"{count:,}", lineage, markers)):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            if column == 0:
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(Qt.CheckState.Unchecked)
            self.table.setItem(row, column, item)

    def _is_ticked(self, row: int) -> bool:
        item = self.table.item(row, 0)
        return item is not None and item.checkState() == Qt.CheckState.Checked

    def _on_changed(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.ticked.emit()
