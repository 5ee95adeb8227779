"""The list of features with its filter and the look of the overlays. It computes nothing."""

from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.widgets.controller import AnalyseController
from napari_bio_superposition.widgets.feature_model import FEATURE, MEAN, FeatureTableModel
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.map_queue import MapQueue
from napari_bio_superposition.widgets.message import MessageLine
from napari_bio_superposition.widgets.overlays import ScaleMode
from napari_bio_superposition.widgets.swatch import make_swatch

_SCALES: tuple[tuple[ScaleMode, str], ...] = (
    ("fixed", "Fixed scale"),
    ("image", "Image scale"),
)

_SCALE_TOOL_TIP = (
    "Fixed scale: equal colours mean equal activations, in all images shown here.\n"
    "Image scale: each overlay uses its whole colour range for this image."
)
_COLUMN_WIDTH_PX = 56


class FeatureList(QWidget):
    """Shows the features of the controller's result; a tick shows or hides an overlay.

    Parameters
    ----------
    controller
        Owns the result and the overlays.
    """

    look_changed = Signal()
    """The user changed opacity or colour scale."""

    def __init__(self, controller: AnalyseController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.drawing = MapQueue(controller.display, self)
        self.model = FeatureTableModel(self)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search a feature, e.g. 00042")
        self.search.setClearButtonEnabled(True)
        self.only_active = QCheckBox("Only active here")
        self.only_active.setChecked(True)
        self.table = self._make_table()
        self.scale_box = CalmComboBox()
        self.scale_box.addItems([text for _, text in _SCALES])
        self.scale_box.setToolTip(_SCALE_TOOL_TIP)
        self.opacity_slider = QSlider(Qt.Orientation.Horizontal)
        self.opacity_slider.setRange(0, 100)
        self.hide_button = QPushButton("Hide all")
        self.message = MessageLine()
        self._lay_out()
        self._connect()
        self.refresh()

    def _make_table(self) -> QTableView:
        table = QTableView()
        table.setModel(self.model)
        table.setSortingEnabled(True)
        table.sortByColumn(MEAN, Qt.SortOrder.DescendingOrder)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setIconSize(QSize(14, 10))
        table.setMinimumHeight(140)
        rows, header = table.verticalHeader(), table.horizontalHeader()
        if rows is not None and header is not None:  # Qt's stubs allow for none
            rows.hide()
            rows.setDefaultSectionSize(22)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.setSectionResizeMode(FEATURE, QHeaderView.ResizeMode.Stretch)
        for column in range(1, self.model.columnCount()):
            table.setColumnWidth(column, _COLUMN_WIDTH_PX)
        return table

    def _lay_out(self) -> None:
        filters = QHBoxLayout()
        filters.addWidget(self.search, 1)
        filters.addWidget(self.only_active)
        look = QHBoxLayout()
        look.addWidget(self.scale_box, 1)
        look.addWidget(QLabel("Opacity"))
        look.addWidget(self.opacity_slider, 1)
        look.addWidget(self.hide_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(filters)
        layout.addWidget(self.table, 1)
        layout.addLayout(look)
        layout.addWidget(self.message)

    def _connect(self) -> None:
        self.model.checked.connect(self._on_checked)
        self.search.textChanged.connect(self._on_filter_changed)
        self.only_active.toggled.connect(self._on_filter_changed)
        self.scale_box.currentIndexChanged.connect(self._on_look_changed)
        self.opacity_slider.valueChanged.connect(self._on_look_changed)
        self.hide_button.clicked.connect(self.hide_all)
        self.drawing.drawn.connect(self._on_drawn)
        self.drawing.failed.connect(self.message.show_failure)
        self._controller.overlay_removed.connect(self._on_overlay_removed)
        self._controller.display.shown_changed.connect(self._on_shown_changed)
        self._controller.result_changed.connect(self.refresh)

    def refresh(self) -> None:
        """Show the features of the controller's present result."""
        self.model.set_statistics(self._controller.statistics)
        self.message.clear()

    def set_look(self, scale_mode: str, opacity: float) -> None:
        """Show and apply how overlays look, as the user left it last."""
        modes = [mode for mode, _ in _SCALES]
        self.scale_box.setCurrentIndex(modes.index(scale_mode) if scale_mode in modes else 0)
        self.opacity_slider.setValue(round(100 * opacity))
        self._apply_look()

    @property
    def scale_mode(self) -> ScaleMode:
        """The chosen colour scale."""
        return _SCALES[self.scale_box.currentIndex()][0]

    @property
    def opacity(self) -> float:
        """The chosen opacity, 0 to 1."""
        return float(self.opacity_slider.value()) / 100

    def show_feature(self, latent: int) -> None:
        """Show the overlay of a latent and tick it; a failure is told below the list."""
        self.message.clear()
        try:
            self._controller.check_features()
            self.drawing.show(latent)
        except BioSuperpositionError as error:
            self.message.show_error(str(error))
            return
        if latent in self.drawing.waiting:
            self.message.show_plain(f"Drawing {feature_name(latent)}…")

    def _on_drawn(self, latent: int) -> None:
        layer = self._controller.overlays.layer(latent)
        if layer is None:
            return
        if not self.drawing.waiting:
            self.message.clear()
        self.model.set_shown(latent, make_swatch(layer))
        # After the image: together they would take longer than a click should.
        QTimer.singleShot(0, lambda: self._controller.overlays.show_colorbar(latent))

    def hide_feature(self, latent: int) -> None:
        """Remove the overlay of a latent and clear its tick."""
        self.drawing.forget(latent)
        self._controller.hide_overlay(latent)
        self.model.set_shown(latent, None)

    def hide_all(self) -> None:
        """Remove all overlays, and draw none that waits."""
        self.drawing.forget()
        for latent in self._controller.overlays.shown:
            self.hide_feature(latent)

    def _on_checked(self, latent: int, is_on: bool) -> None:
        if is_on:
            self.show_feature(latent)
        else:
            self.hide_feature(latent)

    def _on_overlay_removed(self, latent: int) -> None:
        self.model.set_shown(latent, None)

    def _on_shown_changed(self) -> None:
        """Tick what another dock shows."""
        overlays = self._controller.overlays
        for latent in overlays.shown:
            layer = overlays.layer(latent)
            if layer is not None and not self.model.is_shown(latent):
                self.model.set_shown(latent, make_swatch(layer))

    def _on_filter_changed(self) -> None:
        self.model.set_filter(self.search.text(), only_active=self.only_active.isChecked())

    def _on_look_changed(self) -> None:
        self._apply_look()
        self.look_changed.emit()

    def _apply_look(self) -> None:
        self._controller.set_scale_mode(self.scale_mode)
        self._controller.set_opacity(self.opacity)
