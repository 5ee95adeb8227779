"""Colour maps of overlays: transparent where a feature is silent, solid where it is strong."""

from typing import Final

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap

_N_COLOURS: Final = 128
_SOLID_FROM: Final = 0.35
"""Fraction of the scale from which on an overlay hides the image below it."""

_BASES: Final = ("inferno", "cyan", "magenta", "yellow", "bop orange", "bop blue", "green", "red")
"""In the order in which overlays take them; the first is perceptual, for one overlay alone."""


def overlay_colormaps() -> tuple[Colormap, ...]:
    """Return the colour maps, distinct by name, in the order of their use."""
    return tuple(_make_transparent(base) for base in _BASES)


def _make_transparent(base: str) -> Colormap:
    """Return *base* with an opacity that rises with the value.

    A map that starts at black is lightened at its lower end: there the image shines through, and
    black would only darken it.
    """
    levels = np.linspace(0.0, 1.0, _N_COLOURS)
    colours = np.asarray(ensure_colormap(base).map(0.25 + 0.75 * levels), np.float32)
    colours[:, 3] = np.clip(levels / _SOLID_FROM, 0.0, 1.0)
    return Colormap(colors=colours, name=f"{base} overlay", display_name=f"{base} overlay")
