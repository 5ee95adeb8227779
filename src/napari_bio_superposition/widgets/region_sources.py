"""Where a region of interest comes from: layers, selected patches, nuclei, groups. No Qt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from napari.layers import Labels, Layer, Shapes

from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.sources import METADATA_KEY
from napari_bio_superposition.widgets.study import OpenImage, Study

PAINTED_NAME: Final = "Regions"
DRAWN_NAME: Final = "Drawn regions"
_ELLIPSE_CORNERS: Final = 72
_MOST_REGIONS: Final = 12
"""A layer with more labels is a segmentation, not a choice of regions."""


@dataclass(frozen=True, eq=False)
class RegionSource:
    """One entry of the list of regions.

    Parameters
    ----------
    key
        Stays the same while the entry exists.
    title
        What the user reads.
    layer
        The layer that it is read from, for layers.
    """

    key: str
    title: str
    layer: Layer | None = None


def find_region_sources(
    layers: Iterable[Layer], study: Study, image: OpenImage
) -> list[RegionSource]:
    """Return what can be a region of *image* now: layers first, the newest at the top."""
    sources = [
        RegionSource(f"layer {id(layer)}", str(layer.name), layer)
        for layer in reversed(list(layers))
        if _is_drawable(layer)
    ]
    sources.append(RegionSource("selection", "Selected patches"))
    if image.analysis.labels is not None:
        sources.append(RegionSource("picked", "Picked nucleus"))
        sources.append(RegionSource("nuclei", "All nuclei"))
    sources += [RegionSource(f"group {name}", f"Group {name}") for name in study.groups]
    return sources


def read_regions(
    source: RegionSource, layers: Iterable[Layer], study: Study, image: OpenImage
) -> Mapping[str, BoolArray]:
    """Return the mask ``(height, width)`` of each region of a source, by name.

    Raises
    ------
    RegionError
        Where there is nothing yet; says what to do.
    """
    if isinstance(source.layer, Labels):
        return _painted(source.layer, image)
    if isinstance(source.layer, Shapes):
        return _drawn(source.layer, image)
    if source.key == "selection":
        return {source.title: _patches(study.selection.mask, image)}
    if source.key in ("picked", "nuclei"):
        return {source.title: _nuclei(source, layers, image)}
    mask = study.groups.get(source.key.removeprefix("group "))
    if mask is None:
        raise RegionError(f"{source.title} is gone. Choose another region.")
    return {source.title: _patches(mask, image)}


def make_painted_layer(image: OpenImage) -> Labels:
    """Return an empty Labels layer on an image, ready to be painted on."""
    shape = image.analysis.image.shape
    layer = Labels(
        np.zeros(shape, np.uint8),
        name=f"{PAINTED_NAME} · {image.name}",
        opacity=0.5,
        metadata={METADATA_KEY: {"kind": "regions"}},
        **image.geometry.layer_options(),
    )
    layer.brush_size = max(4, image.side_px // 8)
    layer.mode = "paint"
    return layer


def make_drawn_layer(image: OpenImage) -> Shapes:
    """Return an empty Shapes layer on an image, ready for a lasso."""
    layer = Shapes(
        ndim=2,
        name=f"{DRAWN_NAME} · {image.name}",
        face_color=[1, 1, 1, 0.1],
        edge_color="yellow",
        edge_width=2,
        metadata={METADATA_KEY: {"kind": "regions"}},
        **image.geometry.layer_options(),
    )
    layer.mode = "add_polygon_lasso"
    return layer


def _is_drawable(layer: Layer) -> bool:
    is_result = layer.metadata.get(METADATA_KEY, {}).get("is_result", False)
    return isinstance(layer, Labels | Shapes) and not is_result


def _painted(layer: Labels, image: OpenImage) -> Mapping[str, BoolArray]:
    from napari_bio_superposition.features.regions import split_regions

    labels = _on_image(layer, image)
    if np.unique(labels).size > _MOST_REGIONS + 1:
        return {str(layer.name): labels > 0}
    return split_regions(labels)


def _on_image(layer: Labels, image: OpenImage) -> npt.NDArray[Any]:
    """Return the labels on the pixels of the image, wherever their layer lies."""
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    data = data.reshape(data.shape[-2:]) if data.size == np.prod(data.shape[-2:]) else data
    if data.ndim != 2:
        raise RegionError(
            f"The layer {layer.name} has {data.ndim} axes; a region has two. Press Paint for a "
            "layer that fits."
        )
    place, shape = Geometry.of_layer(layer), image.analysis.image.shape
    if data.shape == shape and np.allclose(place.signature, image.geometry.signature):
        return data
    from scipy import ndimage  # napari has imported it already

    def look(pixel: tuple[int, int]) -> npt.NDArray[np.float64]:
        return place.to_pixels(image.geometry.to_world(pixel))

    origin = look((0, 0))
    steps = np.stack([look((1, 0)) - origin, look((0, 1)) - origin], axis=1)
    moved: npt.NDArray[Any] = ndimage.affine_transform(
        data, steps, offset=origin, output_shape=shape, order=0
    )
    return moved


def _drawn(layer: Shapes, image: OpenImage) -> Mapping[str, BoolArray]:
    from skimage.draw import polygon2mask

    place = Geometry.of_layer(layer)
    masks: dict[str, BoolArray] = {}
    for number, (corners, kind) in enumerate(
        zip(layer.data, layer.shape_type, strict=True), start=1
    ):
        outline = _ellipse(corners[:, -2:]) if kind == "ellipse" else corners[:, -2:]
        pixels = [image.geometry.to_pixels(place.to_world(corner)) for corner in outline]
        if kind not in ("line", "path") and len(pixels) >= 3:
            masks[f"Shape {number}"] = polygon2mask(image.analysis.image.shape, np.array(pixels))
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if not masks:
        raise RegionError(
            "There is no area yet. Draw a polygon, a rectangle or an ellipse on the image."
        )
    return masks


def _ellipse(corners: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return points on the ellipse in a rectangle, which is how napari keeps it."""
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angles) * first + np.sin(angles) * second, np.float64)


def _patches(selected: BoolArray, image: OpenImage) -> BoolArray:
    from napari_bio_superposition.features.regions import patches_region

    known = image.rows >= 0
    chosen = np.zeros(len(image.rows), bool)
    chosen[known] = selected[image.rows[known]]
    return patches_region(image.origins, image.side_px, chosen, image.analysis.image.shape)


def _nuclei(source: RegionSource, layers: Iterable[Layer], image: OpenImage) -> BoolArray:
    labels = np.asarray(image.analysis.labels)
    if source.key == "nuclei":
        return labels > 0
    for layer in layers:
        known = layer.metadata.get(METADATA_KEY, {})
        if known.get("kind") == "nuclei" and layer.data.shape == labels.shape:
            picked = labels == layer.selected_label
            if picked.any():
                return np.asarray(picked)
    raise RegionError(
        "No nucleus is picked. Choose the layer of nuclei, press L, and click a nucleus."
    )
