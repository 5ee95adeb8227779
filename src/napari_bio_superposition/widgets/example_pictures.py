"""Examples of a feature as small colour pictures, in several ways of looking. No Qt, no models."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from napari.utils.colormaps import ensure_colormap

from napari_bio_superposition.core.types import DEATH, LYSOSOMES, MITOCHONDRIA, NUCLEI, FloatArray
from napari_bio_superposition.widgets.feature_report import ExamplePatch

Picture = npt.NDArray[np.uint8]
_COLOURS: Final = {
    NUCLEI: (0.25, 0.45, 1.0),
    MITOCHONDRIA: (1.0, 0.6, 0.1),
    LYSOSOMES: (0.2, 0.9, 0.35),
    DEATH: (1.0, 0.2, 0.8),
}
_OTHER: Final = (0.7, 0.7, 0.7)
_TOP_PERCENTILE: Final = 99.7
COLOURED, OVERLAID, SEEN = "Colours", "With the feature", "What the network sees"
"""Ways of looking beside the single channels."""
_STD_FLOOR: Final = 0.01


def list_views(channel_roles: Sequence[str]) -> tuple[str, ...]:
    """Return the ways of looking at patches with these channels."""
    return (OVERLAID, COLOURED, SEEN, *channel_roles)


def draw_examples(
    examples: Sequence[ExamplePatch], channel_roles: Sequence[str], view: str, top: float
) -> Mapping[int, Picture]:
    """Return a picture per position in *examples*; those without pixels have none.

    Parameters
    ----------
    examples
        Patches of one feature.
    channel_roles
        Of their channels.
    view
        One of `list_views`.
    top
        Activation of the strongest colour.
    """
    known = [place for place, example in enumerate(examples) if example.pixels is not None]
    if not known:
        return {}
    pixels = np.stack([np.asarray(examples[place].pixels, np.float32) for place in known])
    if view == SEEN:
        pixels = _stretch(_normalise(pixels))
        tops = np.ones(pixels.shape[1], np.float32)
    else:
        tops = np.percentile(pixels, _TOP_PERCENTILE, axis=(0, 2, 3)).astype(np.float32)
    scaled = np.clip(pixels / np.maximum(tops, 1e-6)[None, :, None, None], 0, 1)
    pictures = {}
    for place, one in zip(known, scaled, strict=True):
        colours = _colour(one, channel_roles, view)
        activation = examples[place].activation
        if view == OVERLAID and activation is not None:
            colours = _lay_over(colours, activation, top)
        pictures[place] = (255 * colours).round().astype(np.uint8)
    return pictures


def draw_normalized(
    made: FloatArray, real: Sequence[FloatArray], channel_roles: Sequence[str]
) -> list[Picture]:
    """Return pictures of normalised images and of patches, which are normalised, on one scale.

    Parameters
    ----------
    made
        ``(n, channel, side, side)``, mean 0 and deviation 1 per channel.
    real
        Patches as the model gets them, ``(channel, side, side)`` in ``[0, 1]``.
    channel_roles
        Of the channels.
    """
    seen = [np.asarray(made, np.float32)]
    seen += [_normalise(one[np.newaxis]) for one in real]
    stretched = np.clip(_stretch(np.concatenate(seen)), 0, 1)
    return [(255 * _colour(one, channel_roles, SEEN)).round().astype(np.uint8) for one in stretched]


def _normalise(pixels: FloatArray) -> FloatArray:
    """Return patches ``(n, channel, side, side)`` normalised each, as the encoder sees them."""
    mean = pixels.mean(axis=(2, 3), keepdims=True)
    spread = np.maximum(pixels.std(axis=(2, 3), keepdims=True), _STD_FLOOR)
    seen: FloatArray = (pixels - mean) / spread
    return seen


def _stretch(seen: FloatArray) -> FloatArray:
    """Return one stretch of all, from the 1st to the 99th percentile across channels.

    The published picture of what the network sees (method specification, 15).
    """
    low, high = np.percentile(seen, [1, 99])
    stretched: FloatArray = ((seen - low) / max(high - low, 1e-6)).astype(np.float32)
    return stretched


def _colour(scaled: FloatArray, channel_roles: Sequence[str], view: str) -> FloatArray:
    if view in channel_roles:
        plane = scaled[list(channel_roles).index(view)]
        grey: FloatArray = np.repeat(plane[..., None], 3, axis=2)
        return grey
    weights = np.array([_COLOURS.get(role, _OTHER) for role in channel_roles], np.float32)
    mixed: FloatArray = np.einsum("chw,cr->hwr", scaled, weights).clip(0, 1)
    return mixed


def _lay_over(colours: FloatArray, activation: FloatArray, top: float) -> FloatArray:
    strength = np.clip(activation / top, 0, 1)
    heat = np.asarray(ensure_colormap("inferno").map(0.25 + 0.75 * strength.ravel()))[:, :3]
    weight = np.clip(strength / 0.35, 0, 1)[..., None]
    blended: FloatArray = colours * (1 - weight) + heat.reshape(*strength.shape, 3) * weight
    return np.clip(blended, 0, 1).astype(np.float32)
