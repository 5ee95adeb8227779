"""Which features are drawn over the image of one viewer, and how. No Qt, no computing."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.widgets.contours import draw_contours
from napari_bio_superposition.widgets.overlay_colormaps import base_name
from napari_bio_superposition.widgets.overlays import (
    FeatureScales,
    OverlayLayers,
    ScaleMode,
    robust_top,
)
from napari_bio_superposition.widgets.study import OpenImage, Study

if TYPE_CHECKING:
    from napari.layers import Layer

Style = Literal["fill", "contour"]
Blending = Literal["translucent_no_depth", "additive", "opaque"]
_MAPS_AT_HAND: Final = 12
"""Maps kept beside those on the canvas: 16 MB each on 2048 x 2048 px."""
_QUICK_VALUES: Final = 1 << 25
"""Token values from which a map is computed in less than the blink of an eye."""
_QUICK_TOKENS: Final = 1 << 20
"""The same, where the codes are kept: a field of 2048 x 2048 px."""
_CONTOUR_SHARES: Final = (0.25, 0.5, 0.75)
"""Levels of the lines, as shares of the top of the colour scale."""


@dataclass(frozen=True)
class OverlayLook:
    """How overlays are drawn.

    Parameters
    ----------
    scale_mode
        One ``fixed`` scale per feature, or that of each ``image``.
    opacity
        0 to 1.
    style
        Filled, or as lines of equal activation.
    blending
        As napari calls it.
    """

    scale_mode: ScaleMode = "fixed"
    opacity: float = 1.0
    style: Style = "fill"
    blending: Blending = "translucent_no_depth"


@dataclass(frozen=True)
class ShownFeature:
    """A feature on the canvas, for a legend."""

    latent: int
    colormap: str
    top: float
    """Activation of the strongest colour."""
    pinned: bool


@dataclass(frozen=True)
class ShownChannel:
    """The CNN channel on the canvas, for a legend; its scale is always that of the image."""

    channel: int
    colormap: str
    top: float


class FeatureDisplay:
    """Draws features of the study's current image; get it by ``FeatureDisplay.of(viewer)``."""

    removed = Signal(int)
    """The layer of this latent is gone: the user deleted it, or hid the feature."""
    shown_changed = Signal()
    """Features came, went, or look otherwise."""

    _of_viewer: ClassVar[WeakKeyDictionary[Any, "FeatureDisplay"]] = WeakKeyDictionary()

    def __init__(self, layers: Any, study: Study) -> None:
        self._study = study
        self._image: OpenImage | None = None
        self._scales = FeatureScales()
        self._tops: npt.NDArray[np.float64] = np.zeros(0)
        self._maps: dict[int, FloatArray] = {}
        self.look = OverlayLook()
        self.overlays = OverlayLayers(layers, self._on_removed)
        self._channels = OverlayLayers(layers, lambda _: self.shown_changed.emit())
        study.images_changed.connect(self._on_images_changed)
        self._on_images_changed()

    @classmethod
    def of(cls, viewer: Any) -> "FeatureDisplay":
        """Return the display of *viewer*, whether that is the viewer or napari's proxy of it."""
        study = Study.of(viewer)
        while hasattr(viewer, "__wrapped__"):
            viewer = viewer.__wrapped__
        if viewer not in cls._of_viewer:
            cls._of_viewer[viewer] = cls(viewer.layers, study)
        return cls._of_viewer[viewer]

    @property
    def image(self) -> OpenImage | None:
        """The image whose features are drawn."""
        return self._image

    @property
    def shown(self) -> tuple[ShownFeature, ...]:
        """The features on the canvas, in the order in which they came."""
        entries = []
        for latent in self.overlays.shown:
            layer = self.overlays.layer(latent)
            if layer is not None:
                top, name = float(layer.contrast_limits[1]), base_name(layer.colormap)
                entries.append(ShownFeature(latent, name, top, latent != self.overlays.passing))
        return tuple(entries)

    @property
    def shown_channel(self) -> ShownChannel | None:
        """The CNN channel on the canvas."""
        for channel in self._channels.shown:
            layer = self._channels.layer(channel)
            if layer is not None:
                top = float(layer.contrast_limits[1])
                return ShownChannel(channel, base_name(layer.colormap), top)
        return None

    def show_channel(self, channel: int, values: FloatArray) -> "Layer":
        """Draw the map of a CNN channel of the present image; the next one takes its place.

        Raises
        ------
        TableError
            Where there is no image.
        """
        image = self._image
        if image is None:
            raise TableError("There is no image to show a channel on. Run the analysis first.")
        name = f"{image.name} · channel_{channel:05d}"
        layer = self._channels.show(channel, values, name, image.geometry, passing=True)
        layer.opacity, layer.blending = self.look.opacity, self.look.blending
        self._channels.set_top(channel, "image", 0.0)
        self.shown_changed.emit()
        return layer

    def hide_channel(self) -> None:
        """Take the CNN channel from the canvas."""
        self._channels.clear()
        self.shown_changed.emit()

    def channel_layer(self) -> "Layer | None":
        """Return the layer of the CNN channel on the canvas."""
        shown = self.shown_channel
        return None if shown is None else self._channels.layer(shown.channel)

    def is_quick(self, latent: int) -> bool:
        """Whether a feature can be drawn at once; otherwise see `MapQueue`."""
        if latent in self._maps or self._image is None:
            return True
        tokens = self._image.analysis.tokens
        if tokens is None:
            return True
        if tokens.codes is not None:
            return bool(tokens.norms.size <= _QUICK_TOKENS)
        return bool(tokens.unit.size <= _QUICK_VALUES)

    def show(self, latent: int, *, pinned: bool = True) -> "Layer":
        """Draw a feature from the cached tokens; the encoder is not run.

        Parameters
        ----------
        latent
            The SAE unit.
        pinned
            Keep it until it is hidden; otherwise the next feature takes its place.

        Raises
        ------
        TableError
            Where the image has no features.
        """
        image = self._image
        if image is None or image.analysis.tokens is None:
            raise TableError("There are no features to show. Run the analysis with a model first.")
        self.keep_map(latent, self._maps[latent] if latent in self._maps else image.overlay(latent))
        name = f"{image.name} · {feature_name(latent)}"
        last = self.overlays.passing
        layer = self.overlays.show(
            latent, self._drawn(latent), name, image.geometry, passing=not pinned
        )
        layer.opacity, layer.blending = self.look.opacity, self.look.blending
        self._set_top(latent)
        self._forget_unseen()
        if last is not None and last not in self.overlays.shown:
            self.removed.emit(last)
        self.shown_changed.emit()
        return layer

    def hide(self, latent: int) -> None:
        """Take a feature from the canvas."""
        self.overlays.hide(latent)
        self._on_removed(latent)

    def clear(self) -> None:
        """Take all features from the canvas."""
        for latent in self.overlays.shown:
            self.hide(latent)
        self.hide_channel()

    def keep_map(self, latent: int, values: FloatArray) -> None:
        """Take the map of a feature of the present image, computed elsewhere, as the newest."""
        self._maps.pop(latent, None)
        self._maps[latent] = values

    def map_of(self, latent: int) -> FloatArray | None:
        """Return the map of a feature that is drawn or at hand, ``(height, width)``."""
        return self._maps.get(latent)

    def set_look(self, **changes: Any) -> None:
        """Change fields of `OverlayLook`, for features now and later."""
        before, self.look = self.look, replace(self.look, **changes)
        for latent in self.overlays.shown:
            layer = self.overlays.layer(latent)
            if layer is not None and before.style != self.look.style:
                layer.data = self._drawn(latent)
            self._set_top(latent)
        for layers in (self.overlays, self._channels):
            layers.set_opacity(self.look.opacity)
            layers.set_blending(self.look.blending)
        self.shown_changed.emit()

    def set_colormap(self, latent: int, base: str) -> None:
        """Colour a feature by one of `COLORMAP_NAMES`."""
        self.overlays.set_colormap(latent, base)
        self.shown_changed.emit()

    def _drawn(self, latent: int) -> FloatArray:
        values = self._maps[latent]
        if self.look.style == "fill":
            return values
        top = self._top(latent)
        return draw_contours(values, [share * top for share in _CONTOUR_SHARES])

    def _top(self, latent: int) -> float:
        """Return the top of the colour scale; that of an image is read from its map, not lines."""
        if self.look.scale_mode == "fixed":
            return float(self._tops[latent])
        return robust_top(self._maps[latent])

    def _set_top(self, latent: int) -> None:
        if latent in self._maps:
            self.overlays.set_top(latent, "fixed", self._top(latent))

    def _forget_unseen(self) -> None:
        """Keep what is on the canvas, and of the rest the maps that were looked at last."""
        unseen = [latent for latent in self._maps if latent not in self.overlays.shown]
        for latent in unseen[:-_MAPS_AT_HAND]:
            del self._maps[latent]

    def _on_removed(self, latent: int) -> None:
        self.removed.emit(latent)
        self.shown_changed.emit()

    def _on_images_changed(self) -> None:
        image = self._study.current
        before, self._image = self._image, image
        if image is before:
            return
        if before is not None and image is not None and _differ(before, image):
            self.overlays.forget()  # the layers of another image stay as they are
            self._channels.forget()
            self._maps.clear()
        elif before is None or image is None or before.analysis is not image.analysis:
            self.clear()
            self._maps.clear()
        # An image that was read again for a table has none of its own.
        own = None if image is None else image.analysis.table
        table = self._study.table if own is None else own
        if image is not None and table is not None:
            from napari_bio_superposition.features.column_statistics import robust_tops

            tops = robust_tops(table.var)
            self._tops = self._scales.include(image.scale_key, tops)
        self.shown_changed.emit()


def _differ(one: OpenImage, other: OpenImage) -> bool:
    return one.analysis.image.id != other.analysis.image.id
