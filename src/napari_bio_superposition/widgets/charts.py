"""Small charts painted by Qt: a histogram, means with intervals. They compute no statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

_BAR = QColor("#4c9be8")
_ROW_PX: Final = 20
_NAME_SHARE: Final = 0.3


class Histogram(QWidget):
    """Counts per bin; the height is their logarithm, so that rare strong values stay in sight."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = title
        self.counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._top = 0.0
        self.setMinimumSize(QSize(120, 74))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(title)

    def set_counts(self, counts: npt.NDArray[np.int64], top: float) -> None:
        """Show counts of bins of equal width from 0 to *top*."""
        self.counts, self._top = counts, top
        n = int(counts.sum())
        self.setToolTip(f"{self._title}: {n:,} values from 0 to {top:.3g}; log heights")
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        area = QRectF(2, 15, self.width() - 4, self.height() - 30)
        painter.setPen(ink)
        painter.drawText(QRectF(2, 0, self.width(), 15), Qt.AlignmentFlag.AlignLeft, self._title)
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        below = QRectF(area.left(), area.bottom() + 1, area.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{self._top:.3g}")
        if self.counts.size and self.counts.max() > 0:
            heights = np.log1p(self.counts) / np.log1p(self.counts.max()) * area.height()
            width = area.width() / len(heights)
            for place, height in enumerate(heights):
                left = area.left() + place * width
                bar = QRectF(left, area.bottom() - height, max(1.0, width - 1), height)
                painter.fillRect(bar, _BAR)
        painter.end()


@dataclass(frozen=True)
class MeanRow:
    """One class: its mean with an interval, nan where there is none."""

    name: str
    mean: float
    low: float
    high: float
    note: str = ""


class MeanChart(QWidget):
    """Means of classes as points on a common scale from 0, with their intervals."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[MeanRow, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(_ROW_PX)
        self.setAccessibleName("Means of classes with intervals")

    def set_rows(self, rows: Sequence[MeanRow]) -> None:
        """Show other classes, from top to bottom."""
        self.rows = tuple(rows)
        self.setFixedHeight(_ROW_PX * max(1, len(self.rows)) + 14)
        self.setToolTip("\n".join(f"{row.name}: {row.mean:.3g}. {row.note}" for row in self.rows))
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        left = _NAME_SHARE * self.width()
        area = QRectF(left, 0, self.width() - left - 8, _ROW_PX * len(self.rows))
        tops = [value for row in self.rows for value in (row.mean, row.high) if value == value]
        top = max(tops, default=0.0) * 1.05 or 1.0
        painter.setPen(ink)
        metrics = painter.fontMetrics()
        for place, row in enumerate(self.rows):
            middle = (place + 0.5) * _ROW_PX
            name = metrics.elidedText(row.name, Qt.TextElideMode.ElideRight, int(left) - 8)
            painter.setPen(ink)
            painter.drawText(
                QRectF(0, place * _ROW_PX, left - 6, _ROW_PX),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                name,
            )
            if row.low == row.low:  # not nan
                painter.setPen(QPen(_BAR, 3))
                start, end = (
                    area.left() + value / top * area.width() for value in (row.low, row.high)
                )
                painter.drawLine(round(start), round(middle), round(end), round(middle))
            painter.setPen(QPen(ink, 7, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
            painter.drawPoint(round(area.left() + row.mean / top * area.width()), round(middle))
        painter.setPen(QPen(ink, 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        below = QRectF(area.left(), area.bottom() + 1, area.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{top:.3g}")
        painter.end()


class LineChart(QWidget):
    """One or two curves over rank, on a scale from 0 to 1: shares that add up."""

    def __init__(self, x_title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._x_title = x_title
        self.curves: dict[str, npt.NDArray[np.float64]] = {}
        self.setMinimumSize(QSize(120, 110))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(x_title)

    def set_curves(self, curves: dict[str, npt.ArrayLike]) -> None:
        """Show other curves by their names, one value per rank, the first one in colour."""
        self.curves = {name: np.asarray(values, float) for name, values in curves.items()}
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        area = QRectF(26, 4, self.width() - 34, self.height() - 34)
        n_ranks = max((len(values) for values in self.curves.values()), default=1)
        painter.setPen(ink)
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.topLeft(), area.bottomLeft())
        painter.drawText(QRectF(0, area.top() - 4, 22, 14), Qt.AlignmentFlag.AlignRight, "1")
        painter.drawText(QRectF(0, area.bottom() - 10, 22, 14), Qt.AlignmentFlag.AlignRight, "0")
        below = QRectF(area.left(), area.bottom() + 1, area.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "1")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{n_ranks}")
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, self._x_title)
        faint = QColor(ink)
        faint.setAlpha(150)
        legend = below.translated(0, 14)
        for place, (name, values) in enumerate(self.curves.items()):
            colour = _BAR if place == 0 else faint
            painter.setPen(QPen(colour, 2))
            if len(values):
                across = area.left() + np.arange(len(values)) / max(1, n_ranks - 1) * area.width()
                height = np.clip(values, 0, 1) * area.height()
                places = zip(across, area.bottom() - height, strict=True)
                painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in places]))
            side = Qt.AlignmentFlag.AlignLeft if place == 0 else Qt.AlignmentFlag.AlignRight
            painter.drawText(legend, side, name)
        painter.end()
