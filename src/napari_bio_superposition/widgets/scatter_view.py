"""The scatter canvas: mouse and paint around a picture that numpy makes. It knows no table.

No OpenGL: a canvas that uses it goes black when napari floats its dock.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import (
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPolygonF,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from napari_bio_superposition.widgets.scatter_axes import paint_axes
from napari_bio_superposition.widgets.scatter_colour import Colouring
from napari_bio_superposition.widgets.scatter_legend import paint_legend
from napari_bio_superposition.widgets.scatter_scene import Mask, Picture, ScatterScene
from napari_bio_superposition.widgets.selection import SelectionMode

Tool = Literal["pan", "lasso", "rectangle"]

_DARK: tuple[int, int, int] = (20, 22, 26)
_LIGHT: tuple[int, int, int] = (255, 255, 255)
_FULL_AFTER_MS = 140
"""A view that rests this long is drawn with all of its points."""
_CLICK_PX = 4
"""A drag shorter than this is a click."""
_ZOOM_PER_STEP = 1.25
_ANGLE_OF_STEP = 120
_MARK_RADIUS_PX = 7
_SMALLEST = QSize(160, 140)


class ScatterView(QWidget):
    """Shows points, lets the user move the view and choose points by lasso, rectangle or click.

    Left button: the chosen tool. Middle or right button: move the view. Wheel: zoom. Double
    click: all in view. Shift adds to the selection, Ctrl takes from it.
    """

    region_chosen = Signal(object, str)
    """Mask over the points ``(n,)`` and `SelectionMode`."""
    row_clicked = Signal(object, str)
    """The point, or ``None`` for the empty canvas, and `SelectionMode`."""
    row_hovered = Signal(object, QPoint)
    """The point under the mouse or ``None``, and the place on this widget."""
    undo_asked = Signal()
    redo_asked = Signal()
    came_into_sight = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scene = ScatterScene()
        self.tool: Tool = "lasso"
        self.hint = ""
        self.axis_names = ("", "")
        self.show_ticks = False
        self.paint_over: Callable[[QPainter, QColor], None] | None = None
        self._picture: Picture | None = None
        self._corners: list[QPointF] = []
        self._pressed: QPointF | None = None
        self._last: QPointF | None = None
        self._is_panning = False
        self._has_moved = False
        self._is_draft = False
        self._current: int | None = None
        self._hovered: int | None = None
        self._full_soon = QTimer(self)
        self._full_soon.setSingleShot(True)
        self._full_soon.setInterval(_FULL_AFTER_MS)
        self._full_soon.timeout.connect(self._draw_fully)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(_SMALLEST)
        self.setAccessibleName("Scatter plot")

    # --- what is shown -----------------------------------------------------------------------

    def set_points(self, points: Any, *, equal_axes: bool = True) -> None:
        """Show other points ``(n, 2)``."""
        self._fit_canvas()
        self.scene.set_points(np.asarray(points), equal_axes=equal_axes)
        self._current = self._hovered = None
        self.redraw()

    def set_colouring(self, colouring: Colouring) -> None:
        """Colour the points otherwise."""
        self.scene.set_colouring(colouring)
        self.redraw()

    def set_selected(self, mask: Mask | None) -> None:
        """Show which points are selected; none where *mask* has none."""
        self.scene.set_selected(mask)
        self.redraw()

    def set_current(self, row: int | None) -> None:
        """Put a ring around one point."""
        self._current = row
        self.update()

    def set_diameter(self, diameter: int) -> None:
        """Draw points so large, in pixels of the screen."""
        self.scene.diameter = max(1, round(diameter * self.devicePixelRatioF()))
        self.redraw()

    def show_all(self) -> None:
        """Bring all points into view."""
        self.scene.fit()
        self.redraw()

    def redraw(self) -> None:
        """Draw again, with all points."""
        self._full_soon.stop()
        self._is_draft = False
        self._picture = None
        self.update()

    @property
    def background(self) -> tuple[int, int, int]:
        """Colour behind the points, by napari's theme."""
        self.ensurePolished()
        is_dark = self.palette().color(QPalette.ColorRole.WindowText).lightness() > 127
        return _DARK if is_dark else _LIGHT

    def render_now(self) -> Picture:
        """Return the picture as it is painted, ``(height, width)`` of ``0xffrrggbb``."""
        self._fit_canvas()
        if self._picture is None:
            self._picture = self.scene.render(self.background, draft=self._is_draft)
        return self._picture

    def to_widget(self, x: float, y: float) -> QPointF:
        """Return the place on this widget of a point of the plane."""
        viewport, ratio = self.scene.viewport, self.devicePixelRatioF()
        column = (x - viewport.centre[0]) * viewport.scale[0] + viewport.width / 2
        row = (viewport.centre[1] - y) * viewport.scale[1] + viewport.height / 2
        return QPointF(column / ratio, row / ratio)

    # --- painting ----------------------------------------------------------------------------

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        picture = self.render_now()
        height, width = picture.shape
        pixels: Any = picture.data  # Qt reads the array itself; its stubs ask for bytes, a copy
        image = QImage(pixels, width, height, 4 * width, QImage.Format.Format_RGB32)
        painter = QPainter(self)
        painter.drawImage(QRectF(self.rect()), image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = QColor("white") if self.background == _DARK else QColor("black")
        if len(self.scene):
            if self.paint_over is not None:
                self.paint_over(painter, ink)
            paint_axes(painter, self, ink)
            paint_legend(painter, self.scene.colouring, self.rect(), ink)
        elif self.hint:
            painter.setPen(ink)
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(QRectF(self.rect()).adjusted(12, 12, -12, -12), flags, self.hint)
        self._paint_mark(painter, ink)
        if len(self._corners) > 1:
            painter.setPen(QPen(ink, 1.5, Qt.PenStyle.DashLine))
            painter.setBrush(QColor(ink.red(), ink.green(), ink.blue(), 30))
            painter.drawPolygon(QPolygonF(self._corners))
        painter.end()

    def _paint_mark(self, painter: QPainter, ink: QColor) -> None:
        place = None if self._current is None else self.scene.place_of(self._current)
        if place is None:
            return
        ratio = self.devicePixelRatioF()
        painter.setPen(QPen(ink, 2.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        centre = QPointF((place[0] + 0.5) / ratio, (place[1] + 0.5) / ratio)
        painter.drawEllipse(centre, _MARK_RADIUS_PX, _MARK_RADIUS_PX)

    def _fit_canvas(self) -> None:
        ratio = self.devicePixelRatioF()
        width, height = round(self.width() * ratio), round(self.height() * ratio)
        viewport = self.scene.viewport
        if (width, height) != (viewport.width, viewport.height):
            self.scene.resize(max(1, width), max(1, height))
            self._picture = None

    def _move_view(self) -> None:
        self._is_draft = self.scene.is_heavy
        self._picture = None
        if self._is_draft:
            self._full_soon.start()
        self.update()

    def _draw_fully(self) -> None:
        self.redraw()

    # --- mouse and keys ----------------------------------------------------------------------

    @override
    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is None:
            return
        self.setFocus()
        self._pressed = self._last = event.position()
        is_left = event.button() == Qt.MouseButton.LeftButton
        self._is_panning = not is_left or self.tool == "pan"
        self._has_moved = False
        self._corners = [] if self._is_panning else [event.position()]
        self._tell_hovered(None, event.position())

    @override
    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        if event is None:
            return
        place = event.position()
        if self._pressed is None or self._last is None:
            self._tell_hovered(self._row_at(place), place)
            return
        # Far from the start once is no click, even where a lasso ends at its start.
        self._has_moved |= (place - self._pressed).manhattanLength() >= _CLICK_PX
        if self._is_panning:
            moved = (place - self._last) * self.devicePixelRatioF()
            self.scene.viewport = self.scene.viewport.panned(moved.x(), moved.y())
            self._move_view()
        else:
            self._draw_corner(place)
        self._last = place

    def _draw_corner(self, place: QPointF) -> None:
        if self.tool == "rectangle":
            start = self._corners[0]
            across, down = QPointF(place.x(), start.y()), QPointF(start.x(), place.y())
            self._corners = [start, across, place, down]
        else:
            self._corners.append(place)
        self.update()

    @override
    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        if event is None or self._pressed is None:
            return
        corners, was_panning = self._corners, self._is_panning
        self._corners, self._pressed, self._is_panning = [], None, False
        mode = _mode_of(event)
        if not self._has_moved:
            if event.button() == Qt.MouseButton.LeftButton:
                self.row_clicked.emit(self._row_at(event.position()), mode)
        elif not was_panning:
            ratio = self.devicePixelRatioF()
            outline = np.array([(corner.x(), corner.y()) for corner in corners]) * ratio
            self.region_chosen.emit(self.scene.rows_in_polygon(outline), mode)
        self.update()

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        self.show_all()

    @override
    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if event is None:
            return
        ratio = self.devicePixelRatioF()
        place = event.position() * ratio
        factor = _ZOOM_PER_STEP ** (event.angleDelta().y() / _ANGLE_OF_STEP)
        self.scene.viewport = self.scene.viewport.zoomed(factor, place.x(), place.y())
        self._move_view()
        event.accept()  # a scroll area around must not move as well

    @override
    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is None:
            return
        has_control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        has_shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if has_control and event.key() == Qt.Key.Key_Z:
            (self.redo_asked if has_shift else self.undo_asked).emit()
        elif has_control and event.key() == Qt.Key.Key_Y:
            self.redo_asked.emit()
        elif event.key() == Qt.Key.Key_Escape and self._corners:
            self._corners, self._pressed = [], None
            self.update()
        else:
            super().keyPressEvent(event)

    @override
    def leaveEvent(self, event: QEvent | None) -> None:
        self._tell_hovered(None, QPointF())
        super().leaveEvent(event)

    @override
    def resizeEvent(self, event: QResizeEvent | None) -> None:
        self._picture = None
        super().resizeEvent(event)

    @override
    def showEvent(self, event: QShowEvent | None) -> None:
        super().showEvent(event)
        self.came_into_sight.emit()

    @override
    def changeEvent(self, event: QEvent | None) -> None:
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._picture = None  # another theme, another background
        super().changeEvent(event)

    def _row_at(self, place: QPointF) -> int | None:
        ratio = self.devicePixelRatioF()
        return self.scene.row_at(int(place.x() * ratio), int(place.y() * ratio))

    def _tell_hovered(self, row: int | None, place: QPointF) -> None:
        if row is None and self._hovered is None:
            return
        self._hovered = row
        self.row_hovered.emit(row, place.toPoint())


def _mode_of(event: QMouseEvent) -> SelectionMode:
    if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
        return "add"
    if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
        return "remove"
    return "replace"
