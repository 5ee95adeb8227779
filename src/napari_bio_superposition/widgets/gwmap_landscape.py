"""The step Landscape of the GW-map dock: genes on the plane of two classes. It computes nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QPoint, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPdfWriter
from qtpy.QtSvg import QSvgGenerator
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.core.errors import OutputError, TableError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.widgets.explore_card import PatchCard
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.gwmap_flows import FlowChart, NetworkChart
from napari_bio_superposition.widgets.gwmap_state import GwMap
from napari_bio_superposition.widgets.message import MessageLine
from napari_bio_superposition.widgets.scatter_colour import colour_by_category
from napari_bio_superposition.widgets.scatter_scene import Mask
from napari_bio_superposition.widgets.scatter_view import ScatterView

if TYPE_CHECKING:
    import pandas as pd

    from napari_bio_superposition.widgets.gwmap_jobs import RankedGenes

_LEVEL: Final = "leiden_"
_HINT: Final = (
    "No landscape yet.\nRank genes of two classes (a control class and another one); each gene is "
    "then a point: its z in one class against its z in the other."
)
_ALL, _TOP = "all genes", "top genes"
_PLANE, _FLOW, _NETWORK = "plane", "flow", "network of "
_MAP_PX: Final = 260


class LandscapePanel(QWidget):
    """Shows genes by their z in two classes, the flow between clusterings, and networks of genes.

    A click on a gene paints it; a click on a cluster of the flow makes its genes a module.

    Parameters
    ----------
    state
        Of the dock.
    """

    gene_clicked = Signal(str)
    module_chosen = Signal(object)
    """Names of the genes that the user drew around, or of a cluster that was clicked."""
    export_clicked = Signal()

    def __init__(self, state: GwMap, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._plane: pd.DataFrame | None = None
        self.banner = MessageLine()
        self.genes_box, self.level_box = CalmComboBox(), CalmComboBox()
        self.chart_box = CalmComboBox()
        self.chart_box.setToolTip("The plane of z, the flow between resolutions, or a network")
        self.flow, self.network = FlowChart(), NetworkChart()
        self.charts = QStackedWidget()
        self.genes_box.addItems([_ALL, _TOP])
        self.level_box.setToolTip("Resolution of the clusters; they are no proof of regulation")
        self.find_line = QLineEdit()
        self.find_line.setPlaceholderText("Find a gene")
        self.export_button = QPushButton("Export…")
        self.view = ScatterView()
        self.view.hint, self.view.show_ticks = _HINT, True
        self.view.setMinimumHeight(_MAP_PX)
        self.view.set_diameter(5)
        self.card = PatchCard(self.view)
        self.note, self.sets_label = QLabel(), QLabel()
        for label in (self.note, self.sets_label):
            label.setWordWrap(True)
        self.sets_label.setToolTip(
            "Fisher's test against the tested genes; matched: against lists of like expression"
        )
        self._lay_out()
        self._connect()
        self.refresh()

    def _lay_out(self) -> None:
        top, second = QHBoxLayout(), QHBoxLayout()
        for widget in (self.genes_box, self.level_box):
            top.addWidget(widget, 1)
        second.addWidget(self.chart_box)
        for chart in (self.view, self.flow, self.network):
            self.charts.addWidget(chart)
        second.addWidget(self.find_line, 1)
        second.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 4, 6, 0)
        layout.addWidget(self.banner)
        layout.addLayout(top)
        layout.addLayout(second)
        layout.addWidget(self.charts, 1)
        layout.addWidget(self.sets_label)
        layout.addWidget(self.note)

    def _connect(self) -> None:
        self.genes_box.currentIndexChanged.connect(lambda _: self._show_plane())
        self.level_box.currentIndexChanged.connect(lambda _: self._show_colour())
        self.find_line.returnPressed.connect(self._on_searched)
        self.export_button.clicked.connect(self.export_clicked)
        self.chart_box.currentIndexChanged.connect(lambda _: self._show_chart())
        self.flow.genes_clicked.connect(self._on_cluster)
        self.network.gene_clicked.connect(self.gene_clicked)
        self.view.row_clicked.connect(self._on_clicked)
        self.view.region_chosen.connect(self._on_region)
        self.view.row_hovered.connect(self._on_hovered)
        self._state.genes_changed.connect(self.refresh)

    @property
    def plane(self) -> "pd.DataFrame | None":
        """The genes that are shown, with x, y and clusters."""
        return self._plane

    def refresh(self) -> None:
        """Show the landscape of the dock's state."""
        genes = self._state.genes
        self.banner.clear()
        if genes is not None and genes.banner:
            self.banner.show_error(genes.banner)
        self.export_button.setEnabled(genes is not None and genes.landscape is not None)
        self.chart_box.blockSignals(True)
        self.chart_box.clear()
        self.chart_box.addItems([_PLANE, _FLOW])
        for name in () if genes is None else genes.networks:
            self.chart_box.addItem(f"{_NETWORK}{name}", name)
        self.chart_box.blockSignals(False)
        self._show_plane()

    def _show_chart(self) -> None:
        """Show what is chosen; clusters of networks are those of the top genes."""
        text, genes = self.chart_box.currentText(), self._state.genes
        drawn = self._plane is not None
        for box in (self.genes_box, self.level_box):
            box.setEnabled(drawn and not text.startswith(_NETWORK))
        if genes is None or not drawn or text == _PLANE:
            self.charts.setCurrentWidget(self.view)
        elif text == _FLOW and self._plane is not None:
            self.flow.set_clusters(self._plane, self.levels)
            self.charts.setCurrentWidget(self.flow)
        else:
            self.network.set_network(*genes.networks[self.chart_box.currentData()])
            self.charts.setCurrentWidget(self.network)
        self._show_sets(genes, self.chart_box.currentData())

    def _show_sets(self, genes: "RankedGenes | None", cluster: str | None) -> None:
        """Say which gene sets the cluster of a network holds more of than chance."""
        self.sets_label.setVisible(genes is not None and cluster is not None)
        if genes is not None and cluster is not None:
            self.sets_label.setText(describe_sets(genes.sets, cluster))

    def _show_plane(self) -> None:
        genes = self._state.genes
        landscape = None if genes is None else genes.landscape
        if genes is None or landscape is None:
            self._plane = None
            self.view.set_points(np.zeros((0, 2)))
            self.note.hide()
            self._show_chart()
            return
        plane = self._plane = landscape[1 if self.genes_box.currentText() == _TOP else 0]
        first, second = genes.classes
        self.view.axis_names = (f"z in {first}", f"z in {second}")
        self.level_box.blockSignals(True)
        self.level_box.clear()
        for name in self.levels:
            self.level_box.addItem(f"resolution {name.removeprefix(_LEVEL)}", name)
        self.level_box.setCurrentIndex(self.level_box.count() - 1)
        self.level_box.blockSignals(False)
        self.view.set_points(plane[["x", "y"]].to_numpy(np.float32), equal_axes=False)
        self.view.set_selected(None)
        self.note.setText(
            f"{len(plane):,} genes. Click: paint a gene. Lasso, or a cluster of the flow: its "
            "genes as a module. Clusters gather genes of like predictability, no proof of common "
            "regulation."
        )
        self.note.show()
        self._show_colour()
        self._show_chart()

    @property
    def levels(self) -> list[str]:
        """Columns with clusters, from coarse to fine."""
        if self._plane is None:
            return []
        return [str(name) for name in self._plane if str(name).startswith(_LEVEL)]

    def _show_colour(self) -> None:
        level = self.level_box.currentData()
        if self._plane is not None and level in self._plane:
            self.view.set_colouring(colour_by_category("cluster", self._plane[level].astype(str)))

    def choose(self, gene: str) -> None:
        """Put a ring around a gene."""
        if self._plane is not None and gene in self._plane.index:
            row = int(np.flatnonzero(self._plane.index == gene)[0])
            self.view.set_current(row)

    def _on_searched(self) -> None:
        text = self.find_line.text().strip()
        if self._plane is not None and text in self._plane.index:
            self.gene_clicked.emit(text)

    def _on_clicked(self, row: int | None, _: str) -> None:
        if row is not None and self._plane is not None:
            self.view.set_selected(None)
            self.gene_clicked.emit(str(self._plane.index[row]))

    def _on_region(self, mask: Mask, _: str) -> None:
        if self._plane is None or not mask.any():
            return
        self.view.set_selected(mask)
        self.module_chosen.emit([str(name) for name in self._plane.index[mask]])

    def _on_cluster(self, genes: list[str]) -> None:
        if self._plane is not None:
            self.view.set_selected(np.asarray(self._plane.index.isin(genes)))
            self.module_chosen.emit(genes)

    def _on_hovered(self, row: int | None, place: QPoint) -> None:
        if row is None or self._plane is None or row >= len(self._plane):
            self.card.hide()
            return
        gene = self._plane.iloc[row]
        lines = [str(self._plane.index[row]), f"z {gene['x']:.2f}, {gene['y']:.2f}"]
        self.card.show_patch(lines, None, place)

    def shut_down(self) -> None:
        """Stop listening."""
        self._state.genes_changed.disconnect(self.refresh, missing_ok=True)


def describe_sets(sets: "pd.DataFrame | None", cluster: str, most: int = 3) -> str:
    """Return the sets of lowest q in a cluster of the top genes, in words."""
    if sets is None:
        return "No gene sets were tested: name a GMT file under gene sets, in the tab Genes."
    from napari_bio_superposition.workflows.genes_result import FOUND
    from napari_bio_superposition.workflows.genes_sets import CLUSTER

    inside = sets["list"] == f"{CLUSTER} {cluster}"
    rows = sets[inside & (sets["q"] < FOUND)].nsmallest(most, "q")
    if rows.empty:
        return f"No gene set stands out in cluster {cluster} (q below {FOUND:g})."
    return "; ".join(
        f"{row.set}: {row.overlap} of {row.size} genes, q {row.q:.2g}, matched {row.p_matched:.2g}"
        for row in rows.itertuples()
    )


def save_landscape(path: Path, panel: LandscapePanel) -> None:
    """Save what is shown: CSV as the numbers of the plane; PNG, SVG or PDF as a figure.

    Raises
    ------
    TableError
        Where there is none.
    OutputError
        Where the place cannot be written, or the name ends otherwise.
    """
    plane = panel.plane
    if plane is None:
        raise TableError("There is no landscape to save yet.")
    if path.suffix.lower() == ".csv":
        with replaced_file(path) as part:
            plane.rename_axis("gene").to_csv(part)
        return
    chart = panel.charts.currentWidget()
    if isinstance(chart, FlowChart | NetworkChart):
        _save_chart(path, chart)
        return
    from napari_bio_superposition.widgets.explore_export import draw_scatter, figure_for

    view: Any = panel.view
    with figure_for(path) as figure:
        axes = figure.add_subplot()
        draw_scatter(axes, plane[["x", "y"]].to_numpy(), view.scene.colouring, None, size=8.0)
        axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        axes.set(xlabel=view.axis_names[0], ylabel=view.axis_names[1])


def _save_chart(path: Path, chart: FlowChart | NetworkChart) -> None:
    """Paint a chart into a file, black on white."""
    kind, size = path.suffix.lower(), chart.size()
    device: Any
    with replaced_file(path) as part:
        if kind == ".png":
            device = QImage(2 * size, QImage.Format.Format_RGB32)
            device.fill(Qt.GlobalColor.white)
        elif kind == ".svg":
            device = QSvgGenerator()
            device.setFileName(str(part))
            device.setSize(size)
            device.setViewBox(QRectF(0, 0, size.width(), size.height()))
        elif kind == ".pdf":
            device = QPdfWriter(str(part))
            device.setResolution(150)
        else:
            raise OutputError(f"{path.name} ends in {kind!r}. Choose .png, .svg, .pdf or .csv.")
        painter = QPainter(device)
        scale = 1.0 if kind == ".svg" else device.width() / size.width()
        painter.scale(scale, scale)
        black = Qt.GlobalColor.black
        chart.draw(painter, QRectF(0, 0, size.width(), size.height()), QColor(black))
        painter.end()
        if kind == ".png":
            device.save(str(part), "PNG")
