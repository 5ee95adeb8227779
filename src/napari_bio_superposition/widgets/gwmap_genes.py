"""The step Genes of the GW-map dock: settings, ranked table, controls. It starts nothing."""

import dataclasses
from typing import Any, Final

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.alignment.genes_config import CONTROLS
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.gwmap_jobs import RankedGenes
from napari_bio_superposition.widgets.gwmap_state import GwMap
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn
from napari_bio_superposition.widgets.message import MessageLine
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.workflows.genes_config import GenesConfig

_COLUMNS: Final = (
    ("z_split_cells", "z split", "z learned on one half of the RNA cells, scored on the other"),
    ("z_held_out", "z held", "z on wells that took no part in the coupling, and other cells"),
    ("z", "z", "Standard deviations above permuted couplings: expected of any smooth map"),
    ("q", "q", "Benjamini-Hochberg q of z"),
    ("r2", "R2", "On wells of other folds; smooth by construction"),
    ("q_split_cells", "q split", "q of z split"),
    ("r2_split_cells", "R2 split", "R2 of z split"),
    ("q_held_out", "q held", "q of z held"),
    ("z_residual", "z resid.", "z left after expression, dropout and smoothness over cells"),
    ("r2_geometry", "R2 cloud", "R2 with the RNA replaced by a Gaussian cloud"),
    ("log_mean", "level", "Mean log expression"),
)
_RANK_BY: Final = ("z_held_out", "z_split_cells", "z")
_TABLE_PX: Final = 210
_HINT: Final = (
    "No genes yet. Couple patches and cells, then rank: genes are predicted from images of wells "
    "that did not teach them, beside controls."
)


class GenesPanel(QWidget):
    """Shows ranked genes beside their controls; a click paints one.

    Parameters
    ----------
    state
        Of the dock.
    """

    gene_clicked = Signal(str)
    open_clicked = Signal()

    def __init__(self, state: GwMap, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._names: list[str] = []
        self.banner = MessageLine()
        self.lines_label = QLabel()
        self.lines_label.setWordWrap(True)
        self.class_box = CalmComboBox()
        self.class_box.setAccessibleName("Class")
        self.class_box.setToolTip("Genes are predicted within each class")
        self.open_button = QPushButton("Open genes…")
        self.form: ConfigForm[GenesConfig] = ConfigForm(GenesConfig())
        self.control_boxes = {name: QCheckBox(name.replace("_", " ")) for name in CONTROLS}
        self.table = LatentTable()
        self.table.model.row_title = "Gene"
        self.table.search.setPlaceholderText("Search genes")
        self.table.search.setAccessibleName("Search genes")
        self.table.setMinimumHeight(_TABLE_PX)
        self.controls = _make_control_table()
        self._lay_out()
        self.open_button.clicked.connect(self.open_clicked)
        self.class_box.currentIndexChanged.connect(lambda _: self._show_table())
        self.table.latent_clicked.connect(self._on_clicked)
        state.genes_changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.class_box, 1)
        top.addWidget(self.open_button)
        settings = QWidget()
        column = QVBoxLayout(settings)
        column.setContentsMargins(8, 0, 0, 0)
        defaults = GenesConfig()
        for name, box in self.control_boxes.items():
            box.setChecked(name in defaults.controls)
            box.setToolTip("A control with which everything is done again; see the manual")
            column.addWidget(box)
        column.addWidget(self.form)
        self.controls_section = Section("Controls", self.controls)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 4, 6, 0)
        layout.addWidget(self.banner)
        layout.addLayout(top)
        layout.addWidget(Section("Settings", settings))
        layout.addWidget(self.lines_label)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.controls_section)

    def read_config(self) -> GenesConfig:
        """Return the settings.

        Raises
        ------
        ConfigError
            Where they contradict each other.
        """
        chosen = tuple(name for name, box in self.control_boxes.items() if box.isChecked())
        return dataclasses.replace(self.form.read_config(), controls=chosen)

    def refresh(self) -> None:
        """Show the genes of the dock's state."""
        genes = self._state.genes
        self.class_box.blockSignals(True)
        self.class_box.clear()
        if genes is not None:
            self.class_box.addItems([str(name) for name in genes.genes["class"].unique()])
        self.class_box.blockSignals(False)
        self.class_box.setEnabled(genes is not None)
        self.controls_section.setVisible(genes is not None)
        self.banner.clear()
        if genes is not None:
            if genes.banner:
                self.banner.show_error(genes.banner)
            _fill_controls(self.controls, genes)
        self._show_table()

    def _show_table(self) -> None:
        genes = self._state.genes
        if genes is None:
            self._names = []
            self.table.show_rows(np.zeros(0, np.int64), (), [])
            self.lines_label.setText(_HINT)
            return
        chosen = str(self.class_box.currentText())
        self.lines_label.setText("\n".join([genes.lines[chosen], *genes.notes]))
        rows = genes.genes[genes.genes["class"].astype(str) == chosen]
        by = next(name for name in _RANK_BY if name in rows and rows[name].notna().any())
        rows = rows.sort_values(by, ascending=False)
        self._names = [str(name) for name in rows["gene"]]
        columns = [
            LatentColumn(title, rows[name].to_numpy(float), tip)
            for name, title, tip in _COLUMNS
            if name in rows and rows[name].notna().any()
        ]
        self.table.show_rows(np.arange(len(rows)), columns, self._names)

    def choose(self, gene: str) -> None:
        """Mark the row of a gene."""
        if gene in self._names:
            self.table.choose(self._names.index(gene))

    def _on_clicked(self, row: int) -> None:
        self.gene_clicked.emit(self._names[row])

    def shut_down(self) -> None:
        """Stop listening."""
        self._state.genes_changed.disconnect(self.refresh, missing_ok=True)


def _make_control_table() -> QTableWidget:
    table = QTableWidget(0, 4)
    table.setHorizontalHeaderLabels(["Control", "Class", "mean R2", "found"])
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setWordWrap(False)
    table.setAccessibleName("Controls")
    table.setMinimumHeight(130)
    header, rows = table.horizontalHeader(), table.verticalHeader()
    if header is not None and rows is not None:
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        rows.hide()
        rows.setDefaultSectionSize(20)
    return table


def _fill_controls(table: QTableWidget, genes: RankedGenes) -> None:
    lines: list[tuple[str, ...]] = []
    for name, about in genes.controls.items():
        if not about["run"]:
            lines.append((name, "not run", "", "", str(about["reason"])))
            continue
        for label, figures in about["classes"].items():
            lines.append((name, label, _show(figures["r2_mean"]), _share(figures), ""))
    table.setRowCount(len(lines))
    for row, (name, label, mean, found, tip) in enumerate(lines):
        for column, text in enumerate((name, label, mean, found)):
            item = QTableWidgetItem(text)
            item.setToolTip(tip or text)
            table.setItem(row, column, item)


def _show(value: Any) -> str:
    return "" if value is None else f"{value:.2f}"


def _share(figures: Any) -> str:
    return "" if figures["share_found"] is None else f"{figures['share_found']:.0%}"
