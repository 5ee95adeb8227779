"""Feature overlays as layers: one per latent, tracked by the layer itself. No Qt, no computing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal
from weakref import ref

import numpy as np
import numpy.typing as npt
from napari.components import LayerList
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap

from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.widgets.garbage import with_quick_collections
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.overlay_colormaps import overlay_colormap, overlay_colormaps
from napari_bio_superposition.widgets.result_layers import result_metadata

ScaleMode = Literal["fixed", "image"]

_COLORBAR_SIZE_PX: Final = (12, 90)
_IMAGE_PERCENTILE = 99.8
_SMALLEST_TOP = 1e-6


class FeatureScales:
    """The top of each latent's colour scale: one for all images that a model has described here.

    It grows when a later image shows a stronger activation, and never shrinks, so that equal
    colours mean equal activations across all images on screen.
    """

    def __init__(self) -> None:
        self._tops: dict[str, npt.NDArray[np.float64]] = {}

    def include(self, model: str, maxima: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take the largest activations of one more image; return the tops, one per latent.

        Parameters
        ----------
        model
            Hash of the model's weights: activations of different models share no scale.
        maxima
            Largest activation of each latent in the image, ``(n_latents,)``.
        """
        new = np.nan_to_num(np.asarray(maxima, float))
        tops: npt.NDArray[np.float64] = np.maximum(self._tops.get(model, new), new)
        self._tops[model] = tops
        return tops


class OverlayLayers:
    """Shows overlays in a layer list, and notices when the user removes one there.

    Parameters
    ----------
    layers
        The viewer's layers.
    on_removed
        Called with the latent whose layer the user removed.
    """

    def __init__(self, layers: LayerList, on_removed: Callable[[int], None]) -> None:
        self._layers = layers
        self._on_removed = on_removed
        self._shown: dict[int, ref[Layer]] = {}
        self._passing: int | None = None
        self._passing_name = ""
        self._is_ours = False
        self._colormaps = overlay_colormaps()
        layers.events.removed.connect(self._on_layer_removed)

    @property
    def shown(self) -> tuple[int, ...]:
        """The latents that have a layer, in the order in which they were shown."""
        return tuple(self._shown)

    @property
    def passing(self) -> int | None:
        """The latent of the last glance, whose layer the next one takes over."""
        return self._passing if self._passing in self._shown else None

    def layer(self, latent: int) -> Layer | None:
        """Return the layer of a latent, whatever it is called now."""
        reference = self._shown.get(latent)
        return None if reference is None else reference()

    def show(
        self,
        latent: int,
        values: FloatArray,
        name: str,
        geometry: Geometry,
        *,
        passing: bool = False,
    ) -> Layer:
        """Add the layer of a latent, or give it new values where it is shown already.

        Parameters
        ----------
        latent
            The SAE unit.
        values
            Its activation, ``(height, width)``; nan is drawn transparent.
        name
            Name of the layer.
        geometry
            Where the image lies.
        passing
            A glance: the next glance takes over this layer, which is quicker than adding one.
        """
        layer = self.layer(latent)
        if layer is None and passing:
            layer = self._take_over(latent, name, geometry)
        if passing and latent not in self._shown:
            self._passing = latent
        elif not passing and self._passing == latent:
            self._passing = None
        if layer is not None:
            layer.data = values
            return layer
        layer = Image(
            values,
            name=name,
            colormap=self._free_colormap(),
            contrast_limits=(0.0, max(_SMALLEST_TOP, float(np.nanmax(values, initial=0.0)))),
            blending="translucent_no_depth",
            interpolation2d="nearest",  # the map is smooth already, and ten layers stay fluid
            metadata=result_metadata("overlay"),
            **geometry.layer_options(),
        )
        layer.colorbar.size = _COLORBAR_SIZE_PX
        layer.colorbar.font_size = 8
        self._layers.append(layer)
        self._shown[latent] = ref(layer)
        if passing:
            self._passing_name = layer.name
        return layer

    def _take_over(self, latent: int, name: str, geometry: Geometry) -> Layer | None:
        """Return the layer of the last glance, now that of *latent*; ``None`` without one."""
        last = self._passing
        layer = None if last is None else self.layer(last)
        if last is None or layer is None:
            return None
        if not np.allclose(Geometry.of_layer(layer).signature, geometry.signature):
            self.hide(last)
            return None
        del self._shown[last]
        if layer.name == self._passing_name:  # else the user gave it a name of his own
            layer.name = self._passing_name = name
        self._shown[latent], self._passing = ref(layer), latent
        return layer

    def show_colorbar(self, latent: int) -> None:
        """Draw the colour bar of a latent on the canvas, which takes as long as its image."""
        layer = self.layer(latent)
        if layer is not None:
            layer.colorbar.visible = True

    def hide(self, latent: int) -> None:
        """Remove the layer of a latent; nothing happens where there is none."""
        layer = self.layer(latent)
        self._shown.pop(latent, None)
        if layer is not None and layer in self._layers:
            with self._own_removal(), with_quick_collections():
                self._layers.remove(layer)

    def clear(self) -> None:
        """Remove all overlays."""
        for latent in self.shown:
            self.hide(latent)

    def forget(self) -> None:
        """Leave the layers where they are, and track none of them any longer."""
        self._shown.clear()

    def close(self) -> None:
        """Stop listening to the viewer."""
        self._layers.events.removed.disconnect(self._on_layer_removed)
        self._shown.clear()

    def set_top(self, latent: int, mode: ScaleMode, fixed_top: float) -> None:
        """Set the colour scale of a latent from 0 to *fixed_top*, or to the image's own top."""
        layer = self.layer(latent)
        if layer is None:
            return
        top = fixed_top if mode == "fixed" else robust_top(layer.data)
        top = max(_SMALLEST_TOP, top)
        layer.contrast_limits_range = (0.0, top)
        layer.contrast_limits = (0.0, top)

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of all overlays."""
        for latent in self.shown:
            layer = self.layer(latent)
            if layer is not None:
                layer.opacity = opacity

    def set_colormap(self, latent: int, base: str) -> None:
        """Colour a latent by one of `COLORMAP_NAMES`."""
        layer = self.layer(latent)
        if layer is not None:
            layer.colormap = overlay_colormap(base)

    def set_blending(self, blending: str) -> None:
        """Blend all overlays as napari calls it: translucent_no_depth, additive, opaque..."""
        for latent in self.shown:
            layer = self.layer(latent)
            if layer is not None:
                layer.blending = blending

    def _free_colormap(self) -> Colormap:
        """Return the colour map that the fewest overlays have, whatever the user changed."""
        layers = [self.layer(latent) for latent in self._shown]
        used = [layer.colormap.name for layer in layers if layer is not None]
        return min(self._colormaps, key=lambda colormap: used.count(colormap.name))

    @contextmanager
    def _own_removal(self) -> Iterator[None]:
        self._is_ours = True
        try:
            yield
        finally:
            self._is_ours = False

    def _on_layer_removed(self, event: Any) -> None:
        if self._is_ours:
            return
        for latent in self.shown:
            if self.layer(latent) is event.value:
                del self._shown[latent]
                self._on_removed(latent)


def robust_top(values: FloatArray) -> float:
    """Return the top of an image's own scale: a high percentile of what is active in it."""
    active = values[np.nan_to_num(values) > 0]
    return float(np.percentile(active, _IMAGE_PERCENTILE)) if active.size else 0.0
