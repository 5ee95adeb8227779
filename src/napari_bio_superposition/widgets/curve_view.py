"""Curves that grow while one looks, drawn with Qt alone. It knows neither jobs nor files."""

import math
from dataclasses import dataclass, field

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

_COLOURS = ("#4f8fe6", "#e08a3c", "#5fb870", "#c06bc4")
"""Readable on a light and on a dark background."""
_REFERENCE_COLOUR = "#8a8a8a"
_MARGIN_PX = 6
_MOST_POINTS = 600
"""More than a dock is wide; longer curves are thinned to this by averaging."""


@dataclass
class _Series:
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)


class CurveView(QWidget):
    """One plot with a title, axes, some named curves and, if given, a dashed line of reference.

    Parameters
    ----------
    title
        Written above the plot.
    x_label
        What is counted along the horizontal axis.
    y_range
        Fixed range of the vertical axis; ``None`` fits it to the curves.
    """

    def __init__(
        self,
        title: str,
        x_label: str,
        *,
        y_range: tuple[float, float] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._title, self._x_label, self._y_range = title, x_label, y_range
        self._series: dict[str, _Series] = {}
        self._reference: tuple[str, float] | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(110)
        self.setAccessibleName(title)

    @property
    def names(self) -> tuple[str, ...]:
        """Curves that have a point."""
        return tuple(self._series)

    def points(self, name: str) -> list[tuple[float, float]]:
        """Return the points of a curve."""
        series = self._series.get(name, _Series())
        return list(zip(series.x, series.y, strict=True))

    def add_point(self, name: str, x: float, y: float) -> None:
        """Add a point to the right end of a curve, which is made where it is new."""
        series = self._series.setdefault(name, _Series())
        series.x.append(x)
        series.y.append(y)
        self.update()

    def show_reference(self, name: str, y: float) -> None:
        """Draw a dashed line, for instance the accuracy of guessing."""
        self._reference = (name, y)
        self.update()

    def clear(self) -> None:
        """Remove everything."""
        self._series, self._reference = {}, None
        self.update()

    @override
    def sizeHint(self) -> QSize:
        return QSize(300, 150)

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        metrics = QFontMetricsF(self.font())
        line = metrics.height()
        painter.setPen(text)
        width, height = float(self.width()), float(self.height())
        painter.drawText(QPointF(_MARGIN_PX, metrics.ascent() + 1), self._title)
        legend = self._legend()
        needed = sum(metrics.horizontalAdvance(label) + 10 for label, _ in legend)
        fits = needed + metrics.horizontalAdvance(self._title) + 2 * _MARGIN_PX <= width
        head = line if fits else 2 * line
        low, high = self._vertical_range()
        y_ticks = choose_ticks(low, high, 3)
        left = _MARGIN_PX + max(metrics.horizontalAdvance(f"{t:g}") for t in y_ticks) + 4
        plot = QRectF(left, head + 4, width - left - _MARGIN_PX, height - head - line - 8)
        if plot.width() > 20 and plot.height() > 20:
            _draw_frame(painter, plot, text, (low, high), y_ticks)
            self._draw_x_axis(painter, plot, text)
            self._draw_curves(painter, plot, (low, high))
            _draw_legend(painter, legend, width, head - line + metrics.ascent() + 1)
        painter.end()

    def _draw_x_axis(self, painter: QPainter, plot: QRectF, text: QColor) -> None:
        painter.setPen(text)
        below = QRectF(plot.left(), plot.bottom() + 1, plot.width(), self.height() - plot.bottom())
        last = self._last_x()
        aligned = Qt.AlignmentFlag
        painter.drawText(below, aligned.AlignLeft, "0")
        painter.drawText(below, aligned.AlignHCenter, self._x_label)
        painter.drawText(below, aligned.AlignRight, f"{last:g}")

    def _draw_curves(self, painter: QPainter, plot: QRectF, y_range: tuple[float, float]) -> None:
        def place(x: float, y: float) -> QPointF:
            low, high = y_range
            share = (y - low) / (high - low)
            return QPointF(
                plot.left() + plot.width() * x / self._last_x(),
                plot.bottom() - plot.height() * min(1.0, max(0.0, share)),
            )

        if self._reference is not None:
            pen = QPen(QColor(_REFERENCE_COLOUR), 1, Qt.PenStyle.DashLine)
            painter.setPen(pen)
            y = self._reference[1]
            painter.drawLine(place(0, y), place(self._last_x(), y))
        for colour, series in zip(_COLOURS, self._series.values(), strict=False):
            painter.setPen(QPen(QColor(colour), 1.6))
            points = [place(x, y) for x, y in thin(series.x, series.y)]
            painter.drawPolyline(QPolygonF(points))
            if len(points) < 30:
                painter.setBrush(QColor(colour))
                for point in points:
                    painter.drawEllipse(point, 2.2, 2.2)
                painter.setBrush(Qt.BrushStyle.NoBrush)

    def _legend(self) -> list[tuple[str, str]]:
        """Return the newest value of each curve, and the line of reference, with their colours."""
        entries = [
            (f"{name} {series.y[-1]:.3g}", colour)
            for colour, (name, series) in zip(_COLOURS, self._series.items(), strict=False)
        ]
        if self._reference is not None:
            entries.append((f"{self._reference[0]} {self._reference[1]:.3g}", _REFERENCE_COLOUR))
        return entries

    def _last_x(self) -> float:
        return max((series.x[-1] for series in self._series.values()), default=1.0) or 1.0

    def _vertical_range(self) -> tuple[float, float]:
        if self._y_range is not None:
            return self._y_range
        values = [y for series in self._series.values() for y in series.y if math.isfinite(y)]
        if not values:
            return 0.0, 1.0
        low, high = min(values), max(values)
        margin = 0.05 * (high - low) or 0.5
        return low - margin, high + margin


def _draw_frame(
    painter: QPainter,
    plot: QRectF,
    text: QColor,
    y_range: tuple[float, float],
    ticks: list[float],
) -> None:
    """Draw the axes and a faint line at each tick."""
    faint = QColor(text)
    faint.setAlpha(50)
    low, high = y_range
    for tick in ticks:
        y = plot.bottom() - plot.height() * (tick - low) / (high - low)
        painter.setPen(faint)
        painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
        painter.setPen(text)
        box = QRectF(0, y - 10, plot.left() - 4, 20)
        painter.drawText(
            box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{tick:g}"
        )
    painter.setPen(faint)
    painter.drawRect(plot)


def _draw_legend(
    painter: QPainter, entries: list[tuple[str, str]], width: float, baseline: float
) -> None:
    """Write entries in their colours, the last one at the right end."""
    x = width - _MARGIN_PX
    for label, colour in reversed(entries):
        x -= painter.fontMetrics().horizontalAdvance(label)
        painter.setPen(QColor(colour))
        painter.drawText(QPointF(x, baseline), label)
        x -= 10


def choose_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return about *wanted* round numbers within a range; at least one."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / wanted
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    ticks = [round((first + i) * step, 12) for i in range(count)]
    return ticks or [low]


def thin(x: list[float], y: list[float], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most *most* points: means of neighbouring ones where there are more."""
    if len(x) <= most:
        return list(zip(x, y, strict=True))
    size = -(-len(x) // most)
    chunks = (slice(start, start + size) for start in range(0, len(x), size))
    return [(sum(x[c]) / len(x[c]), sum(y[c]) / len(y[c])) for c in chunks]
