"""The tab of features along pseudotime: a heat map and the patches behind a row. No computing."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import (
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from napari_bio_superposition.widgets.explore_card import make_pixmap
from napari_bio_superposition.widgets.explore_controller import ExploreController
from napari_bio_superposition.widgets.explore_thumbnails import Thumbnails
from napari_bio_superposition.widgets.form_fields import CalmComboBox

if TYPE_CHECKING:
    from napari_bio_superposition.manifold.dynamics import FeatureDynamics

_HINT: Final = "No features along pseudotime yet.\nPress Compute layouts and trajectory."
_PLACES: Final = ("early", "middle", "late")
_PER_PLACE: Final = 3
_SEARCHED: Final = 400
"""Patches of each place among which those of open images are looked for."""
_PICTURE_PX: Final = 56
_LIMIT: Final = 2.0
"""Standard deviations of the strongest colours."""
_CLUSTER_PX: Final = 8.0
_LOW, _MIDDLE, _HIGH = (49, 104, 190), (245, 245, 242), (190, 40, 45)


def paint_profiles(profiles: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Return a heat map as colours ``(n_features, n_bins, 3)``: blue low, red high."""
    share = (np.asarray(profiles, np.float32) / _LIMIT).clip(-1, 1)[..., np.newaxis]
    ends = np.where(share < 0, np.array(_LOW), np.array(_HIGH))
    mixed = np.array(_MIDDLE) * (1 - np.abs(share)) + ends * np.abs(share)
    colours: npt.NDArray[np.uint8] = mixed.round().astype(np.uint8)
    return colours


class HeatMapView(QWidget):
    """Paints features (rows) over pseudotime (columns), and tells which row is clicked."""

    row_clicked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._dynamics: FeatureDynamics | None = None
        self._colours: npt.NDArray[np.uint8] = np.zeros((0, 0, 3), np.uint8)
        self._chosen: int | None = None
        self.hint = _HINT
        self.setMouseTracking(True)
        self.setMinimumSize(QSize(160, 140))
        self.setAccessibleName("Features along pseudotime")

    def show_dynamics(self, dynamics: "FeatureDynamics | None") -> None:
        """Show another heat map, or none."""
        self._dynamics = dynamics
        self._chosen = None
        if dynamics is not None:
            self._colours = np.ascontiguousarray(paint_profiles(dynamics.profiles))
        self.update()

    def choose(self, row: int) -> None:
        """Mark a row."""
        self._chosen = row
        self.update()

    @property
    def map_area(self) -> QRectF:
        """Where the colours are painted: beside the clusters, above the label."""
        label = self.fontMetrics().height() + 2
        return QRectF(_CLUSTER_PX + 3, 0, self.width() - _CLUSTER_PX - 3, self.height() - label)

    def row_at(self, y: float) -> int | None:
        """Return the row painted at a height."""
        if self._dynamics is None:
            return None
        row = int((y - self.map_area.top()) / self.map_area.height() * len(self._colours))
        return row if 0 <= row < len(self._colours) else None

    @override
    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        self.ensurePolished()
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(ink)
        if self._dynamics is None:
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(QRectF(self.rect()).adjusted(12, 12, -12, -12), flags, self.hint)
        else:
            self._paint_map(painter, self._dynamics, ink)
        painter.end()

    def _paint_map(self, painter: QPainter, dynamics: "FeatureDynamics", ink: QColor) -> None:
        height, width = self._colours.shape[:2]
        pixels: Any = self._colours.data
        image = QImage(pixels, width, height, 3 * width, QImage.Format.Format_RGB888)
        area = self.map_area
        painter.drawImage(area, image)
        step = area.height() / height
        for row, cluster in enumerate(dynamics.clusters):
            shade = QColor.fromHsvF((0.38 * int(cluster)) % 1.0, 0.6, 0.85)
            painter.fillRect(QRectF(0, area.top() + row * step, _CLUSTER_PX, step + 1), shade)
        if self._chosen is not None:
            painter.setPen(QPen(QColor("black"), 1.5))
            top = area.top() + self._chosen * step
            painter.drawRect(QRectF(area.left(), top - 1, area.width() - 1, max(3.0, step + 2)))
        painter.setPen(ink)
        label = f"{height} features, early to late; blue low, red high"
        painter.drawText(QPointF(area.left(), self.height() - 4.0), label)

    @override
    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        row = None if event is None else self.row_at(event.position().y())
        if event is None or row is None or self._dynamics is None:
            return
        cluster = int(self._dynamics.clusters[row])
        text = f"{self._dynamics.features[row]} · cluster {cluster}"
        QToolTip.showText(self.mapToGlobal(event.position().toPoint()), text, self)

    @override
    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        row = None if event is None else self.row_at(event.position().y())
        if row is not None:
            self.choose(row)
            self.row_clicked.emit(row)


class PatchStrip(QWidget):
    """Three small sets of pictures: early, middle and late."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self.labels: dict[str, list[QLabel]] = {}
        for column, place in enumerate(_PLACES):
            title = QLabel(place)
            title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            self._grid.addWidget(title, 0, column)
            row = QHBoxLayout()
            row.setSpacing(2)
            self.labels[place] = [QLabel() for _ in range(_PER_PLACE)]
            for label in self.labels[place]:
                row.addWidget(label)
            self._grid.addLayout(row, 1, column)

    def show_pictures(self, place: str, pictures: list[Any]) -> None:
        """Show the pictures of a place; the rest of it is empty."""
        for index, label in enumerate(self.labels[place]):
            label.clear()
            if index < len(pictures):
                label.setPixmap(make_pixmap(pictures[index], _PICTURE_PX))


class DynamicsPanel(QWidget):
    """The heat map of one group, and the patches behind the row that was clicked.

    Parameters
    ----------
    controller
        Knows the table and the last result.
    """

    export_clicked = Signal()
    feature_chosen = Signal(str)
    trend_asked = Signal(str, str)
    """Fit this feature along the pseudotime of this group."""

    def __init__(self, controller: ExploreController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._thumbnails = Thumbnails(controller.study)
        self.group_box = CalmComboBox()
        self.export_button = QPushButton("Export…")
        self.view = HeatMapView()
        self.feature_label = QLabel()
        self.feature_label.setWordWrap(True)
        self.trend_button = QPushButton("Trend")
        self.trend_button.setToolTip("Fit this feature along pseudotime, with a band over wells.")
        self.strip = PatchStrip()
        self._feature = ""
        row = QHBoxLayout()
        row.addWidget(self.group_box, 1)
        row.addWidget(self.export_button)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Group", row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 0)
        layout.addLayout(form)
        layout.addWidget(self.view, 1)
        below = QHBoxLayout()
        below.addWidget(self.feature_label, 1)
        below.addWidget(self.trend_button)
        layout.addLayout(below)
        layout.addWidget(self.strip)
        self.group_box.currentIndexChanged.connect(self._show)
        self.export_button.clicked.connect(self.export_clicked)
        self.view.row_clicked.connect(self._on_row_clicked)
        self.trend_button.clicked.connect(
            lambda: self.trend_asked.emit(self._feature, str(self.group_box.currentText()))
        )
        self.refresh()

    @property
    def dynamics(self) -> "FeatureDynamics | None":
        """The heat map of the chosen group."""
        trajectory = self._controller.trajectories.get(str(self.group_box.currentText()))
        return None if trajectory is None else trajectory.dynamics

    def refresh(self) -> None:
        """Show the last result as it is."""
        chosen = self.group_box.currentText()
        self.group_box.blockSignals(True)
        self.group_box.clear()
        self.group_box.addItems(list(self._controller.trajectories))
        self.group_box.setCurrentIndex(max(0, self.group_box.findText(chosen)))
        self.group_box.blockSignals(False)
        self._show()

    def _show(self) -> None:
        self.view.show_dynamics(self.dynamics)
        self.strip.setVisible(False)
        self.trend_button.setVisible(False)
        has_map = self.dynamics is not None
        self.feature_label.setText("Click a row to see its patches." if has_map else "")

    def _on_row_clicked(self, row: int) -> None:
        dynamics = self.dynamics
        if dynamics is None:
            return
        feature = self._feature = dynamics.features[row]
        self.trend_button.setVisible(True)
        latent = self._controller.latent(feature)
        n_shown = 0
        for place in _PLACES:
            rows = self._controller.rows_in_table(dynamics.patches(place, _SEARCHED))
            rows = rows[::-1] if place == "late" else rows
            found = self._thumbnails.pictures(rows, _PER_PLACE, latent)
            n_shown += len(found)
            self.strip.show_pictures(place, [picture for _, picture in found])
        self.strip.setVisible(n_shown > 0)
        hint = "" if n_shown else " None of its early, middle or late patches is in an open image."
        self.feature_label.setText(f"{feature}, cluster {int(dynamics.clusters[row])}.{hint}")
        self.feature_chosen.emit(feature)
