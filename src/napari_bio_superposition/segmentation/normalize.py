"""Intensity normalisation before a network. No resizing, no padding, no torch."""

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.types import FloatArray

__all__ = ["normalize_percentiles"]


def normalize_percentiles(
    plane: npt.NDArray[Any], *, low: float = 1.0, high: float = 99.8
) -> FloatArray:
    """Map two percentiles of the whole plane to 0 and 1, without clipping.

    StarDist's models are trained on images normalised like this; the defaults are its own.

    Parameters
    ----------
    plane
        Intensity, any unit, ``(height, width)``, finite.
    low, high
        Percentiles that become 0 and 1.

    Returns
    -------
    FloatArray
        Same shape, float32. All zeros where the plane is constant; where so few pixels stand out
        that the percentiles coincide, the brightest pixel becomes 1.
    """
    bottom, top = (float(value) for value in np.percentile(plane, (low, high)))
    if top <= bottom:
        top = float(plane.max())
    if top <= bottom:
        return np.zeros(plane.shape, np.float32)
    normalized: FloatArray = plane.astype(np.float32)
    normalized -= np.float32(bottom)
    normalized *= np.float32(1.0 / (top - bottom))
    return normalized
