"""Where the cells of a field lie, how large they are, how they are turned. No state, no drawing."""

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from napari_bio_superposition.imaging.simulation.drawing import (
    Points,
    Shape,
    Vector,
    sample_at,
    smooth_noise,
)

MARGIN_PX: Final = 32
"""Cells are also placed this far outside, so that the border of an image looks like its middle."""
DENSITY_SCALE_PX: Final = 75.0
DENSITY_CONTRAST: Final = 0.75
NUCLEUS_RADIUS_PX: Final = 11.8
N_HARMONICS: Final = 4
"""Fourier harmonics 2 to 5 of the nuclear contour."""
HARMONIC_SD: Final = 0.028


@dataclass(frozen=True, eq=False)
class CellLayout:
    """Nuisance geometry of *n* cells: what varies without meaning."""

    centres: Points
    """``(y, x)``, px, ``(n, 2)``."""
    radius: Vector
    """Of the nucleus while alive, px: the geometric mean of its semi-axes."""
    elongation: Vector
    """Ratio of the nuclear semi-axes."""
    angle: Vector
    """Of the long axis, radians from the x axis."""
    pole: Vector
    """Direction from the nucleus to the bulk of the organelles, radians."""
    harmonics: npt.NDArray[np.complex128]
    """Deviation of the nuclear contour from an ellipse, ``(n, N_HARMONICS)``."""
    brightness: npt.NDArray[np.float64]
    """Relative uptake of each dye, ``(n, 4)``, in the order of the channels."""

    def __len__(self) -> int:
        return len(self.radius)

    def take(self, index: npt.NDArray[Any]) -> Self:
        """Return the cells picked by an index or a boolean mask."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})


def place_cells(shape: Shape, nuclei_per_patch: float, rng: np.random.Generator) -> CellLayout:
    """Scatter cells at uneven density, mostly without overlap, some touching.

    Parameters
    ----------
    shape
        Height and width of the field, px.
    nuclei_per_patch
        Expected number in 128 x 128 px; the field's own mean varies by some 10 %.
    """
    padded = (shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX)
    density = np.exp(DENSITY_CONTRAST * smooth_noise(padded, DENSITY_SCALE_PX, rng))
    expected = nuclei_per_patch * padded[0] * padded[1] / 128**2
    wanted = max(1, round(expected * float(rng.normal(1.0, 0.07))))
    candidates = _draw_candidates(density, 6 * wanted + 50, rng)
    radii = NUCLEUS_RADIUS_PX * np.exp(0.1 * rng.standard_normal(len(candidates)))
    closeness = rng.uniform(0.82, 1.25, len(candidates))  # below 1 two nuclei touch
    kept = _accept_apart(candidates, radii * closeness, wanted)
    n = len(kept)
    angle = rng.uniform(0, np.pi, n)
    wave = rng.standard_normal((n, N_HARMONICS)) + 1j * rng.standard_normal((n, N_HARMONICS))
    return CellLayout(
        centres=candidates[kept] - MARGIN_PX,
        radius=radii[kept],
        elongation=np.clip(1.22 + 0.14 * rng.standard_normal(n), 1.0, 1.75),
        angle=angle,
        pole=angle + np.pi * rng.integers(0, 2, n) + 0.6 * rng.standard_normal(n),
        harmonics=HARMONIC_SD * wave / np.arange(1, N_HARMONICS + 1) ** 0.5,
        brightness=np.exp(rng.standard_normal((n, 4)) * np.array([0.25, 0.25, 0.2, 0.15])),
    )


def _draw_candidates(density: npt.NDArray[Any], n: int, rng: np.random.Generator) -> Points:
    """Draw points with a chance proportional to *density*, by rejection."""
    points = rng.random((8 * n, 2)) * np.array(density.shape)
    level = sample_at(density.astype(np.float32), points)
    ceiling = np.quantile(level, 0.99)  # a few peaks are cut rather than slowing all others down
    chosen: Points = points[rng.random(len(points)) * ceiling < level][:n]
    return chosen


def _accept_apart(points: Points, reach: Vector, wanted: int) -> npt.NDArray[np.int64]:
    """Accept points in order unless the discs of radius *reach* overlap, until enough are found."""
    pairs = cKDTree(points).query_pairs(2 * reach.max(), output_type="ndarray")
    gap = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    pairs = pairs[gap < reach[pairs].sum(axis=1)]
    earlier, later = pairs.min(axis=1), pairs.max(axis=1)
    order = np.argsort(later, kind="stable")
    rivals = np.split(earlier[order], np.searchsorted(later[order], np.arange(1, len(points))))
    accepted = np.zeros(len(points), dtype=bool)
    n = 0
    for i, before in enumerate(rivals):  # in order: whether i stays depends on those before it
        if not accepted[before].any():
            accepted[i] = True
            n += 1
            if n == wanted:
                break
    return np.flatnonzero(accepted)
