"""Vectorised drawing of many small objects: points, discs, soft ellipses, curves, smooth noise.

Nothing here knows what is drawn. Coordinates are ``(y, x)`` pixels; objects may lie partly or
wholly outside the image and are then cut.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_bio_superposition.core.types import FloatArray

Points = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Shape = tuple[int, int]


def splat_points(points: Points, weights: Vector, shape: Shape) -> FloatArray:
    """Add each point to the four pixels around it (bilinear), which antialiases curves.

    Parameters
    ----------
    points
        ``(n, 2)``; those outside the image are left out.
    weights
        What each point adds in total, ``(n,)``.
    """
    corner = np.floor(points).astype(np.int64)
    height, width = shape
    inside = (corner >= -1).all(axis=1) & (corner[:, 0] < height) & (corner[:, 1] < width)
    corner, weights = corner[inside], weights[inside]
    fy, fx = (points[inside] - corner).T
    stride = width + 2  # one pixel of margin takes the corners that fall outside
    first = (corner[:, 0] + 1) * stride + corner[:, 1] + 1
    canvas = np.zeros((height + 2) * stride)
    for offset, share in (
        (0, (1 - fy) * (1 - fx)),
        (1, (1 - fy) * fx),
        (stride, fy * (1 - fx)),
        (stride + 1, fy * fx),
    ):
        canvas += np.bincount(first + offset, share * weights, minlength=canvas.size)
    return canvas.reshape(height + 2, stride)[1:-1, 1:-1].astype(np.float32)


def draw_discs(
    centres: Points, radii: Vector, amplitudes: Vector, shape: Shape, *, domed: bool = False
) -> FloatArray:
    """Add antialiased discs.

    Parameters
    ----------
    centres
        ``(n, 2)``.
    radii, amplitudes
        In px, and the value in the middle, ``(n,)``.
    shape
        Height and width of the image.
    domed
        Fall off towards the rim as the thickness of a ball does, rather than stay flat.
    """
    canvas = np.zeros(shape[0] * shape[1])
    halves = np.ceil(radii + 1).astype(np.int64)
    for half in np.unique(halves):  # discs of one window size at a time
        chosen = halves == half
        pixels, dy, dx, inside = window(centres[chosen], int(half), shape)
        radius, distance = radii[chosen, None, None], np.hypot(dy, dx)
        value = np.clip(radius - distance + 0.5, 0.0, 1.0) * amplitudes[chosen, None, None]
        if domed:
            value *= np.sqrt(np.clip(1 - (distance / (radius + 0.5)) ** 2, 0.0, None))
        canvas += np.bincount(pixels[inside], value[inside], minlength=canvas.size)
    return canvas.reshape(shape).astype(np.float32)


def window(
    centres: Points, half: int, shape: Shape
) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return a square of pixels around each centre.

    Returns
    -------
    tuple
        Flat pixel index, offsets ``dy`` and ``dx`` of the pixel from the centre, and whether the
        pixel lies in the image; each ``(n, 2 half + 1, 2 half + 1)``.
    """
    steps = np.arange(-half, half + 1)
    nearest = np.rint(centres).astype(np.int64)
    y = nearest[:, 0, None, None] + steps[None, :, None]
    x = nearest[:, 1, None, None] + steps[None, None, :]
    dy = (y - centres[:, 0, None, None]).astype(np.float32)
    dx = (x - centres[:, 1, None, None]).astype(np.float32)
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    size = (len(centres), len(steps), len(steps))
    return y * shape[1] + x, np.broadcast_to(dy, size), np.broadcast_to(dx, size), inside


def grow_curves(
    starts: Points, headings: Vector, n_steps: int, wobble: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Grow smooth random curves by steps of one pixel.

    Parameters
    ----------
    starts, headings
        First point ``(n, 2)`` and direction (radians from the x axis) ``(n,)``.
    n_steps
        Points per curve.
    wobble
        Standard deviation of the change of direction per step, radians.

    Returns
    -------
    tuple
        Points ``(n, n_steps, 2)`` and the direction at each, ``(n, n_steps)``.
    """
    n = len(starts)
    bend = 0.3 * wobble * rng.standard_normal((n, 1), dtype=np.float32)
    turns = bend + wobble * rng.standard_normal((n, n_steps), dtype=np.float32)
    direction = headings[:, None] + np.cumsum(turns, axis=1)
    steps = np.stack([np.sin(direction), np.cos(direction)], axis=-1)
    return starts[:, None, :] + np.cumsum(steps, axis=1), direction


def smooth_noise(shape: Shape, scale_px: float, rng: np.random.Generator) -> FloatArray:
    """Return a Gaussian random field of unit variance with the given correlation length.

    The variance is exact in expectation, not forced per field, so that fields differ as wholes.
    """
    step = max(1, int(scale_px // 4))  # a coarse grid carries all that a smooth field holds
    pad = 3 * int(np.ceil(scale_px / step))
    coarse = (shape[0] // step + 2 + 2 * pad, shape[1] // step + 2 + 2 * pad)
    sigma = scale_px / step
    blurred = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), sigma, mode="wrap")
    blurred *= (
        2 * np.sqrt(np.pi) * sigma
    )  # a Gaussian blur leaves 1 / (4 pi sigma^2) of white noise
    blurred = blurred[pad : coarse[0] - pad, pad : coarse[1] - pad]
    if step == 1:
        return np.ascontiguousarray(blurred[: shape[0], : shape[1]])
    return enlarge(blurred, step, shape)


def sample_at(field: FloatArray, points: Points) -> Vector:
    """Read a field at points ``(n, 2)``, bilinearly; outside, the nearest pixel counts."""
    values: Vector = map_coordinates(field, points.T, order=1, mode="nearest").astype(np.float64)
    return values


def enlarge(coarse: FloatArray, step: int, shape: Shape) -> FloatArray:
    """Interpolate a coarse grid bilinearly; its node ``(i, j)`` lies at ``(step i, step j)``.

    The grid needs at least ``side // step + 2`` nodes along each axis.
    """
    for axis in (0, 1):
        position = np.arange(shape[axis]) / step
        low = position.astype(np.int64)
        share = (position - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None, :]
        coarse = coarse.take(low, axis) * (1 - share) + coarse.take(low + 1, axis) * share
    return coarse
