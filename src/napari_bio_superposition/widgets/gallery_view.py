"""Pictures in rows with captions, each of which can be clicked. It draws no picture itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPoint, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

_CAPTION_PX: Final = 16
_GAP_PX: Final = 4
_SMALLEST_PX, _LARGEST_PX = 56, 110
_MARK = QColor("#ffd43b")
_BLANK: Final = 62
_ON_BLANK = QColor("#c8c8c8")


@dataclass(frozen=True, eq=False)
class GalleryPicture:
    """One picture.

    Parameters
    ----------
    key
        What a click reports: a row of the table; negative for a picture that is none.
    pixels
        ``(height, width, 3)`` uint8.
    tip
        What the mouse is told.
    note
        Written over it: why there is no picture.
    """

    key: int
    pixels: npt.NDArray[np.uint8]
    tip: str = ""
    note: str = ""

    @classmethod
    def blank(cls, key: int, note: str, tip: str = "") -> "GalleryPicture":
        """Return what stands for a picture that there is not."""
        return cls(key, np.full((2, 2, 3), _BLANK, np.uint8), tip, note)


@dataclass(frozen=True, eq=False)
class GalleryRow:
    """Pictures with one caption above them."""

    caption: str
    pictures: tuple[GalleryPicture, ...]


class GalleryView(QWidget):
    """Shows rows of pictures, as large as the width allows."""

    picture_clicked = Signal(int, object)
    """The key of the picture, and the modifiers of the keyboard."""
    picture_opened = Signal(int)
    """The key of a picture that was double-clicked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[GalleryRow, ...] = ()
        self._images: dict[int, QImage] = {}
        self._marked: set[int] = set()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setAccessibleName("Examples")

    def set_rows(self, rows: Sequence[GalleryRow]) -> None:
        """Show other pictures."""
        self.rows = tuple(row for row in rows if row.pictures)
        self._images = {
            id(picture): _as_image(picture.pixels) for row in self.rows for picture in row.pictures
        }
        self._fit()
        self.update()

    def mark(self, keys: set[int]) -> None:
        """Frame the pictures of these keys."""
        self._marked = keys
        self.update()

    def place_of(self, key: int) -> QPoint | None:
        """Return the middle of the first picture of a key."""
        for picture, place in self._places():
            if picture.key == key:
                return place.center()
        return None

    @property
    def _side(self) -> int:
        most = max((len(row.pictures) for row in self.rows), default=1)
        side = (self.width() - _GAP_PX * (most - 1)) // most
        return int(np.clip(side, _SMALLEST_PX, _LARGEST_PX))

    def _places(self) -> list[tuple[GalleryPicture, QRect]]:
        side, y = self._side, 0
        places = []
        for row in self.rows:
            y += _CAPTION_PX
            for column, picture in enumerate(row.pictures):
                places.append((picture, QRect(column * (side + _GAP_PX), y, side, side)))
            y += side + _GAP_PX
        return places

    def _fit(self) -> None:
        self.setFixedHeight(max(1, len(self.rows) * (self._side + _CAPTION_PX + _GAP_PX)))

    @override
    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    @override
    def sizeHint(self) -> QSize:
        return QSize(240, self.height())

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        y = 0
        for row in self.rows:
            place = QRect(0, y, self.width(), _CAPTION_PX)
            painter.drawText(place, Qt.AlignmentFlag.AlignLeft, row.caption)
            y += _CAPTION_PX + self._side + _GAP_PX
        words = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        for picture, place in self._places():
            painter.drawImage(place, self._images[id(picture)])
            if picture.note:
                painter.setPen(_ON_BLANK)
                painter.drawText(place, words, picture.note)
            if picture.key in self._marked:
                painter.setPen(QPen(_MARK, 3))
                painter.drawRect(place.adjusted(1, 1, -2, -2))
        painter.end()

    @override
    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        picture = None if event is None else self._picture_at(event.position().toPoint())
        if event is not None and picture is not None:
            self.picture_clicked.emit(picture.key, event.modifiers())

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        picture = None if event is None else self._picture_at(event.position().toPoint())
        if picture is not None:
            self.picture_opened.emit(picture.key)

    @override
    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        if event is not None:
            picture = self._picture_at(event.position().toPoint())
            self.setToolTip("" if picture is None else picture.tip)

    def _picture_at(self, point: QPoint) -> GalleryPicture | None:
        return next((one for one, place in self._places() if place.contains(point)), None)


def _as_image(pixels: npt.NDArray[np.uint8]) -> QImage:
    height, width = pixels.shape[:2]
    whole = np.ascontiguousarray(pixels)
    image = QImage(whole.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return image.copy()  # the copy outlives the bytes
