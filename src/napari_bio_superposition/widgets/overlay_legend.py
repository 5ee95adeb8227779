"""The features on the canvas with their colours and scales, and how overlays look. No science."""

from typing import Final

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.widgets.feature_display import (
    Blending,
    FeatureDisplay,
    ShownChannel,
    ShownFeature,
    Style,
)
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.overlay_colormaps import COLORMAP_NAMES
from napari_bio_superposition.widgets.overlays import ScaleMode
from napari_bio_superposition.widgets.swatch import make_colour_swatch, make_swatch

_SCALES: Final[tuple[tuple[ScaleMode, str], ...]] = (
    ("fixed", "Fixed scale"),
    ("image", "Image scale"),
)
_STYLES: Final[tuple[tuple[Style, str], ...]] = (("fill", "Filled"), ("contour", "Contours"))
_BLENDINGS: Final[tuple[tuple[Blending, str], ...]] = (
    ("translucent_no_depth", "Over"),
    ("additive", "Add"),
    ("opaque", "Opaque"),
)
_ROW_HEIGHT_PX = 24
_MOST_ROWS = 5
_SWATCH = QSize(32, 12)


class OverlayLegend(QWidget):
    """Lists what is drawn; each row chooses its colours, keeps or hides its feature.

    Parameters
    ----------
    display
        Draws the features.
    """

    latent_clicked = Signal(int)

    def __init__(self, display: FeatureDisplay, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._display = display
        self.scale_box = _make_box(
            _SCALES,
            "Equal colours for equal activations in all images, or the whole range in each",
        )
        self.style_box = _make_box(_STYLES, "Filled, or lines at 25, 50 and 75 % of the scale")
        self.blend_box = _make_box(_BLENDINGS, "How an overlay mixes with what lies below")
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setToolTip("Opacity of overlays")
        self.opacity.setAccessibleName("Opacity of overlays")
        self.clear_button = QPushButton("Hide all")
        self.rows = QWidget()
        self._grid = QGridLayout(self.rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self._scroll = QScrollArea()
        self._scroll.setWidget(self.rows)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._listed: tuple[tuple[ShownFeature, ...], ShownChannel | None] | None = None
        self._lay_out()
        self.show_look()
        self._connect()
        self.refresh()

    def _lay_out(self) -> None:
        look = QHBoxLayout()
        look.setSpacing(3)
        for widget in (self.scale_box, self.style_box, self.blend_box):
            look.addWidget(widget, 1)
        fade = QHBoxLayout()
        fade.addWidget(QLabel("Opacity"))
        fade.addWidget(self.opacity, 1)
        fade.addWidget(self.clear_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self._scroll)
        layout.addLayout(look)
        layout.addLayout(fade)

    def _connect(self) -> None:
        self.scale_box.currentIndexChanged.connect(self._on_look_changed)
        self.style_box.currentIndexChanged.connect(self._on_look_changed)
        self.blend_box.currentIndexChanged.connect(self._on_look_changed)
        self.opacity.valueChanged.connect(self._on_look_changed)
        self.clear_button.clicked.connect(self._display.clear)
        self._display.shown_changed.connect(self.refresh)

    def show_look(self) -> None:
        """Show how overlays look now; another dock may have changed it."""
        look = self._display.look
        for box, choices, value in (
            (self.scale_box, _SCALES, look.scale_mode),
            (self.style_box, _STYLES, look.style),
            (self.blend_box, _BLENDINGS, look.blending),
        ):
            is_blocked = box.blockSignals(True)
            box.setCurrentIndex([choice for choice, _ in choices].index(value))
            box.blockSignals(is_blocked)
        is_blocked = self.opacity.blockSignals(True)
        self.opacity.setValue(round(100 * look.opacity))
        self.opacity.blockSignals(is_blocked)

    def refresh(self) -> None:
        """List what is drawn."""
        self.show_look()
        shown, channel = self._display.shown, self._display.shown_channel
        if (shown, channel) == self._listed:
            return
        self._listed = shown, channel
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for row, entry in enumerate(shown):
            self._add_row(row, entry)
        n_rows = len(shown) + (channel is not None)
        if channel is not None:
            self._add_channel(len(shown), channel)
        self._grid.setRowStretch(n_rows, 1)
        height = _ROW_HEIGHT_PX * min(max(n_rows, 1), _MOST_ROWS) + 4
        self._scroll.setFixedHeight(height)
        self._scroll.setVisible(n_rows > 0)
        self.clear_button.setEnabled(n_rows > 0)

    def _add_row(self, row: int, entry: ShownFeature) -> None:
        latent = entry.latent
        colours = self._make_colour_button(latent)
        name = QPushButton(f"{feature_name(latent)}   0 to {entry.top:.3g}")
        name.setFlat(True)
        name.setToolTip("Look at this feature; the strongest colour stands for this activation")
        name.setStyleSheet("text-align: left; padding: 1px 3px;")
        name.clicked.connect(lambda: self.latent_clicked.emit(latent))
        pin = QToolButton()
        pin.setText("Kept" if entry.pinned else "Keep")
        pin.setToolTip("Keep it; otherwise the next feature takes its place")
        pin.setEnabled(not entry.pinned)
        pin.clicked.connect(lambda: self._display.show(latent))
        close = _make_close(feature_name(latent))
        close.clicked.connect(lambda: self._display.hide(latent))
        for column, widget in enumerate((colours, name, pin, close)):
            self._grid.addWidget(widget, row, column)

    def _add_channel(self, row: int, entry: ShownChannel) -> None:
        swatch, text = QLabel(), f"channel_{entry.channel:05d}   0 to {entry.top:.3g}"
        layer = self._display.channel_layer()
        if layer is not None:
            swatch.setPixmap(make_swatch(layer).pixmap(_SWATCH))
        name = QLabel(text)
        name.setToolTip("A channel of the CNN, absolute, on the scale of this image")
        close = _make_close(f"channel {entry.channel}")
        close.clicked.connect(self._display.hide_channel)
        for column, widget in ((0, swatch), (1, name), (3, close)):
            self._grid.addWidget(widget, row, column)

    def _make_colour_button(self, latent: int) -> QToolButton:
        button = QToolButton()
        layer = self._display.overlays.layer(latent)
        if layer is not None:
            button.setIcon(make_swatch(layer))
        button.setIconSize(_SWATCH)
        button.setToolTip("Colour map; the first ones are perceptual, jet is the paper's")
        button.setAccessibleName(f"Colours of {feature_name(latent)}")
        menu = QMenu(button)
        for base in COLORMAP_NAMES:
            action = menu.addAction(make_colour_swatch(base), base)
            if action is not None:  # Qt's stubs allow for none
                action.triggered.connect(
                    lambda _, base=base: self._display.set_colormap(latent, base)
                )
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button

    def _on_look_changed(self) -> None:
        self._display.set_look(
            scale_mode=_SCALES[self.scale_box.currentIndex()][0],
            style=_STYLES[self.style_box.currentIndex()][0],
            blending=_BLENDINGS[self.blend_box.currentIndex()][0],
            opacity=self.opacity.value() / 100,
        )


def _make_close(what: str) -> QToolButton:
    close = QToolButton()
    close.setText("✕")
    close.setToolTip("Hide")
    close.setAccessibleName(f"Hide {what}")
    return close


def _make_box(choices: tuple[tuple[str, str], ...], tip: str) -> CalmComboBox:
    box = CalmComboBox()
    box.addItems([text for _, text in choices])
    box.setToolTip(tip)
    _let_shrink(box)
    return box


def _let_shrink(box: CalmComboBox) -> None:
    box.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(4)
