"""Predicted expression as layers over the open images: one reused layer per slot. No computing.

A layer that the user deletes is made anew; one that he renamed keeps his name.
"""

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import ref

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap, ensure_colormap

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.widgets.garbage import with_quick_collections
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.result_layers import result_metadata
from napari_bio_superposition.widgets.scatter_colour import robust_limits
from napari_bio_superposition.widgets.study import OpenImage, Study

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.gene_painting import PaintedGene, PaintedGrid

Uncertainty = Literal["opacity", "layer", "none"]
SLOTS: Final = ("A", "B", "C")
COLORMAPS: Final = dict(zip(SLOTS, ("viridis", "magma", "cividis"), strict=True))
_OPACITY: Final = 0.75
_BANNER_SIZE: Final = 10.0
_BANNER_WIDTH: Final = 46
"""Letters in a line."""
_BANNER_COLOUR: Final = "#ff7a6b"


@dataclass(frozen=True)
class Shown:
    """What a slot shows, for a legend."""

    name: str
    unit: str
    limits: tuple[float, float]
    colormap: str


class PaintedLayers:
    """Draws predicted genes over the open images of a study.

    Parameters
    ----------
    viewer
        Its layers and its canvas.
    study
        Its open images.
    """

    def __init__(self, viewer: Any, study: Study) -> None:
        self._viewer = viewer
        self._study = study
        self._layers: dict[tuple[str, str, str], tuple[ref[Layer], str]] = {}
        self.shown: dict[str, Shown] = {}
        self._is_ours = self._has_banner = False
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Stop listening to the viewer; layers stay."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def show(self, painted: "PaintedGene", slot: str, uncertainty: Uncertainty) -> list[str]:
        """Draw a gene on every open image that the coupling knows.

        Parameters
        ----------
        painted
            Prediction with its spread.
        slot
            Which of `SLOTS` it takes.
        uncertainty
            As ``opacity``, as a second ``layer``, or not at all.

        Returns
        -------
        list of str
            The images.

        Raises
        ------
        TableError
            Where no image is open that took part.
        """
        known = set(painted.obs["image_id"].astype(str))
        images = [image for name, image in self._study.images.items() if name in known]
        if not images:
            raise TableError(
                "No image of this coupling is open. Analyse one, or open one from Explore "
                "(Groups, Show in image)."
            )
        shown = Shown(
            painted.name, painted.unit, robust_limits(painted.painted.values), COLORMAPS[slot]
        )
        spread = robust_limits(painted.painted.spread)
        for image in images:
            grid = painted.grid(image.analysis.image.id)
            self._show_values(image, grid, slot, shown, faded=uncertainty == "opacity")
            if uncertainty == "layer":
                self._show_spread(image, grid, slot, shown, spread)
            else:
                self._remove((slot, image.analysis.image.id, "spread"))
        self.shown[slot] = shown
        self._show_banner(painted.banner)
        return [image.name for image in images]

    def clear(self) -> None:
        """Remove all painted layers and the banner."""
        for key in list(self._layers):
            self._remove(key)
        self.shown.clear()
        self._show_banner("")

    def layer(self, slot: str, image_id: str, kind: str = "values") -> Layer | None:
        """Return a layer that is on the canvas, whatever it is called now."""
        entry = self._layers.get((slot, image_id, kind))
        return None if entry is None else entry[0]()

    def _show_values(
        self, image: OpenImage, grid: "PaintedGrid", slot: str, shown: Shown, *, faded: bool
    ) -> None:
        colours = ensure_colormap(shown.colormap)
        name = f"{shown.name} · {image.name} (predicted)"
        key = (slot, image.analysis.image.id, "values")
        if faded:
            alpha = grid.opacity * np.isfinite(grid.values)
            picture = blend_colours(grid.values, alpha, shown.limits, colours)
            self._put(key, image, grid, picture, name)
            return
        layer = self._put(key, image, grid, grid.values, name)
        layer.colormap = colours
        layer.contrast_limits = shown.limits
        layer.colorbar.visible = True

    def _show_spread(
        self,
        image: OpenImage,
        grid: "PaintedGrid",
        slot: str,
        shown: Shown,
        limits: tuple[float, float],
    ) -> None:
        name = f"{shown.name} · {image.name} (uncertainty)"
        key = (slot, image.analysis.image.id, "spread")
        layer = self._put(key, image, grid, grid.spread, name)
        layer.colormap = _VEIL
        layer.contrast_limits = (min(0.0, limits[0]), limits[1])

    def _put(
        self,
        key: tuple[str, str, str],
        image: OpenImage,
        grid: "PaintedGrid",
        data: npt.NDArray[Any],
        name: str,
    ) -> Any:
        """Give the layer of a key new values; where it is gone or of another kind, add it."""
        geometry = place_grid(image.geometry, grid, image.side_px)
        entry = self._layers.get(key)
        layer: Any = None if entry is None else entry[0]()
        is_rgb = data.ndim == 3
        if layer is not None and (
            layer.rgb != is_rgb or layer.data.shape != data.shape or layer not in self._layer_list
        ):
            self._remove(key)
            layer = None
        if layer is None:
            layer = Image(
                data,
                name=name,
                rgb=is_rgb,
                opacity=_OPACITY,
                blending="translucent_no_depth",
                interpolation2d="nearest",
                metadata=result_metadata("gene"),
                **geometry.layer_options(),
            )
            self._layer_list.append(layer)
        else:
            layer.data = data
            if entry is not None and layer.name == entry[1]:
                layer.name = name
        self._layers[key] = (ref(layer), layer.name)
        return layer

    @property
    def _layer_list(self) -> Any:
        return self._viewer.layers

    def _remove(self, key: tuple[str, str, str]) -> None:
        entry = self._layers.pop(key, None)
        layer = None if entry is None else entry[0]()
        if layer is not None and layer in self._layer_list:
            self._is_ours = True
            try:
                with with_quick_collections():
                    self._layer_list.remove(layer)
            finally:
                self._is_ours = False

    def _on_removed(self, event: Any) -> None:
        if self._is_ours:
            return
        for key, (reference, _) in list(self._layers.items()):
            if reference() is event.value:
                del self._layers[key]
        self.shown = {slot: one for slot, one in self.shown.items() if self._has(slot)}
        if not self._layers:
            self._show_banner("")

    def _has(self, slot: str) -> bool:
        return any(key[0] == slot and key[2] == "values" for key in self._layers)

    def _show_banner(self, text: str) -> None:
        """Write the warning into the canvas, so that every screenshot carries it."""
        overlay = self._viewer.canvas.overlays.text
        if text:
            overlay.text, overlay.font_size = fill(text, _BANNER_WIDTH), _BANNER_SIZE
            overlay.position, overlay.color = "top_center", _BANNER_COLOUR
        elif self._has_banner:
            overlay.text = ""
        if text or self._has_banner:  # else a text there is the user's own
            overlay.visible = bool(text)
        self._has_banner = bool(text)


_VEIL = Colormap([(0.5, 0.5, 0.5, 0.0), (0.5, 0.5, 0.5, 1.0)], name="uncertainty")
"""Sure patches are clear, unsure ones covered in grey."""


def blend_colours(
    values: npt.NDArray[Any],
    alpha: npt.NDArray[Any],
    limits: tuple[float, float],
    colormap: Colormap,
) -> npt.NDArray[np.uint8]:
    """Return colours ``(rows, columns, 4)`` of values, with an opacity for each."""
    low, high = limits
    shares = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    colours = np.asarray(colormap.map(shares.ravel())).reshape(*values.shape, 4)
    colours[..., 3] = alpha
    return np.asarray((255 * colours).round().clip(0, 255), np.uint8)


def place_grid(geometry: Geometry, grid: "PaintedGrid", side_px: int) -> Geometry:
    """Return where an array with one element per patch lies: each on the middle of its patch.

    Parameters
    ----------
    geometry
        Of the image.
    grid
        Place of its first element, and pixels between elements.
    side_px
        Edge of a patch.
    """
    scale = np.asarray(geometry.scale)
    middle = scale * (np.asarray(grid.origin) + (side_px - 1) / 2)
    moved = np.asarray(geometry.translate) + np.asarray(geometry.rotate) @ middle
    return Geometry(
        scale=(float(scale[0] * grid.step), float(scale[1] * grid.step)),
        units=geometry.units,
        translate=(float(moved[0]), float(moved[1])),
        rotate=geometry.rotate,
        affine=geometry.affine,
    )
