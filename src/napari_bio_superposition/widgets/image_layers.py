"""An image as napari layers that remember what it is: names, roles, place, identity. No Qt."""

import dataclasses
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.types import (
    DEATH,
    LYSOSOMES,
    MITOCHONDRIA,
    NUCLEI,
    MultichannelImage,
)
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.sources import METADATA_KEY

LayerData = tuple[Any, dict[str, Any], str]
"""Data, options and type of a layer, as napari's readers return it."""

_COLORMAPS: Final = {
    NUCLEI: "bop blue",
    MITOCHONDRIA: "bop orange",
    LYSOSOMES: "green",
    DEATH: "magenta",
}
_OTHER_COLORMAPS: Final = ("gray", "cyan", "yellow", "red")
_CONTRAST_PERCENTILES = (1.0, 99.8)
_CONTRAST_SAMPLES = 512
"""Rows and columns looked at for the contrast; more would not move the percentiles."""


def make_image_layers(image: MultichannelImage) -> list[LayerData]:
    """Return one layer per channel, which `find_sources` recognises as one field of view.

    Channels without a role start hidden where others have one: five colours make white.

    Parameters
    ----------
    image
        Lazy pixels stay lazy; a thin sample of each channel is read for the contrast.
    """
    known = {
        "name": image.id,
        "channel_names": list(image.channel_names),
        "roles": dict(image.roles),
        "full_scale": image.full_scale,
        "acquisition": dataclasses.asdict(image.acquisition),
    }
    role_of = {name: role for role, name in image.roles.items()}
    others = iter(_OTHER_COLORMAPS * len(image.channel_names))
    layers: list[LayerData] = []
    for plane, channel in zip(image.pixels, image.channel_names, strict=True):
        role = role_of.get(channel, "")
        options = {
            "name": f"{channel} · {image.id}",
            "colormap": _COLORMAPS[role] if role in _COLORMAPS else next(others),
            "blending": "additive",
            "contrast_limits": _choose_contrast(plane),
            "visible": bool(role) or not image.roles,
            "metadata": {METADATA_KEY: {**known, "channel": channel}},
            **Geometry.of_image(image).layer_options(),
        }
        layers.append((plane, options, "image"))
    return layers


def _choose_contrast(plane: Any) -> tuple[float, float]:
    step_y, step_x = (max(1, length // _CONTRAST_SAMPLES) for length in plane.shape)
    sample = np.asarray(plane[::step_y, ::step_x])
    low, high = np.nanpercentile(sample, _CONTRAST_PERCENTILES)
    return float(low), float(high if high > low else low + 1)
