"""The layers of a finished analysis, made whole before any is shown. No Qt, no tracking."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import FloatArray, IntArray, LabelImage
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.sources import METADATA_KEY

if TYPE_CHECKING:
    import pandas as pd

    from napari_bio_superposition.workflows.analyze import ImageAnalysis

_ACCEPTED_COLOUR = (1.0, 1.0, 1.0, 0.55)
_REJECTED_COLOUR = (1.0, 0.35, 0.3, 0.9)
_DEATH_TOP = 0.5
"""Top of the fixed colour scale of the dead area: more is rare in a living culture."""


def make_result_layers(analysis: "ImageAnalysis", geometry: Geometry, name: str) -> list[Layer]:
    """Return the layers that show *analysis*, bottom first.

    Parameters
    ----------
    analysis
        A complete result; steps that were skipped give no layer.
    geometry
        Where the analysed image lies.
    name
        Name of the image; every layer's name starts with it.
    """
    options = geometry.layer_options()
    layers: list[Layer] = []
    if analysis.death is not None:
        layers.append(_make_death_layer(analysis, f"{name} · dead area", options))
    if analysis.labels is not None:
        layers.append(_make_nuclei_layer(analysis, f"{name} · nuclei", options))
    layers.append(_make_patch_layer(analysis, f"{name} · patches", options))
    return layers


def result_metadata(kind: str) -> dict[str, Any]:
    """Return the metadata that marks a layer as ours, so that it is never taken for an image."""
    return {METADATA_KEY: {"is_result": True, "kind": kind}}


def label_patches(origins: IntArray, side_px: int, shape: tuple[int, int]) -> LabelImage:
    """Return a label image in which patch ``i`` has the label ``i + 1``; later ones lie on top.

    Parameters
    ----------
    origins
        Row and column of the top-left pixels, ``(n, 2)``.
    side_px
        Edge of a patch.
    shape
        Height and width of the image.
    """
    labels = np.zeros(shape, np.int32)
    for index, (y, x) in enumerate(origins, start=1):
        labels[y : y + side_px, x : x + side_px] = index
    return labels


def paint_patches(
    values: npt.NDArray[Any], origins: IntArray, side_px: int, shape: tuple[int, int]
) -> FloatArray:
    """Return an image with one value per patch: the mean where patches overlap, nan elsewhere.

    Patches without a value (nan) leave their pixels to those that have one.
    """
    total = np.zeros(shape, np.float32)
    count = np.zeros(shape, np.float32)
    for value, (y, x) in zip(values, origins, strict=True):
        if np.isfinite(value):
            total[y : y + side_px, x : x + side_px] += value
            count[y : y + side_px, x : x + side_px] += 1
    painted = np.full(shape, np.nan, np.float32)
    return np.divide(total, count, out=painted, where=count > 0)


def patch_features(analysis: "ImageAnalysis") -> "pd.DataFrame":
    """Return what is known of each patch, one row per label, the background first."""
    import pandas as pd

    patches = analysis.patches
    columns: dict[str, Any] = {
        "patch": list(patches.ids),
        Keys.Y: patches.origins[:, 0],
        Keys.X: patches.origins[:, 1],
        "accepted": patches.accepted,
        "reason": list(patches.reasons),
        **patches.quality,
    }
    rows = pd.DataFrame(columns)
    if analysis.death is not None:
        rows = pd.concat([rows, analysis.death.reset_index(drop=True)], axis="columns")
    rows = rows.loc[:, ~rows.columns.duplicated()]
    background = pd.DataFrame([dict.fromkeys(rows.columns)])
    return pd.concat([background.astype(object), rows.astype(object)], ignore_index=True)


def _make_nuclei_layer(analysis: "ImageAnalysis", name: str, options: dict[str, Any]) -> Labels:
    labels = _shrink_labels(np.asarray(analysis.labels))
    layer = Labels(labels, name=name, opacity=0.8, metadata=result_metadata("nuclei"), **options)
    layer.contour = 2
    return layer


def _make_patch_layer(analysis: "ImageAnalysis", name: str, options: dict[str, Any]) -> Labels:
    patches = analysis.patches
    layer = Labels(
        _shrink_labels(label_patches(patches.origins, patches.side, analysis.image.shape)),
        name=name,
        features=patch_features(analysis),
        colormap=_verdict_colormap(patches.accepted),
        opacity=0.6,
        metadata=result_metadata("patches"),
        **options,
    )
    layer.contour = 2
    return layer


def _verdict_colormap(accepted: npt.NDArray[np.bool_]) -> Any:
    """Return a colour map with one entry per patch, coloured by verdict.

    A cyclic map as long as the list gives each label its own colour by position. The direct map,
    made for this, compiles for seconds and looks labels up one by one.
    """
    from napari.utils.colormaps import CyclicLabelColormap

    by_verdict = np.array([_REJECTED_COLOUR, _ACCEPTED_COLOUR], np.float32)
    background = np.zeros((1, 4), np.float32)
    colours = np.concatenate([background, by_verdict[np.asarray(accepted, int)]])
    return CyclicLabelColormap(colors=colours)


def _shrink_labels(labels: LabelImage) -> npt.NDArray[Any]:
    """Return labels as 16 bit where they fit: napari draws these as they are, without a compiler.

    A quarter of a million nuclei still get their 32 bit.
    """
    fits = labels.max(initial=0) <= np.iinfo(np.uint16).max
    return labels.astype(np.uint16) if fits else labels


def _make_death_layer(analysis: "ImageAnalysis", name: str, options: dict[str, Any]) -> Image:
    death, patches = analysis.death, analysis.patches
    if death is None:
        raise ValueError("This analysis has no death scores.")
    values = np.asarray(death[Keys.DEATH], float)
    layer = Image(
        paint_patches(values, patches.origins, patches.side, analysis.image.shape),
        name=name,
        colormap="magma",
        contrast_limits=(0.0, _DEATH_TOP),
        interpolation2d="nearest",
        blending="translucent",
        opacity=0.6,
        visible=False,
        metadata=result_metadata("death"),
        **options,
    )
    layer.contrast_limits_range = (0.0, 1.0)
    layer.colorbar.visible = True
    return layer
