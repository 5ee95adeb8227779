"""Mitochondria as threads and lysosomes as puncta, in cell bodies and along neurites. No optics.

State moves the dye of a cell between threads, puncta and cytoplasm, but hardly changes its amount:
otherwise the mean of a channel would give the genotype away.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from napari_bio_superposition.core.types import BoolArray, FloatArray
from napari_bio_superposition.imaging.simulation.cytoplasm import (
    NEURITE_SHARE,
    Cytoplasm,
    Neurites,
)
from napari_bio_superposition.imaging.simulation.drawing import (
    Points,
    Shape,
    Vector,
    draw_discs,
    grow_curves,
    splat_points,
)
from napari_bio_superposition.imaging.simulation.layout import CellLayout
from napari_bio_superposition.imaging.simulation.states import CellStates

Index = npt.NDArray[np.int64]

LONGEST_MITOCHONDRION_PX: Final = 48
MITOCHONDRIA_PX: Final = 400.0
"""Total length of the mitochondria of a living cell."""
FLUX: Final = 400.0
"""Sum of one dye over one cell, relative units times pixels."""


@dataclass(frozen=True, eq=False)
class OrganelleDrawing:
    """What two organelle dyes look like before the microscope, in relative units."""

    tmrm: FloatArray
    lysotracker: FloatArray
    mitochondria: BoolArray
    """Pixels on a mitochondrion of a living cell."""
    lysosomes: BoolArray
    """Pixels on a lysosome of a living cell."""


def draw_organelles(
    layout: CellLayout, states: CellStates, cytoplasm: Cytoplasm, rng: np.random.Generator
) -> OrganelleDrawing:
    """Draw the organelles of all cells of a field; dead cells keep little but haze."""
    tmrm, mitochondria = _draw_mitochondria(layout, states, cytoplasm, rng)
    lysotracker, lysosomes = _draw_lysosomes(layout, states, cytoplasm, rng)
    return OrganelleDrawing(tmrm, lysotracker, mitochondria, lysosomes)


def _draw_mitochondria(
    layout: CellLayout, states: CellStates, cytoplasm: Cytoplasm, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    flux = FLUX * layout.brightness[:, 0] * np.where(states.dead, 0.6, 1.0)
    bound = np.where(states.dead, 0.1, 0.88 - 0.72 * states.depolarization)
    points, cell, uneven = _grow_threads(layout, states, cytoplasm.neurites, rng)
    image = _at_depths(points, _share_out(flux * bound, uneven, cell), cytoplasm.shape)
    image += cytoplasm.fill(flux * (1 - bound))
    return image, _mask_threads(points[~states.dead[cell]], cytoplasm.shape)


def _grow_threads(
    layout: CellLayout, states: CellStates, neurites: Neurites, rng: np.random.Generator
) -> tuple[Points, Index, Vector]:
    """Return the points of all mitochondria, the cell of each, and its relative brightness.

    Fragmentation shortens the threads from about 25 px to 4 px; their total length stays.
    """
    mean_length = 25.0 * np.exp(-2.4 * np.where(states.dead, 0.9, states.fragmentation))
    total = MITOCHONDRIA_PX * np.exp(0.2 * rng.standard_normal(len(layout)))
    owner = np.repeat(np.arange(len(layout)), np.ceil(total / mean_length).astype(np.int64))
    n = len(owner)
    drawn = mean_length[owner] * rng.gamma(3.0, 1 / 3.0, n)
    length = np.clip(drawn, 2, LONGEST_MITOCHONDRION_PX).astype(np.int64)
    starts, heading = _start_around_nucleus(layout, owner, rng)
    far = rng.random(n) < NEURITE_SHARE
    starts[far], heading[far], _ = neurites.pick(owner[far], rng)
    starts[far] += rng.standard_normal((int(far.sum()), 2))
    curves, _ = _grow_by_length(starts, heading, length, rng)
    cell = np.repeat(owner, length)
    body = np.repeat(~far, length)
    dy, dx = (curves - layout.centres[cell]).T
    over_nucleus = body & (_nuclear_distance(layout, cell, dy, dx) < 1.03)
    uneven = np.repeat(np.exp(0.5 * rng.standard_normal(n)), length)
    keep = ~over_nucleus | (rng.random(len(cell)) < 0.04)
    return curves[keep], cell[keep], uneven[keep]


def _grow_by_length(
    starts: Points, heading: Vector, length: Index, rng: np.random.Generator
) -> tuple[Points, Vector]:
    """Grow curves of different lengths; points of one curve follow each other."""
    curves, direction = grow_curves(starts, heading, LONGEST_MITOCHONDRION_PX, 0.14, rng)
    used = np.arange(LONGEST_MITOCHONDRION_PX) < length[:, None]
    return curves[used], direction[used]


def _start_around_nucleus(
    layout: CellLayout, owner: Index, rng: np.random.Generator
) -> tuple[Points, Vector]:
    """Start in a ring around the nucleus, denser at its pole, heading mostly around it."""
    n = len(owner)
    lean = np.where(rng.random(n) < 0.55, 0.75, 2.5) * rng.standard_normal(n)
    theta = layout.pole[owner] + lean
    reach = layout.radius[owner] * (1.1 + rng.gamma(1.6, 0.2, n))
    starts = layout.centres[owner] + reach[:, None] * np.stack([np.sin(theta), np.cos(theta)], 1)
    around = theta + np.pi * (rng.integers(0, 2, n) - 0.5)
    return starts, around + 0.6 * rng.standard_normal(n)


def _nuclear_distance(layout: CellLayout, cell: Index, dy: Vector, dx: Vector) -> Vector:
    """Return the distance of points from the nucleus of their own cell, 1 on its contour."""
    cos, sin = np.cos(layout.angle)[cell], np.sin(layout.angle)[cell]
    stretch = np.sqrt(layout.elongation)[cell]
    u, v = (dx * cos + dy * sin) / stretch, (dy * cos - dx * sin) * stretch
    return np.asarray(np.hypot(u, v) / layout.radius[cell])


def _at_depths(points: Points, weight: Vector, shape: Shape) -> FloatArray:
    """Draw threads; every fourth one of some 50 points lies above or below the focal plane."""
    above = (np.arange(len(points)) // 50) % 4 == 0
    image = splat_points(points[~above], weight[~above], shape)
    image += gaussian_filter(splat_points(points[above], weight[above], shape), 1.8, truncate=2.5)
    return image


def _mask_threads(points: Points, shape: Shape) -> BoolArray:
    """Return the pixels within about one pixel of the middle of a thread."""
    line = gaussian_filter(splat_points(points, np.ones(len(points)), shape), 0.7, truncate=3)
    return np.asarray(line > 0.28)


def _draw_lysosomes(
    layout: CellLayout, states: CellStates, cytoplasm: Cytoplasm, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    flux = FLUX * layout.brightness[:, 1] * np.where(states.dead, 0.6, 1.0)
    bound = np.where(states.dead, 0.15, 0.35 + 0.4 * states.lysosome_size)
    centres, radii, cell = _place_lysosomes(layout, states, cytoplasm.neurites, rng)
    uneven = np.exp(0.65 * rng.standard_normal(len(cell)))
    per_area = _share_out(flux * bound, uneven * np.pi * radii**2, cell) / (np.pi * radii**2)
    image = draw_discs(centres, radii, 1.4 * per_area, cytoplasm.shape, domed=True)
    image += cytoplasm.fill(flux * (1 - bound))
    alive = ~states.dead[cell]
    ones = np.ones(int(alive.sum()))
    mask = draw_discs(centres[alive], radii[alive] + 0.4, ones, cytoplasm.shape) > 0.5
    return image, mask


def _place_lysosomes(
    layout: CellLayout, states: CellStates, neurites: Neurites, rng: np.random.Generator
) -> tuple[Points, Vector, Index]:
    """Return centres ``(n, 2)``, radii (px) and the cell of each lysosome."""
    crowd = np.where(
        states.dead, 5.0, (10 + 26 * states.lysosome_load) / (1 + states.lysosome_size)
    )
    owner = np.repeat(np.arange(len(layout)), rng.poisson(crowd))
    n = len(owner)
    size = (0.75 + 1.9 * states.lysosome_size)[owner] * np.exp(0.35 * rng.standard_normal(n))
    theta = rng.uniform(0, 2 * np.pi, n)
    reach = 1.15 + rng.gamma(2.0, 0.3, n)
    at_pole = rng.random(n) < states.perinuclear[owner]
    theta = np.where(at_pole, layout.pole[owner] + 0.38 * rng.standard_normal(n), theta)
    reach = np.where(at_pole, 1.22 + 0.18 * np.abs(rng.standard_normal(n)), reach)
    direction = np.stack([np.sin(theta), np.cos(theta)], axis=1)
    centres = layout.centres[owner] + (reach * layout.radius[owner])[:, None] * direction
    far = ~at_pole & (rng.random(n) < NEURITE_SHARE)
    centres[far] = neurites.pick(owner[far], rng)[0] + 0.8 * rng.standard_normal(
        (int(far.sum()), 2)
    )
    return centres, np.clip(size, 0.6, 4.5), owner


def _share_out(flux: Vector, weight: Vector, cell: Index) -> Vector:
    """Split the flux of each cell over its objects in proportion to their weight."""
    total = np.bincount(cell, weight, minlength=len(flux))
    return np.asarray(weight * (flux / np.maximum(total, 1e-9))[cell])
