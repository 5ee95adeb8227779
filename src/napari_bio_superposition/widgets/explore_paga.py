"""The tab of the graph of clusters: painted, clusters can be clicked. It computes nothing."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget
from typing_extensions import override

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.widgets.explore_controller import ExploreController
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.scatter_colour import colour_by_category
from napari_bio_superposition.widgets.scatter_legend import paint_legend

if TYPE_CHECKING:
    from napari_bio_superposition.manifold.trajectory import PagaGraph
    from napari_bio_superposition.widgets.scatter_colour import Colouring

_MARGIN_PX = 40.0
_LARGEST_PX, _SMALLEST_PX = 24.0, 7.0
_WIDEST_EDGE_PX = 6.0
_FULL_TURN = 16 * 360
"""Qt counts angles in sixteenths of a degree."""


class GraphView(QWidget):
    """Paints clusters as pies of their groups, joined by edges as wide as they are connected."""

    cluster_clicked = Signal(str, str)
    """Name of the cluster, and how to select."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._graph: PagaGraph | None = None
        self._colouring: Colouring | None = None
        self.hint = ""
        self.setMinimumSize(QSize(160, 140))
        self.setAccessibleName("Graph of clusters")

    def show_graph(self, graph: "PagaGraph | None", title: str = "") -> None:
        """Show another graph, or none."""
        self._graph = graph
        self._colouring = None
        if graph is not None:
            counts = graph.composition.sum(axis=0)
            names = np.repeat(counts.index.to_numpy(dtype=str), counts.to_numpy())
            self._colouring = colour_by_category(title, names)
        self.update()

    @property
    def graph(self) -> "PagaGraph | None":
        """What is shown."""
        return self._graph

    @property
    def colours(self) -> dict[str, tuple[float, float, float]]:
        """The colour of each group, as shares of red, green and blue."""
        entries = () if self._colouring is None else self._colouring.entries
        return {
            entry.name: (entry.colour[0] / 255, entry.colour[1] / 255, entry.colour[2] / 255)
            for entry in entries
        }

    def place_of(self, cluster: int) -> QPointF:
        """Return where the middle of a cluster is painted."""
        if self._graph is None:
            return QPointF()
        positions = self._graph.positions
        low, high = positions.min(axis=0), positions.max(axis=0)
        extent = np.where(high > low, high - low, 1.0)
        x, y = (positions[cluster] - low) / extent
        width, height = self.width() - 2 * _MARGIN_PX, self.height() - 2 * _MARGIN_PX
        return QPointF(_MARGIN_PX + float(x) * width, _MARGIN_PX + float(1 - y) * height)

    def radius_of(self, cluster: int) -> float:
        """Return how large a cluster is painted: its area follows its patches."""
        if self._graph is None:
            return 0.0
        share = self._graph.sizes[cluster] / max(1, self._graph.sizes.max())
        return max(_SMALLEST_PX, _LARGEST_PX * math.sqrt(float(share)))

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.ensurePolished()
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(ink)
        if self._graph is None:
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(QRectF(self.rect()).adjusted(12, 12, -12, -12), flags, self.hint)
        else:
            self._paint_edges(painter, self._graph, ink)
            for cluster in range(len(self._graph.names)):
                self._paint_cluster(painter, self._graph, cluster, ink)
            if self._colouring is not None and len(self._colouring.entries) > 1:
                paint_legend(painter, self._colouring, self.rect(), ink)
        painter.end()

    def _paint_edges(self, painter: QPainter, graph: "PagaGraph", ink: QColor) -> None:
        for first, second, weight in graph.edges():
            colour = QColor(ink.red(), ink.green(), ink.blue(), 140)
            painter.setPen(QPen(colour, max(0.7, _WIDEST_EDGE_PX * min(1.0, weight))))
            painter.drawLine(self.place_of(first), self.place_of(second))

    def _paint_cluster(
        self, painter: QPainter, graph: "PagaGraph", cluster: int, ink: QColor
    ) -> None:
        centre, radius = self.place_of(cluster), self.radius_of(cluster)
        box = QRectF(centre.x() - radius, centre.y() - radius, 2 * radius, 2 * radius)
        counts = graph.composition.iloc[cluster]
        start = 0
        painter.setPen(Qt.PenStyle.NoPen)
        for name, count in counts.items():
            span = round(_FULL_TURN * count / max(1, counts.sum()))
            painter.setBrush(self._colour_of(str(name)))
            painter.drawPie(box, start, span)
            start += span
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(ink, 1))
        painter.drawEllipse(box)
        label = QRectF(centre.x() - 40, centre.y() + radius, 80, 16)
        painter.drawText(label, Qt.AlignmentFlag.AlignCenter, graph.names[cluster])

    def _colour_of(self, name: str) -> QColor:
        entries = () if self._colouring is None else self._colouring.entries
        colour = next((entry.colour for entry in entries if entry.name == name), (140, 140, 140))
        return QColor(*colour)

    @override
    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is None or self._graph is None:
            return
        for cluster, name in enumerate(self._graph.names):
            away = event.position() - self.place_of(cluster)
            if math.hypot(away.x(), away.y()) <= self.radius_of(cluster):
                has_shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
                self.cluster_clicked.emit(name, "add" if has_shift else "replace")
                return


class GraphPanel(QWidget):
    """Shows the PAGA graph of the table; a click on a cluster selects its patches.

    Parameters
    ----------
    controller
        Knows the table.
    """

    export_clicked = Signal()

    def __init__(self, controller: ExploreController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.colour_box = CalmComboBox()
        self.export_button = QPushButton("Export…")
        self.view = GraphView()
        self.view.setToolTip("Click a cluster to select its patches; Shift adds.")
        row = QHBoxLayout()
        row.addWidget(self.colour_box, 1)
        row.addWidget(self.export_button)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Pies show", row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 0)
        layout.addLayout(form)
        layout.addWidget(self.view, 1)
        self.colour_box.currentIndexChanged.connect(self._show)
        self.export_button.clicked.connect(self.export_clicked)
        self.view.cluster_clicked.connect(self._select)
        self.refresh()

    def refresh(self) -> None:
        """Show the table as it is."""
        chosen = self.colour_box.currentText() or "genotype"
        self.colour_box.blockSignals(True)
        self.colour_box.clear()
        self.colour_box.addItems(self._controller.category_columns)
        self.colour_box.setCurrentIndex(max(0, self.colour_box.findText(chosen)))
        self.colour_box.blockSignals(False)
        self._show()

    def _show(self) -> None:
        column = str(self.colour_box.currentText())
        try:
            graph: Any = self._controller.read_graph(column)
        except BioSuperpositionError as error:
            graph = None
            self.view.hint = str(error)
        self.view.show_graph(graph, column)

    def _select(self, cluster: str, mode: Any) -> None:
        mask = self._controller.cluster_mask(cluster)
        self._controller.study.selection.select(mask, mode, source="plot")
