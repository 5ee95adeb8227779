"""Is it one shape seen twice? Couplings of disjoint random cells, across and within modalities.

Two unrelated data sets, each with a structure of its own, beat every geometry without structure.
What tells them from one shape measured twice is how well, and how reproducibly, disjoint cells fit:
cells of one modality set the floor of the loss, which holds sampling, noise and the solver's blur,
and couplings of other cells have to map the shapes onto one another in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from napari_bio_superposition.alignment.agreement import measure_agreement
from napari_bio_superposition.alignment.basins import search_basins
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.coupling import PERFECT_LOSS
from napari_bio_superposition.alignment.geodesics import METRICS, find_neighbours, prepare_points
from napari_bio_superposition.alignment.gromov import centre_cost
from napari_bio_superposition.alignment.polish import polish_plan
from napari_bio_superposition.alignment.survey import measure_paths
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray

Matrix = npt.NDArray[np.float64]
ACROSS, IMAGES, RNA = "across", "images", "rna"
"""What is coupled with what in `HalvesComparison.losses`."""
_FEWEST = 30
_MOST = 200
"""Cells in a half; the ratios of losses depend on it, and the limits of the verdict are for it."""
_NEIGHBOURS, _FEWEST_NEIGHBOURS = 0.075, 10
"""Share of the cells, and least number of them, that are neighbours in the graphs."""
_EPSILON = 5e-3
_DRAWS = 6
_FIRST_LOOK = 2
_CLEARLY_DIFFERENT = 4.0
"""Excess over the tighter modality, at twice the limit of the verdict, that more draws would not
bring below it."""
_STARTS = 12
_RESAMPLES = 2
"""Path lengths are averaged over few graphs: all sides are treated alike, only time counts."""
_NEAREST = 3
_STEP = "Comparing halves"


@dataclass(frozen=True)
class HalvesComparison:
    """Losses and maps of disjoint random cells.

    Parameters
    ----------
    losses
        ``across`` modalities, and between halves of the ``images`` and of the ``rna``: the refined
        loss of each coupling; comparable with one another only.
    reproduced
        Agreement of two couplings across modalities that share no cell, one per draw: 1 the same
        map, 0 unrelated, below 0 flipped.
    """

    losses: Mapping[str, tuple[float, ...]]
    reproduced: tuple[float, ...]

    @property
    def excess(self) -> float:
        """Loss across modalities over the mean of those within; near 1 for one shape seen twice."""
        across, images, rna = self._medians()
        return across / max((images + rna) / 2, PERFECT_LOSS)

    @property
    def excess_over_tighter(self) -> float:
        """Loss across modalities over that within the modality that fits itself better.

        A noisy or ragged modality fits nothing well, itself included, which must not excuse that
        it does not fit the other one.
        """
        across, images, rna = self._medians()
        return across / max(min(images, rna), PERFECT_LOSS)

    @property
    def reproducibility(self) -> float:
        """Median agreement of couplings that share no cell."""
        return float(np.median(self.reproduced))

    def _medians(self) -> tuple[float, float, float]:
        across, images, rna = (float(np.median(self.losses[key])) for key in (ACROSS, IMAGES, RNA))
        return across, images, rna


def compare_halves(
    features: tuple[Matrix, Matrix], config: CouplingConfig, *, rng: np.random.Generator
) -> Job[HalvesComparison | None]:
    """Couple random cells across modalities, and disjoint random cells within each of them.

    Parameters
    ----------
    features
        ``(n, d)`` of the images and ``(m, e)`` of the RNA.
    config
        Metric, edge weights, scale and device. Neighbours and epsilon are always the same here,
        because the limits of the verdict were found with them.
    rng
        Draws cells and starts.

    Returns
    -------
    HalvesComparison or None
        ``None`` where there are too few cells for halves.
    """
    n_drawn = min(_MOST, *(len(side) // 2 for side in features))
    if n_drawn < _FEWEST:
        return None
    setting = _Setting(config, rng)
    losses: dict[str, list[float]] = {ACROSS: [], IMAGES: [], RNA: []}
    reproduced = []
    for draw in range(_DRAWS):
        image, rna = (_draw_halves(side, n_drawn, setting) for side in features)
        plans = []
        for number, (name, pair) in enumerate(
            [
                (ACROSS, (image.costs[0], rna.costs[0])),
                (ACROSS, (image.costs[1], rna.costs[1])),
                (IMAGES, image.costs),
                (RNA, rna.costs),
            ]
        ):
            report = Progress(_STEP, 4 * draw + number, 4 * _DRAWS, "couplings")
            plan, loss = yield from _couple(pair, setting, report)
            losses[name].append(loss)
            plans.append(plan)
        carried = image.between @ plans[1] @ rna.between.T
        same_cells: FloatArray = np.asarray(carried / carried.sum(), dtype=np.float32)
        reproduced.append(measure_agreement(plans[0], same_cells))
        comparison = HalvesComparison(
            {name: tuple(found) for name, found in losses.items()}, tuple(reproduced)
        )
        if draw + 1 >= _FIRST_LOOK and comparison.excess_over_tighter > _CLEARLY_DIFFERENT:
            break
    return comparison


@dataclass(frozen=True, eq=False)
class _Setting:
    """What all couplings share."""

    config: CouplingConfig
    rng: np.random.Generator


@dataclass(frozen=True, eq=False)
class _Halves:
    """Costs of two halves of one modality, and which of their cells are close to one another."""

    costs: tuple[FloatArray, FloatArray]
    between: Matrix


def _draw_halves(features: Matrix, n_drawn: int, setting: _Setting) -> _Halves:
    drawn = setting.rng.permutation(len(features))[: 2 * n_drawn]
    points = [prepare_points(features[drawn], metric) for metric in METRICS[setting.config.metric]]
    first, second = [part[:n_drawn] for part in points], [part[n_drawn:] for part in points]
    costs = _measure_cost(first, setting), _measure_cost(second, setting)
    between = [match_nearest(*halves) for halves in zip(first, second, strict=True)]
    return _Halves(costs, np.asarray(np.mean(between, axis=0)))


def match_nearest(first: Matrix, second: Matrix) -> Matrix:
    """Return a plan between two sets of points of one space: each with its three nearest.

    Half of the mass goes from the first to the second, half the other way, so that no cell is left
    without a partner.
    """
    distances = cdist(first, second)
    plan: Matrix = np.zeros_like(distances)
    for table, out in ((distances, plan), (distances.T, plan.T)):
        nearest: IntArray = np.argpartition(table, _NEAREST, axis=1)[:, :_NEAREST]
        rows = np.repeat(np.arange(len(table)), _NEAREST)
        np.add.at(out, (rows, nearest.ravel()), 0.5 / (len(table) * _NEAREST))
    return plan


def _measure_cost(points: Sequence[Matrix], setting: _Setting) -> FloatArray:
    n, rng = len(points[0]), setting.rng
    k = max(_FEWEST_NEIGHBOURS, round(_NEIGHBOURS * n))
    neighbours = [find_neighbours(by_metric, min(2 * k, n - 1)) for by_metric in points]
    resamples = tuple(
        np.sort(rng.choice(n, round(0.8 * n), replace=False)) for _ in range(_RESAMPLES)
    )
    distances, _ = measure_paths(neighbours, np.arange(n), k, setting.config, resamples)
    return np.asarray((distances + distances.T) / 2)


def _couple(
    costs: tuple[FloatArray, FloatArray], setting: _Setting, report: Progress
) -> Job[tuple[FloatArray, float]]:
    """Return the best plan as the search found it, and its loss after refinement."""
    device = setting.config.device
    centred = centre_cost(costs[0], device=device), centre_cost(costs[1], device=device)
    search = search_basins(centred, [_EPSILON], _STARTS, keep=3, rng=setting.rng, report=report)
    plan = (yield from search)[_EPSILON][0].plan
    uniform = np.full(len(costs[0]), 1 / len(costs[0]))
    return plan, polish_plan(costs, (uniform, uniform), plan)[1]
