"""Cell bodies and neurites: where organelles live, and the haze of dye that fills them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.imaging.simulation.drawing import (
    Points,
    Shape,
    Vector,
    enlarge,
    grow_curves,
    splat_points,
    window,
)
from napari_bio_superposition.imaging.simulation.layout import CellLayout
from napari_bio_superposition.imaging.simulation.states import CellStates

NEURITES_PER_CELL: Final = 4
LONGEST_NEURITE_PX: Final = 240
NEURITE_SHARE: Final = 0.3
"""Share of a cell's cytoplasm, and of its organelles, that lies in neurites."""
NEURITE_SIGMA_PX: Final = 1.0
"""Half the width of a neurite, about."""
_COARSE: Final = 3
"""Cell bodies are so smooth that one pixel in three, along each axis, carries them."""
_BODY_AREA: Final = 2.836
"""Integral over the plane of exp(-r^3), the profile of a cell body."""


@dataclass(frozen=True, eq=False)
class Neurites:
    """Neurites as curves with one point per pixel of length."""

    points: npt.NDArray[np.float64]
    """``(n_cells, NEURITES_PER_CELL, LONGEST_NEURITE_PX, 2)``."""
    heading: npt.NDArray[np.float64]
    """Direction at each point, radians from the x axis."""
    length: npt.NDArray[np.int64]
    """Points in use, ``(n_cells, NEURITES_PER_CELL)``."""
    calibre: npt.NDArray[np.float64]
    """Relative amount of cytoplasm at each point: it tapers, and swells into beads."""

    def pick(
        self, cell: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Points, Vector, npt.NDArray[np.int64]]:
        """Pick a random place on a neurite of each given cell: point, heading, points beyond."""
        cumulative = np.cumsum(self.length, axis=1)
        place = (rng.random(len(cell)) ** 1.4 * cumulative[cell, -1]).astype(np.int64)
        which = (place[:, None] >= cumulative[cell]).sum(axis=1)
        before = np.where(which > 0, cumulative[cell, np.maximum(which - 1, 0)], 0)
        step = place - before
        rest = self.length[cell, which] - step
        return self.points[cell, which, step], self.heading[cell, which, step], rest


@dataclass(frozen=True, eq=False)
class Cytoplasm:
    """The shape of all cell bodies and neurites, ready to be filled with different dyes."""

    shape: Shape
    neurites: Neurites
    _coarse: Shape
    _pixels: npt.NDArray[np.int64]
    _profile: FloatArray
    _cell: npt.NDArray[np.int64]

    def fill(self, flux: Vector) -> FloatArray:
        """Return an image in which each cell holds its *flux*, ``(n_cells,)``, as haze."""
        body = self._profile * ((1 - NEURITE_SHARE) * flux).astype(np.float32)[self._cell]
        bodies = np.bincount(self._pixels, body, minlength=self._coarse[0] * self._coarse[1])
        image = enlarge(bodies.reshape(self._coarse).astype(np.float32), _COARSE, self.shape)
        calibre = self.neurites.calibre
        per_calibre = NEURITE_SHARE * flux / np.maximum(calibre.sum(axis=(1, 2)), 150.0)
        weight = calibre * per_calibre[:, None, None]
        drawn = weight > 0
        threads = splat_points(self.neurites.points[drawn], weight[drawn], self.shape)
        threads = gaussian_filter(threads, NEURITE_SIGMA_PX, truncate=2.5)
        image += threads
        return image


def draw_cytoplasm(
    layout: CellLayout, states: CellStates, shape: Shape, rng: np.random.Generator
) -> Cytoplasm:
    """Lay out cell bodies and neurites; progression shortens neurites and makes them beaded."""
    neurites = _grow_neurites(layout, states, rng)
    pull = 0.45 * layout.radius[:, None] * _unit(layout.pole)  # the body bulges towards the pole
    size = layout.radius * np.where(states.dead, 1.5, 1.0)
    along = size * rng.uniform(1.7, 2.3, len(layout))
    across = size * rng.uniform(1.35, 1.75, len(layout))
    half = int(np.ceil(1.5 * along.max(initial=8.0) / _COARSE))
    coarse = (shape[0] // _COARSE + 2, shape[1] // _COARSE + 2)
    pixels, dy, dx, inside = window((layout.centres + pull) / _COARSE, half, coarse)
    inside &= dy**2 + dx**2 < half**2
    cell = np.nonzero(inside)[0]
    dy, dx = _COARSE * dy[inside], _COARSE * dx[inside]
    cos, sin = _single(np.cos(layout.pole))[cell], _single(np.sin(layout.pole))[cell]
    u = (dx * cos + dy * sin) / _single(along)[cell]
    v = (dy * cos - dx * sin) / _single(across)[cell]
    distance = np.hypot(u, v)
    profile = np.exp(-(distance * distance * distance))
    profile /= _single(_BODY_AREA * along * across)[cell]
    return Cytoplasm(shape, neurites, coarse, pixels[inside], profile, cell)


def _grow_neurites(layout: CellLayout, states: CellStates, rng: np.random.Generator) -> Neurites:
    n, k = len(layout), NEURITES_PER_CELL
    heading = (
        layout.pole[:, None] + 2 * np.pi * np.arange(k) / k + 0.35 * rng.standard_normal((n, k))
    )
    starts = layout.centres[:, None, :] + layout.radius[:, None, None] * _unit(heading)
    points, direction = grow_curves(
        starts.reshape(-1, 2), heading.ravel(), LONGEST_NEURITE_PX, 0.045, rng
    )
    typical = np.array([150.0, 60.0, 45.0, 35.0])  # an axon and some dendrites
    length = (
        typical
        * np.exp(0.35 * rng.standard_normal((n, k)))
        * (1.1 - 0.7 * states.neurite_loss[:, None])
    )
    length = np.where(states.dead[:, None], 0.25 * length, length)
    points_used = np.clip(length, 4, LONGEST_NEURITE_PX).astype(np.int64)
    step = np.arange(LONGEST_NEURITE_PX)
    relative = step / points_used[..., None]
    phase = rng.uniform(0, 2 * np.pi, (n, k, 1))
    beads = np.clip(np.sin(2 * np.pi * step / 9.0 + phase + 3 * np.sin(step / 17.0 + phase)), 0, 1)
    calibre = (1.6 - 1.3 * relative) * (1 + 2.5 * states.neurite_loss[:, None, None] * beads**4)
    return Neurites(
        points=points.reshape(n, k, LONGEST_NEURITE_PX, 2),
        heading=direction.reshape(n, k, LONGEST_NEURITE_PX),
        length=points_used,
        calibre=np.where(relative < 1, calibre, 0.0),
    )


def _unit(angle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return unit vectors ``(..., 2)`` as (y, x)."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _single(values: npt.NDArray[np.float64]) -> FloatArray:
    """Return single precision: twice as fast over millions of pixels, and precise enough."""
    return values.astype(np.float32)
