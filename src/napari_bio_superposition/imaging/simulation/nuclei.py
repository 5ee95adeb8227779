"""Nuclei: contours, label image, chromatin, condensation, and the death dye in dead ones."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.types import FloatArray, LabelImage
from napari_bio_superposition.imaging.simulation.drawing import (
    Shape,
    Vector,
    draw_discs,
    smooth_noise,
    window,
)
from napari_bio_superposition.imaging.simulation.layout import (
    N_HARMONICS,
    NUCLEUS_RADIUS_PX,
    CellLayout,
)
from napari_bio_superposition.imaging.simulation.states import CellStates

DEAD_SHRINKAGE: Final = 0.66
"""Radius of a pyknotic nucleus relative to the living one."""
LIVE_DYE: Final = 0.015
"""Death dye in a living nucleus, relative to a dead one."""
LEAKY_DYE: Final = 0.2
"""The same in a living cell whose membrane has begun to leak."""


@dataclass(frozen=True, eq=False)
class NucleiDrawing:
    """What the nuclei of a field look like before the microscope, in relative units."""

    labels: LabelImage
    """1 to n, in the order of the cells; a hidden or outside cell has no pixel."""
    dna: FloatArray
    death_dye: FloatArray
    cover: FloatArray
    """Share of each pixel covered by a nucleus, ``[0, 1]``."""


def draw_nuclei(
    layout: CellLayout, states: CellStates, shape: Shape, rng: np.random.Generator
) -> NucleiDrawing:
    """Draw all nuclei of a field.

    Progression condenses the chromatin (more contrast, brighter spots). A dead nucleus is small,
    bright and smooth (pyknosis), keeps its DNA, and takes up the death dye.
    """
    layout = condense_dead(layout, states)
    outside, pixels, inside = _distance_from_contour(layout, shape)
    depth = np.clip((1 - outside) * layout.radius[:, None, None], -1, None)
    cover = np.clip(depth + 0.5, 0, 1)
    amplitude = layout.brightness[:, 2] * (NUCLEUS_RADIUS_PX / layout.radius) ** 2
    dome = cover * np.sqrt(np.clip(1.08 - 0.6 * outside**2, 0.2, None))

    def paint(values: npt.NDArray[np.floating]) -> FloatArray:
        flat = np.bincount(pixels[inside], values[inside], minlength=shape[0] * shape[1])
        return flat.reshape(shape).astype(np.float32)

    labels = _paint_labels(pixels, depth, inside, shape)
    texture = 1 + paint(cover * _contrast(states)[:, None, None]) * smooth_noise(shape, 1.6, rng)
    bright = paint(dome * amplitude[:, None, None]) * np.clip(texture, 0.25, None)
    covered = np.clip(paint(cover), 0, 1)
    spots = _draw_chromocenters(layout, states, amplitude, shape, rng) * covered
    uptake = _take_up_dye(states, rng) * layout.brightness[:, 3]
    dye = paint(cover * uptake[:, None, None])
    return NucleiDrawing(labels=labels, dna=bright + spots, death_dye=dye, cover=covered)


def condense_dead(layout: CellLayout, states: CellStates) -> CellLayout:
    """Return the layout with the nuclei of dead cells shrunken, rounder and knobbly."""
    dead = states.dead
    shrink = np.where(dead, DEAD_SHRINKAGE, 1.0 - 0.1 * states.condensation)
    return replace(
        layout,
        radius=layout.radius * shrink,
        elongation=np.where(dead, 1 + 0.4 * (layout.elongation - 1), layout.elongation),
        harmonics=layout.harmonics * np.where(dead, 1.8, 1.0)[:, None],
    )


def relative_distance(layout: CellLayout, dy: FloatArray, dx: FloatArray) -> FloatArray:
    """Return the distance from each cell's centre in units of its contour: 1 on the contour.

    ``dy`` and ``dx`` are offsets in px, ``(n, ...)``, one leading row per cell.
    """
    column = (slice(None),) + (None,) * (dy.ndim - 1)
    cos = np.cos(layout.angle).astype(np.float32)[column]
    sin = np.sin(layout.angle).astype(np.float32)[column]
    stretch = np.sqrt(layout.elongation).astype(np.float32)[column]
    u = (dx * cos + dy * sin) / stretch
    v = (dy * cos - dx * sin) * stretch
    radius = np.hypot(u, v)
    unit = (u + 1j * v) / np.maximum(radius, np.float32(1e-6))
    contour = np.ones_like(radius)
    power = unit
    for k in range(N_HARMONICS):  # harmonics 2, 3, ... as powers of exp(i theta)
        power = power * unit
        contour += (layout.harmonics[:, k].astype(np.complex64)[column] * power).real
    return np.asarray(radius / (contour * layout.radius.astype(np.float32)[column]))


def _distance_from_contour(
    layout: CellLayout, shape: Shape
) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    half = int(np.ceil(1.2 * np.max(layout.radius * np.sqrt(layout.elongation), initial=4) + 2))
    pixels, dy, dx, inside = window(layout.centres, half, shape)
    return relative_distance(layout, dy, dx), pixels, inside


def _paint_labels(
    pixels: npt.NDArray[np.int64],
    depth: npt.NDArray[np.floating],
    inside: npt.NDArray[np.bool_],
    shape: Shape,
) -> LabelImage:
    """Give each pixel to the nucleus whose contour encloses it deepest."""
    owned = inside & (depth > 0)
    cell = np.broadcast_to(np.arange(1, len(depth) + 1)[:, None, None], depth.shape)[owned]
    order = np.argsort(depth[owned], kind="stable")  # the deepest is painted last
    labels = np.zeros(shape[0] * shape[1], dtype=np.int32)
    labels[pixels[owned][order]] = cell[order]
    return labels.reshape(shape)


def _take_up_dye(states: CellStates, rng: np.random.Generator) -> Vector:
    """Return the death dye in each nucleus: much in dead, hardly any in living, some in leaky ones.

    Leaky cells are alive; their share rises with progression. They are the middle one of the three
    classes that the method specification (section 3) looks for in the dye.
    """
    leaky = rng.random(len(states)) < 0.06 + 0.12 * states.progression
    amount = np.select([states.dead, leaky], [1.0, LEAKY_DYE], LIVE_DYE)
    spread = np.where(states.dead, 0.15, 0.35)
    return np.asarray(amount * np.exp(spread * rng.standard_normal(len(states))))


def _contrast(states: CellStates) -> Vector:
    """Return the standard deviation of the chromatin texture relative to the mean."""
    return np.where(states.dead, 0.05, 0.10 + 0.22 * states.condensation)


def _draw_chromocenters(
    layout: CellLayout,
    states: CellStates,
    amplitude: Vector,
    shape: Shape,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw bright spots of compact chromatin, stronger with condensation, none in dead nuclei."""
    counts = np.where(states.dead, 0, rng.integers(3, 10, len(layout)))
    cell = np.repeat(np.arange(len(layout)), counts)
    n = len(cell)
    distance = 0.78 * np.sqrt(rng.random(n)) * layout.radius[cell]
    theta = rng.uniform(0, 2 * np.pi, n)
    stretch = np.sqrt(layout.elongation[cell])
    u, v = distance * np.cos(theta) * stretch, distance * np.sin(theta) / stretch
    cos, sin = np.cos(layout.angle[cell]), np.sin(layout.angle[cell])
    centres = layout.centres[cell] + np.stack([u * sin + v * cos, u * cos - v * sin], axis=1)
    strength = (0.25 + 0.9 * states.condensation[cell]) * amplitude[cell]
    strength = strength * np.exp(0.3 * rng.standard_normal(n))
    return draw_discs(centres, rng.uniform(0.8, 1.6, n), strength, shape)
