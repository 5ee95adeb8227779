"""Charts of gene clusters painted by Qt: flows between resolutions, and a module's network.

They compute nothing: clusters, positions and edges are those of the result.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPainterPath, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QWidget
from typing_extensions import override

from napari_bio_superposition.widgets.scatter_colour import colour_by_category

if TYPE_CHECKING:
    import pandas as pd

_MARGIN: Final = 14.0
_HEAD_PX: Final = 20.0
_BAR_PX: Final = 14.0
_GAP_PX: Final = 4.0
_NEAR_PX: Final = 10.0
_NAME_PX, _LINE_PX, _MOST_NAMES = 110, 24, 6
_EDGE = QColor(140, 140, 140, 90)
_NODE = QColor("#4c9be8")
_CHOSEN = QColor("#e0703c")


class _Chart(QWidget):
    """Paints itself as the same `draw` paints into a figure."""

    def draw(self, painter: QPainter, area: QRectF, ink: QColor) -> None:
        """Draw into *area*."""
        raise NotImplementedError

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        self.draw(painter, QRectF(self.rect()), self.palette().color(QPalette.ColorRole.WindowText))
        painter.end()


class FlowChart(_Chart):
    """A Sankey diagram: how the clusters of one resolution split at the next; a click takes one.

    Bars are clusters, as high as they have genes; bands are the genes that two of them share.
    """

    genes_clicked = Signal(object)
    """Names of the genes of the cluster that was clicked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._levels: list[pd.Series[Any]] = []
        self._bars: list[dict[str, QRectF]] = []
        self._chosen: tuple[int, str] | None = None
        self.setMouseTracking(True)
        self.setAccessibleName("Flow of genes between resolutions")

    @override
    def sizeHint(self) -> QSize:
        return QSize(360, 260)

    def set_clusters(self, clusters: "pd.DataFrame", levels: Sequence[str]) -> None:
        """Show the clusters of genes (index) at *levels*, from coarse to fine."""
        self._levels = [clusters[name].astype(str) for name in levels]
        self._chosen = None
        self.update()

    def place_of(self, level: int, cluster: str) -> QPointF:
        """Return the middle of a cluster's bar, in pixels."""
        self._arrange(QRectF(self.rect()))
        return self._bars[level][cluster].center()

    def genes_at(self, place: QPointF) -> tuple[int, str, list[str]] | None:
        """Return level, cluster and genes of the bar at a place in pixels; ``None`` beside bars."""
        for number, bars in enumerate(self._bars):
            for name, bar in bars.items():
                if bar.adjusted(-3, 0, 3, 0).contains(place):
                    level = self._levels[number]
                    return number, name, [str(gene) for gene in level.index[level == name]]
        return None

    @override
    def draw(self, painter: QPainter, area: QRectF, ink: QColor) -> None:
        """Paint the diagram; also what is exported."""
        self._arrange(area)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for number, (first, second) in enumerate(pairwise(self._levels)):
            self._draw_bands(painter, number, first, second)
        for number, bars in enumerate(self._bars):
            colours = _colours(self._levels[number])
            for name, bar in bars.items():
                chosen = self._chosen == (number, name)
                painter.setPen(QPen(_CHOSEN, 2) if chosen else Qt.PenStyle.NoPen)
                painter.setBrush(colours[name])
                painter.drawRect(bar)
                if bar.height() > painter.fontMetrics().height():
                    painter.setPen(ink)
                    last = number == len(self._bars) - 1
                    left = bar.left() - 34 if last else bar.right() + 4
                    side = Qt.AlignmentFlag.AlignRight if last else Qt.AlignmentFlag.AlignLeft
                    box = QRectF(left, bar.top(), 30, bar.height())
                    painter.drawText(box, side | Qt.AlignmentFlag.AlignVCenter, name)
            painter.setPen(ink)
            text = str(self._levels[number].name).removeprefix("leiden_")
            middle = next(iter(bars.values())).center().x()
            box = QRectF(middle - 40, area.top(), 80, _HEAD_PX)
            painter.drawText(box.intersected(area), Qt.AlignmentFlag.AlignCenter, text)

    def _arrange(self, area: QRectF) -> None:
        self._bars = []
        for number, level in enumerate(self._levels):
            counts = level.value_counts(sort=False)
            counts = counts[sorted(counts.index, key=_in_order)]
            span = area.width() - 2 * _MARGIN - _BAR_PX
            left = area.left() + _MARGIN + span * number / max(1, len(self._levels) - 1)
            free = area.height() - _HEAD_PX - _MARGIN - _GAP_PX * (len(counts) - 1)
            top, bars = area.top() + _HEAD_PX, {}
            for name, count in counts.items():
                height = max(1.0, free * count / len(level))
                bars[str(name)] = QRectF(left, top, _BAR_PX, height)
                top += height + _GAP_PX
            self._bars.append(bars)

    def _draw_bands(
        self, painter: QPainter, number: int, first: "pd.Series[Any]", second: "pd.Series[Any]"
    ) -> None:
        shared = first.groupby([first, second]).size()
        colours, sides = _colours(first), (self._bars[number], self._bars[number + 1])
        offsets: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for (source, target), count in shared.items():
            ends = []
            for side, name, level in ((0, source, first), (1, target, second)):
                bar = sides[side][name]
                height = bar.height() * count / int((level == name).sum())
                top = bar.top() + offsets[side].get(name, 0.0)
                offsets[side][name] = offsets[side].get(name, 0.0) + height
                ends.append((bar.right() if side == 0 else bar.left(), top, height))
            colour = QColor(colours[source])
            colour.setAlpha(90)
            painter.fillPath(_band(*ends), colour)

    @override
    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        found = None if event is None else self.genes_at(QPointF(event.pos()))
        text = "" if found is None else f"cluster {found[1]}: {len(found[2])} genes"
        self.setToolTip(text)

    @override
    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        found = None if event is None else self.genes_at(QPointF(event.pos()))
        if found is not None:
            self._chosen = found[:2]
            self.update()
            self.genes_clicked.emit(found[2])


class NetworkChart(_Chart):
    """Genes of a module joined to those they correlate with; a click takes a gene."""

    gene_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._nodes: pd.DataFrame | None = None
        self._edges: pd.DataFrame | None = None
        self._places = np.zeros((0, 2))
        self._chosen = -1
        self.setMouseTracking(True)
        self.setAccessibleName("Network of a module's genes")

    @override
    def sizeHint(self) -> QSize:
        return QSize(360, 260)

    def set_network(self, nodes: "pd.DataFrame", edges: "pd.DataFrame") -> None:
        """Show ``gene``, ``x``, ``y``, ``degree`` and ``source``, ``target``, ``correlation``."""
        self._nodes, self._edges, self._chosen = nodes, edges, -1
        self.update()

    def place_of(self, gene: str) -> QPointF:
        """Return where a gene is drawn, in pixels."""
        assert self._nodes is not None
        self._arrange(QRectF(self.rect()))
        x, y = self._places[int(np.flatnonzero(self._nodes["gene"] == gene)[0])]
        return QPointF(x, y)

    @override
    def draw(self, painter: QPainter, area: QRectF, ink: QColor) -> None:
        """Paint the network; also what is exported."""
        if self._nodes is None or self._edges is None:
            return
        self._arrange(area)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        row_of = {gene: row for row, gene in enumerate(self._nodes["gene"])}
        painter.setPen(QPen(_EDGE, 1))
        for source, target in zip(self._edges["source"], self._edges["target"], strict=True):
            ends = self._places[row_of[source]], self._places[row_of[target]]
            painter.drawLine(*(QPointF(*end) for end in ends))
        painter.setPen(Qt.PenStyle.NoPen)
        largest = max(1, int(self._nodes["degree"].max()))
        for row, degree in enumerate(self._nodes["degree"]):
            radius = 2.5 + 5 * float(degree) / largest
            painter.setBrush(_CHOSEN if row == self._chosen else _NODE)
            painter.drawEllipse(QPointF(*self._places[row]), radius, radius)
        painter.setPen(ink)
        for row in self._rows_to_name():
            width = painter.fontMetrics().horizontalAdvance(self._name(row))
            x, y = self._places[row] + (6, -6)
            painter.drawText(QPointF(min(x, area.right() - width), y), self._name(row))

    def _rows_to_name(self) -> list[int]:
        """Return the gene below the mouse and the most joined ones whose names do not collide."""
        assert self._nodes is not None
        order = np.argsort(-self._nodes["degree"].to_numpy(), kind="stable").tolist()
        shown: list[int] = []
        for row in ([self._chosen] if self._chosen >= 0 else []) + order:
            away = [np.abs(self._places[row] - self._places[other]) for other in shown]
            if all(gap[0] > _NAME_PX or gap[1] > _LINE_PX for gap in away):
                shown.append(row)
            if len(shown) == _MOST_NAMES:
                break
        return shown

    def _arrange(self, area: QRectF) -> None:
        assert self._nodes is not None
        layout = self._nodes[["x", "y"]].to_numpy(np.float64)
        low, span = layout.min(axis=0), np.maximum(np.ptp(layout, axis=0), 1e-9)
        free = np.array([area.width() - 90, area.height() - 2 * _MARGIN - _HEAD_PX])
        start = np.array([area.left() + _MARGIN, area.top() + _HEAD_PX])
        self._places = start + (layout - low) / span * free

    def _nearest(self, place: QPointF) -> int:
        if not len(self._places):
            return -1
        distance = np.hypot(*(self._places - (place.x(), place.y())).T)
        row = int(distance.argmin())
        return row if distance[row] <= _NEAR_PX else -1

    @override
    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        row = -1 if event is None else self._nearest(QPointF(event.pos()))
        self._choose(row)
        self.setToolTip(self._name(row) if row >= 0 else "")

    @override
    def leaveEvent(self, event: QEvent | None) -> None:
        self._choose(-1)

    @override
    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        row = -1 if event is None else self._nearest(QPointF(event.pos()))
        if row >= 0:
            self.gene_clicked.emit(self._name(row))

    def _name(self, row: int) -> str:
        assert self._nodes is not None
        return str(self._nodes["gene"].iloc[row])

    def _choose(self, row: int) -> None:
        if row != self._chosen:
            self._chosen = row
            self.update()


def _colours(level: "pd.Series[Any]") -> dict[str, QColor]:
    entries = colour_by_category("cluster", level).entries
    return {entry.name: QColor(*entry.colour) for entry in entries}


def _in_order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (10**9, name)


def _band(first: tuple[float, float, float], second: tuple[float, float, float]) -> QPainterPath:
    """Return the band between the ends ``(x, top, height)`` of two bars."""
    (x0, y0, h0), (x1, y1, h1) = first, second
    middle = (x0 + x1) / 2
    path = QPainterPath(QPointF(x0, y0))
    path.cubicTo(QPointF(middle, y0), QPointF(middle, y1), QPointF(x1, y1))
    path.lineTo(x1, y1 + h1)
    path.cubicTo(QPointF(middle, y1 + h1), QPointF(middle, y0 + h0), QPointF(x0, y0 + h0))
    path.closeSubpath()
    return path
