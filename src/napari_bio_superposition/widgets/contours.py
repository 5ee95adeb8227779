"""Lines of equal activation as pixels, for overlays that leave the image in sight. No layers."""

from collections.abc import Sequence

import numpy as np

from napari_bio_superposition.core.types import FloatArray


def draw_contours(values: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return an image that holds each level on its own line, and nan elsewhere.

    A line runs over the pixels that reach the level and have a neighbour (above, below, left,
    right) that does not; higher levels lie on top. The edge of the image and places without a
    value draw no line.

    Parameters
    ----------
    values
        ``(height, width)``; nan is a place without a value.
    levels
        Activations at which lines run, ascending.
    """
    drawn = np.full(values.shape, np.nan, np.float32)
    for level in levels:
        below = values < level  # false where there is no value
        touches = np.zeros(values.shape, bool)
        touches[1:] |= below[:-1]
        touches[:-1] |= below[1:]
        touches[:, 1:] |= below[:, :-1]
        touches[:, :-1] |= below[:, 1:]
        drawn[(values >= level) & touches] = level
    return drawn
