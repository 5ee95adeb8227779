"""Paints what the two axes are, and where they are cut, along the edges of a plot. Only paint."""

import math
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter

if TYPE_CHECKING:
    from napari_bio_superposition.widgets.scatter_view import ScatterView

_N_TICKS: Final = 4
_MARGIN_PX: Final = 4.0
_TICK_PX: Final = 4.0


def paint_axes(painter: QPainter, view: "ScatterView", ink: QColor) -> None:
    """Paint the names of the axes, and their numbers where the view asks for them."""
    painter.setPen(ink)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if view.show_ticks:
        _paint_ticks(painter, view)
    metrics = QFontMetricsF(painter.font())
    across, up = view.axis_names
    if across:
        lift = metrics.height() + 2 * _TICK_PX if view.show_ticks else 0.0
        width = metrics.horizontalAdvance(across)
        place = QPointF((view.width() - width) / 2, view.height() - metrics.descent() - lift - 2)
        painter.drawText(place, across)
    if up:
        painter.save()
        painter.translate(metrics.ascent() + 2, (view.height() + metrics.horizontalAdvance(up)) / 2)
        painter.rotate(-90)
        painter.drawText(QPointF(0, 0), up)
        painter.restore()


def choose_ticks(low: float, high: float) -> list[float]:
    """Return a few round numbers between two limits."""
    if not high > low:
        return []
    rough = (high - low) / _N_TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step)
    return [step * count for count in range(first, math.floor(high / step) + 1)]


def _paint_ticks(painter: QPainter, view: "ScatterView") -> None:
    viewport = view.scene.viewport
    left, top = viewport.to_data(0, 0)
    right, bottom = viewport.to_data(viewport.width, viewport.height)
    metrics = QFontMetricsF(painter.font())
    floor = view.height()
    for x in choose_ticks(left, right):
        place = view.to_widget(x, 0).x()
        painter.drawLine(QPointF(place, floor), QPointF(place, floor - _TICK_PX))
        box = QRectF(place - 40, floor - _TICK_PX - metrics.height(), 80, metrics.height())
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, f"{x:.4g}")
    for y in choose_ticks(bottom, top):
        place = view.to_widget(0, y).y()
        if place < 2 * metrics.height():
            continue  # it would be cut off, or lie on what is written along the top
        painter.drawLine(QPointF(0, place), QPointF(_TICK_PX, place))
        start = _TICK_PX + metrics.height() + _MARGIN_PX
        painter.drawText(QPointF(start, place + metrics.ascent() / 2), f"{y:.4g}")
