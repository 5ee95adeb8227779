"""A volcano plot painted by Qt: points, thresholds, a click on a point. No statistics."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QHelpEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPolygonF,
)
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget
from typing_extensions import override

from napari_bio_superposition.core.types import BoolArray, IntArray

_MARGIN: Final = (44, 8, 10, 30)
"""Left, top, right, bottom, in pixels."""
_REACH_PX: Final = 12
"""A click this far from a point still means it."""
_UP, _DOWN = QColor("#e8743b"), QColor("#3b8fe8")
_MARK = QColor("#ffd43b")


@dataclass(frozen=True, eq=False)
class VolcanoPoints:
    """What is drawn: one entry per feature.

    Parameters
    ----------
    latents
        Their numbers.
    names
        What a tool tip says.
    x, y
        Effect and evidence.
    strong
        Which are significant.
    """

    latents: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    names: tuple[str, ...] = ()
    x: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    y: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    strong: BoolArray = field(default_factory=lambda: np.zeros(0, bool))


class VolcanoView(QWidget):
    """Shows effect against evidence; a click on a point chooses its feature."""

    latent_clicked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.x_title, self.y_title = "log2 fold change", "−log10 p"
        self._points = VolcanoPoints()
        self._chosen: int | None = None
        self._least_fold = 0.0
        self.setMouseTracking(True)
        self.setMinimumSize(QSize(160, 120))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Volcano plot")

    @property
    def points(self) -> VolcanoPoints:
        """What is drawn."""
        return self._points

    def set_points(self, points: VolcanoPoints, *, least_fold: float = 0.0) -> None:
        """Show other points, and lines at plus and minus the least fold change."""
        self._points, self._least_fold = points, least_fold
        self.update()

    def choose(self, latent: int | None) -> None:
        """Mark the point of a feature."""
        self._chosen = latent
        self.update()

    def place_of(self, latent: int) -> QPoint | None:
        """Return where a feature is drawn, or ``None`` where it is not."""
        found = np.flatnonzero(self._points.latents == latent)
        if not found.size:
            return None
        column, row = self._pixels()
        return QPoint(round(column[found[0]]), round(row[found[0]]))

    def latent_at(self, place: QPoint) -> int | None:
        """Return the feature next to a place, or ``None`` where none is near."""
        if not self._points.latents.size:
            return None
        column, row = self._pixels()
        distance = np.hypot(column - place.x(), row - place.y())
        nearest = int(np.argmin(distance))
        return int(self._points.latents[nearest]) if distance[nearest] <= _REACH_PX else None

    # --- painting ----------------------------------------------------------------------------

    def _area(self) -> QRectF:
        left, top, right, bottom = _MARGIN
        return QRectF(
            left, top, max(1, self.width() - left - right), max(1, self.height() - top - bottom)
        )

    def _limits(self) -> tuple[float, float]:
        """Return the largest absolute effect and evidence, with some room."""
        x, y = self._points.x, self._points.y
        widest = float(np.nanmax(np.abs(x), initial=1.0))
        return 1.08 * widest, 1.08 * float(np.nanmax(y, initial=1.0))

    def _pixels(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        area, (widest, highest) = self._area(), self._limits()
        column = area.left() + (self._points.x / widest + 1) / 2 * area.width()
        return column, area.bottom() - self._points.y / highest * area.height()

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        self._paint_axes(painter, ink)
        column, row = self._pixels()
        strong, up = self._points.strong, self._points.x > 0
        faint = QColor(ink)
        faint.setAlpha(90)
        for chosen, colour, size in (
            (~strong, faint, 3.0),
            (strong & up, _UP, 5.0),
            (strong & ~up, _DOWN, 5.0),
        ):
            pen = QPen(colour, size)
            pen.setCapStyle(Qt.PenCapStyle.RoundCap)
            painter.setPen(pen)
            painter.drawPoints(
                QPolygonF([QPointF(x, y) for x, y in zip(column[chosen], row[chosen], strict=True)])
            )
        place = None if self._chosen is None else self.place_of(self._chosen)
        if place is not None:
            painter.setPen(QPen(_MARK, 2))
            painter.drawEllipse(place, 6, 6)
        painter.end()

    def _paint_axes(self, painter: QPainter, ink: QColor) -> None:
        area, (widest, highest) = self._area(), self._limits()
        thin = QColor(ink)
        thin.setAlpha(70)
        painter.setPen(QPen(ink, 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.topLeft(), area.bottomLeft())
        painter.setPen(QPen(thin, 1, Qt.PenStyle.DashLine))
        for fold in {0.0, self._least_fold, -self._least_fold}:
            column = area.left() + (fold / widest + 1) / 2 * area.width()
            painter.drawLine(QPointF(column, area.top()), QPointF(column, area.bottom()))
        painter.setPen(ink)
        below = QRectF(area.left(), area.bottom() + 2, area.width(), 14)
        for share, align in ((-1, "AlignLeft"), (0, "AlignHCenter"), (1, "AlignRight")):
            painter.drawText(below, getattr(Qt.AlignmentFlag, align), f"{share * widest:.2g}")
        title = below.translated(0, 13)
        painter.drawText(title, Qt.AlignmentFlag.AlignHCenter, self.x_title)
        beside = QRectF(0, area.top(), area.left() - 4, 14)
        painter.drawText(beside, Qt.AlignmentFlag.AlignRight, f"{highest:.2g}")
        painter.drawText(beside.translated(0, area.height() - 12), Qt.AlignmentFlag.AlignRight, "0")
        painter.save()
        painter.translate(11, area.center().y())
        painter.rotate(-90)
        painter.drawText(QRectF(-70, -9, 140, 16), Qt.AlignmentFlag.AlignHCenter, self.y_title)
        painter.restore()

    # --- the mouse ---------------------------------------------------------------------------

    @override
    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is None or event.button() != Qt.MouseButton.LeftButton:
            return
        latent = self.latent_at(event.position().toPoint())
        if latent is not None:
            self.choose(latent)
            self.latent_clicked.emit(latent)

    @override
    def event(self, event: QEvent | None) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            self._show_tip(event)
            return True
        return bool(super().event(event))

    def _show_tip(self, event: QHelpEvent) -> None:
        latent = self.latent_at(event.pos())
        if latent is None:
            QToolTip.hideText()
            return
        row = int(np.flatnonzero(self._points.latents == latent)[0])
        text = f"{self._points.names[row]}: {self._points.x[row]:.2f}, {self._points.y[row]:.2f}"
        QToolTip.showText(event.globalPos(), text, self)
