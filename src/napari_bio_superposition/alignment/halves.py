"""Do the modalities fit each other as well as halves of one modality fit? No rebuilt geometries.

Two unrelated data sets, each with a structure of its own, beat every geometry without structure.
What tells them from one shape measured twice is a floor: how well disjoint cells of the *same*
modality fit, which holds sampling, noise and the solver's blur.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.basins import search_basins
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.coupling import ACROSS, IMAGES, RNA
from napari_bio_superposition.alignment.geodesics import find_neighbours, prepare_points
from napari_bio_superposition.alignment.gromov import centre_cost
from napari_bio_superposition.alignment.polish import polish_plan
from napari_bio_superposition.alignment.survey import measure_paths
from napari_bio_superposition.core.progress import Job, Progress

Matrix = npt.NDArray[np.float64]
_FEWEST = 30
_DRAWS = 7
_STARTS = 12
_RESAMPLES = 2
"""Path lengths are averaged over few graphs: all sides are treated alike, only time counts."""


def compare_halves(
    features: tuple[Matrix, Matrix],
    k: int,
    epsilon: float,
    config: CouplingConfig,
    *,
    rng: np.random.Generator,
) -> Job[Mapping[str, tuple[float, ...]]]:
    """Couple random cells across modalities, and disjoint random cells within each of them.

    Parameters
    ----------
    features
        ``(n, d)`` of the images and ``(m, e)`` of the RNA.
    k, epsilon
        As chosen for all cells; k is reduced with the share of cells that is drawn.
    config
        Metric, scale, and number of cells to draw.
    rng
        Draws cells and starts.

    Returns
    -------
    dict
        ``across``, ``images`` and ``rna`` to losses after refinement, one per draw; empty where
        there are too few cells for halves.
    """
    n_drawn = min(config.n_null_cells, *(len(side) // 2 for side in features))
    if n_drawn < _FEWEST:
        return {}
    config = replace(config, n_resamples=_RESAMPLES)
    losses: dict[str, list[float]] = {ACROSS: [], IMAGES: [], RNA: []}
    for draw in range(_DRAWS):
        halves = [_draw_halves(side, n_drawn, rng) for side in features]
        costs = [
            [_measure_cost(half, _reduce(k, n_drawn, len(side)), config, rng) for half in pair]
            for pair, side in zip(halves, features, strict=True)
        ]
        pairs = {
            ACROSS: (costs[0][0], costs[1][0]),
            IMAGES: (costs[0][0], costs[0][1]),
            RNA: (costs[1][0], costs[1][1]),
        }
        for number, (name, pair) in enumerate(pairs.items()):
            report = Progress("Comparing halves", 3 * draw + number, 3 * _DRAWS, "couplings")
            losses[name].append((yield from _find_loss(pair, epsilon, config, rng, report)))
    return {name: tuple(found) for name, found in losses.items()}


def _draw_halves(features: Matrix, n_drawn: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    drawn = rng.permutation(len(features))[: 2 * n_drawn]
    return features[drawn[:n_drawn]], features[drawn[n_drawn:]]


def _reduce(k: int, n_drawn: int, n: int) -> int:
    """Return the number of neighbours that is the same share of fewer cells, but at least 10."""
    return min(max(min(k, 10), round(k * n_drawn / n)), n_drawn - 1)


def _measure_cost(
    cells: Matrix, k: int, config: CouplingConfig, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    neighbours = find_neighbours(prepare_points(cells, config.metric), min(2 * k, len(cells) - 1))
    share = round(0.8 * len(cells))
    resamples = tuple(
        np.sort(rng.choice(len(cells), share, replace=False)) for _ in range(config.n_resamples)
    )
    distances, _ = measure_paths(neighbours, np.arange(len(cells)), k, config, resamples)
    return np.asarray((distances + distances.T) / 2)


def _find_loss(
    costs: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    epsilon: float,
    config: CouplingConfig,
    rng: np.random.Generator,
    report: Progress,
) -> Job[float]:
    centred = (
        centre_cost(costs[0], device=config.device),
        centre_cost(costs[1], device=config.device),
    )
    found = yield from search_basins(centred, [epsilon], _STARTS, keep=3, rng=rng, report=report)
    uniform = np.full(len(costs[0]), 1 / len(costs[0]))
    return polish_plan(costs, (uniform, uniform), found[epsilon][0].plan)[1]
