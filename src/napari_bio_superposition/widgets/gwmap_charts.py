"""Small charts of a coupling painted by Qt: losses beside nulls, and basins. They compute nothing.

They carry no other statistic than what `coupling.json` holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

_DATA = QColor("#e0703c")
_NULL = QColor("#4c9be8")
_ROW_PX: Final = 18
_FOOT_PX: Final = 16
_NAME_SHARE: Final = 0.38
_NAMES: Final = {
    "cloud of the same covariance": "same covariance",
    "columns shuffled within clusters": "shuffled in clusters",
}
_MOST_BASINS: Final = 6


class _RowChart(QWidget):
    """Rows with a name on the left and marks on a common scale, and the scale below."""

    def __init__(self, name: str, hint: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = name
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(name)
        self.setToolTip(hint)
        self._set_rows(0)

    def _set_rows(self, number: int) -> None:
        self.setFixedHeight((1 + number) * _ROW_PX + _FOOT_PX)
        self.setVisible(number > 0)
        self.update()

    def _row(self, place: int) -> float:
        return (1.5 + place) * _ROW_PX

    def _area(self) -> QRectF:
        left = _NAME_SHARE * self.width()
        return QRectF(left, _ROW_PX, self.width() - left - 8, self.height() - _ROW_PX - _FOOT_PX)

    def _begin(self, names: Sequence[str]) -> QPainter:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self._ink())
        whole = QRectF(0, 0, self.width(), _ROW_PX)
        painter.drawText(whole, Qt.AlignmentFlag.AlignLeft, self._title)
        left, metrics = self._area().left(), painter.fontMetrics()
        for place, name in enumerate(names):
            box = QRectF(0, (1 + place) * _ROW_PX, left - 6, _ROW_PX)
            text = metrics.elidedText(name, Qt.TextElideMode.ElideRight, int(left) - 8)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)
        return painter

    def _ink(self) -> QColor:
        return QColor(self.palette().color(QPalette.ColorRole.WindowText))

    def _paint_foot(self, painter: QPainter, low: str, high: str, middle: str) -> None:
        area = self._area()
        painter.setPen(self._ink())
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        below = QRectF(area.left(), area.bottom() + 1, area.width(), _FOOT_PX - 1)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, low)
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, middle)
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, high)

    @override
    def sizeHint(self) -> QSize:
        return QSize(300, self.height())


class NullChart(_RowChart):
    """Losses of rebuilt geometries as points, a row for each kind; the data as lines."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Loss of the data (lines) and of rebuilt geometries (points)",
            "Lines left of the points: the data fit better than geometries without structure "
            "(columns shuffled), of the same overall shape, or with the same clusters",
            parent,
        )
        self.losses: dict[str, tuple[float, ...]] = {}
        self.observed: tuple[float, ...] = ()

    def show_null(self, null: Mapping[str, Any]) -> None:
        """Show the part ``null`` of ``coupling.json``."""
        self.losses = {kind: tuple(values) for kind, values in null["losses"].items()}
        self.observed = tuple(null["observed"])
        self._set_rows(len(self.losses))

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = self._begin([_NAMES.get(kind, kind) for kind in self.losses])
        area = self._area()
        values = [*self.observed, *(loss for row in self.losses.values() for loss in row)]
        low, high = min(values, default=0.0), max(values, default=1.0)
        margin = 0.05 * (high - low) or 0.5

        def across(value: float) -> float:
            share = (value - low + margin) / (high - low + 2 * margin)
            return area.left() + share * area.width()

        painter.setPen(QPen(_DATA, 2))
        for value in self.observed:
            x = across(value)
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(_NULL)
        for place, row in enumerate(self.losses.values()):
            for value in row:
                painter.drawEllipse(QPointF(across(value), self._row(place)), 3, 3)
        self._paint_foot(painter, f"{low - margin:.3g}", f"{high + margin:.3g}", "loss")
        painter.end()


@dataclass(frozen=True)
class Basin:
    """One alternative alignment: its gap to the best and its agreement with the chosen one."""

    gap: float
    agreement: float
    starts: int


class BasinChart(_RowChart):
    """How much worse other alignments are, as bars; words say how far they agree."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Other alignments: how much higher their loss is",
            "Below 2 % (dashes) with an agreement far below 1: another map that fits as well, for "
            "instance the mirror image. In brackets: starts of the search that ended there",
            parent,
        )
        self.basins: tuple[Basin, ...] = ()

    def show_basins(self, basins: Sequence[Mapping[str, Any]]) -> None:
        """Show the part ``basins`` of ``coupling.json``; the first one is the chosen one."""
        shown = [Basin(b["gap"], b["agreement"], b["starts"]) for b in basins[1:]]
        self.basins = tuple(shown[:_MOST_BASINS])
        self._set_rows(len(self.basins))

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        names = [f"agrees {basin.agreement:+.2f} ({basin.starts})" for basin in self.basins]
        painter = self._begin(names)
        area = self._area()
        top = max([0.05, *(basin.gap for basin in self.basins)])
        for place, basin in enumerate(self.basins):
            width = max(2.0, basin.gap / top * area.width())
            bar = QRectF(area.left(), self._row(place) - 5, width, 10)
            painter.fillRect(bar, _DATA if basin.gap < 0.02 and basin.agreement < 0.9 else _NULL)
        painter.setPen(QPen(self._ink(), 1, Qt.PenStyle.DashLine))
        limit = area.left() + 0.02 / top * area.width()
        painter.drawLine(QPointF(limit, area.top()), QPointF(limit, area.bottom()))
        self._paint_foot(painter, "0", f"{top:.1%}", "dashes: ambiguous")
        painter.end()


class ColourBar(QWidget):
    """What the colours of a painted gene mean: a strip with its limits and unit."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ("", "", "")
        self._stops: tuple[QColor, ...] = ()
        self.setFixedHeight(30)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.hide()

    def show_scale(
        self, title: str, limits: tuple[float, float], colours: Sequence[Sequence[float]]
    ) -> None:
        """Show a scale; *colours* run from its lower to its upper limit, ``(n, 3)`` in 0..1."""
        self._text = (title, f"{limits[0]:.3g}", f"{limits[1]:.3g}")
        self._stops = tuple(QColor.fromRgbF(*map(float, colour[:3])) for colour in colours)
        self.setToolTip(f"{title}: {self._text[1]} to {self._text[2]}")
        self.show()
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        if not self._stops:
            return
        painter = QPainter(self)
        strip = QRectF(2, 2, self.width() - 4, 9)
        gradient = QLinearGradient(strip.topLeft(), strip.topRight())
        for place, colour in enumerate(self._stops):
            gradient.setColorAt(place / max(1, len(self._stops) - 1), colour)
        painter.fillRect(strip, gradient)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        below = QRectF(2, 13, self.width() - 4, 16)
        title, low, high = self._text
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, low)
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, title)
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, high)
        painter.end()
