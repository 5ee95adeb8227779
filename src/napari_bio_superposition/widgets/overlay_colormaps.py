"""Colour maps of overlays: transparent where a feature is silent, solid where it is strong."""

from typing import Final

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap

_N_COLOURS: Final = 128
_SOLID_FROM: Final = 0.35
"""Fraction of the scale from which on an overlay hides the image below it."""

_BASES: Final = ("inferno", "cyan", "magenta", "yellow", "bop orange", "bop blue", "green", "red")
"""In the order in which overlays take them; the first is perceptual, for one overlay alone."""
_ON_DEMAND: Final = ("viridis", "magma", "plasma", "cividis", "turbo", "jet")
"""Further choices: perceptual ones first; jet as the paper draws it, which is not."""
COLORMAP_NAMES: Final = (*_BASES[:1], *_ON_DEMAND[:4], *_BASES[1:], *_ON_DEMAND[4:])
"""What a user can choose from, perceptual maps first."""


def overlay_colormaps() -> tuple[Colormap, ...]:
    """Return the colour maps, distinct by name, in the order of their use."""
    return tuple(overlay_colormap(base) for base in _BASES)


def overlay_colormap(base: str) -> Colormap:
    """Return *base* with an opacity that rises with the value.

    A map that starts at black is lightened at its lower end: there the image shines through, and
    black would only darken it. Maps whose hue carries the value keep all of their colours.

    Parameters
    ----------
    base
        One of `COLORMAP_NAMES`.
    """
    levels = np.linspace(0.0, 1.0, _N_COLOURS)
    start = 0.0 if base in _ON_DEMAND else 0.25
    colours = np.asarray(ensure_colormap(base).map(start + (1 - start) * levels), np.float32)
    colours[:, 3] = np.clip(levels / _SOLID_FROM, 0.0, 1.0)
    return Colormap(colors=colours, name=f"{base} overlay", display_name=f"{base} overlay")


def base_name(colormap: Colormap) -> str:
    """Return which of `COLORMAP_NAMES` an overlay's colour map was made of, or its own name."""
    return str(colormap.name).removesuffix(" overlay")
