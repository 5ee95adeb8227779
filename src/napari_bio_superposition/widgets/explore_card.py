"""The small card beside the mouse: the picture of a patch and a few lines. It changes nothing."""

from collections.abc import Callable, Sequence

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from napari_bio_superposition.widgets.explore_controller import ExploreController
from napari_bio_superposition.widgets.explore_table import describe_row
from napari_bio_superposition.widgets.explore_thumbnails import Picture, Thumbnails
from napari_bio_superposition.widgets.scatter_view import ScatterView

PICTURE_PX = 84
_AWAY_PX = 14


class PatchCard(QFrame):
    """Lies on a plot and never takes the mouse away from it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self.picture = QLabel()
        self.text = QLabel()
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 4, 4, 4)
        row.addWidget(self.picture)
        row.addWidget(self.text, 1)
        self.hide()

    def show_patch(self, lines: Sequence[str], picture: Picture | None, place: QPoint) -> None:
        """Show a patch beside *place*, inside the parent."""
        self.picture.setVisible(picture is not None)
        if picture is not None:
            self.picture.setPixmap(make_pixmap(picture, PICTURE_PX))
        self.text.setText("\n".join(lines))
        self.adjustSize()
        parent = self.parentWidget()
        if parent is None:
            return
        x, y = place.x() + _AWAY_PX, place.y() + _AWAY_PX
        if x + self.width() > parent.width():
            x = place.x() - _AWAY_PX - self.width()
        if y + self.height() > parent.height():
            y = place.y() - _AWAY_PX - self.height()
        self.move(max(0, x), max(0, y))
        self.raise_()
        self.show()


class HoverCard:
    """Shows the patch whose point lies under the mouse.

    Parameters
    ----------
    controller
        Knows the table and the open images.
    view
        A plot with one point per row of the table.
    shown
        Returns the column whose value the card gives.
    """

    def __init__(
        self, controller: ExploreController, view: ScatterView, shown: Callable[[], str]
    ) -> None:
        self.card = PatchCard(view)
        self._controller = controller
        self._thumbnails = Thumbnails(controller.study)
        self._shown = shown
        view.row_hovered.connect(self._on_hovered)

    def _on_hovered(self, row: int | None, place: QPoint) -> None:
        table = self._controller.table
        if row is None or table is None or row >= table.n_obs:
            self.card.hide()
            return
        lines = describe_row(table, row, self._shown())
        self.card.show_patch(lines, self._thumbnails.picture(row), place)


def make_pixmap(picture: Picture, side_px: int) -> QPixmap:
    """Return a picture as Qt paints it, scaled to a side."""
    height, width = picture.shape[:2]
    image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    smooth = Qt.TransformationMode.SmoothTransformation
    keep = Qt.AspectRatioMode.KeepAspectRatio
    return QPixmap.fromImage(image.copy()).scaled(side_px, side_px, keep, smooth)
