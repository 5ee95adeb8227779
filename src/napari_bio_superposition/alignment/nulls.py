"""Is the loss lower than by chance? Losses against rebuilt geometries of one modality.

Permuting cells would change nothing: Gromov-Wasserstein does not see their order. So the cells of
one modality are rebuilt, and coupled in exactly the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from napari_bio_superposition.alignment.basins import search_basins
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.geodesics import METRICS, find_neighbours, prepare_points
from napari_bio_superposition.alignment.gromov import CentredCost, centre_cost
from napari_bio_superposition.alignment.survey import measure_paths
from napari_bio_superposition.core.progress import Job, Progress

Matrix = npt.NDArray[np.float64]

SHUFFLED: Final = "columns shuffled"
GAUSSIAN: Final = "cloud of the same covariance"
WITHIN: Final = "columns shuffled within clusters"
KINDS: Final = (SHUFFLED, GAUSSIAN, WITHIN)
_STARTS = 9
_STEP: Final = "Comparing with rebuilt geometries"
_N_OBSERVED = 3


@dataclass(frozen=True)
class NullComparison:
    """Losses of the data and of rebuilt geometries, all found in the same way.

    Parameters
    ----------
    observed
        Loss of the data, one value per draw of cells.
    losses
        Kind of null to its losses; images and RNA take turns at being rebuilt.
    """

    observed: tuple[float, ...]
    losses: Mapping[str, tuple[float, ...]]

    def z(self, kind: str) -> float:
        """Return how many standard deviations of the null the data lie below its mean.

        Nulls of images and of RNA have different means, so that each side has its z; the smaller
        one counts.
        """
        sides = [np.array(self.losses[kind][side::2]) for side in (0, 1)]
        return min(self._z_of(side) for side in sides if len(side) > 1)

    def _z_of(self, null: Matrix) -> float:
        spread = max(float(null.std(ddof=1)), 0.01 * float(null.mean()))
        return float((null.mean() - np.mean(self.observed)) / spread)

    def p_value(self, kind: str) -> float:
        """Return the empirical p-value, never below ``1 / (number of nulls + 1)``."""
        null = np.array(self.losses[kind])
        return float((1 + np.sum(null <= np.mean(self.observed))) / (1 + len(null)))


def compare_with_nulls(
    features: tuple[Matrix, Matrix],
    k: int,
    epsilon: float,
    config: CouplingConfig,
    *,
    rng: np.random.Generator,
) -> Job[NullComparison]:
    """Couple random cells of both modalities, then the same with one modality rebuilt.

    Image and RNA take turns at being rebuilt.

    Parameters
    ----------
    features
        ``(n, d)`` of the images and ``(m, e)`` of the RNA.
    k
        Neighbours of the cells; reduced with the share of cells that is drawn.
    epsilon
        Weight of the entropy.
    config
        Metric, scale, and numbers of nulls and cells.
    rng
        Draws cells and nulls.
    """
    setting = _Setting(k, epsilon, config, (len(features[0]), len(features[1])))
    n_draws = _N_OBSERVED if max(setting.sizes) > config.n_null_cells else 1
    total = n_draws + len(KINDS) * config.n_nulls
    observed: list[float] = []
    losses: dict[str, tuple[float, ...]] = {}
    for done in range(n_draws):
        report = Progress(_STEP, done, total, "couplings")
        drawn = _draw(features, config.n_null_cells, rng)
        observed.append((yield from _find_loss(drawn, setting, rng, report)))
    for number, kind in enumerate(KINDS):
        found = []
        for turn in range(config.n_nulls):
            done = n_draws + number * config.n_nulls + turn
            report = Progress(_STEP, done, total, "couplings")
            pair = _rebuild_one(_draw(features, config.n_null_cells, rng), kind, turn % 2, rng)
            found.append((yield from _find_loss(pair, setting, rng, report)))
        losses[kind] = tuple(found)
    return NullComparison(observed=tuple(observed), losses=losses)


@dataclass(frozen=True)
class _Setting:
    """What all couplings of one comparison share; sizes are those of the whole tables."""

    k: int
    epsilon: float
    config: CouplingConfig
    sizes: tuple[int, int]


def _rebuild_one(
    drawn: tuple[Matrix, Matrix], kind: str, side: int, rng: np.random.Generator
) -> tuple[Matrix, Matrix]:
    rebuilt = rebuild_geometry(drawn[side], kind, rng=rng)
    return (rebuilt, drawn[1]) if side == 0 else (drawn[0], rebuilt)


def rebuild_geometry(features: Matrix, kind: str, *, rng: np.random.Generator) -> Matrix:
    """Return cells that keep a part of the structure of *features* and lose the rest.

    ``columns shuffled`` keeps each column's values; ``cloud of the same covariance`` is Gaussian;
    ``columns shuffled within clusters`` keeps the centres of k-means clusters, hence everything at
    the level of classes, and loses what tells the cells of one cluster apart.
    """
    if kind == SHUFFLED:
        return rng.permuted(features, axis=0)
    if kind == GAUSSIAN:
        centred = features - features.mean(axis=0)
        _, scales, axes = np.linalg.svd(centred, full_matrices=False)
        drawn = rng.standard_normal((len(features), len(scales)))
        return np.asarray(
            features.mean(axis=0) + drawn @ (scales[:, None] * axes) / np.sqrt(len(features))
        )
    n_clusters = int(np.clip(len(features) // 25, 2, 8))
    seed = int(rng.integers(2**31 - 1))
    labels = KMeans(n_clusters, n_init=3, random_state=seed).fit_predict(features)
    rebuilt = features.copy()
    for label in np.unique(labels):
        inside = labels == label
        rebuilt[inside] = rng.permuted(features[inside], axis=0)
    return rebuilt


def _draw(
    features: tuple[Matrix, Matrix], n_cells: int, rng: np.random.Generator
) -> tuple[Matrix, Matrix]:
    """Draw cells of both modalities, each on its own."""
    drawn = [
        table[np.sort(rng.choice(len(table), min(n_cells, len(table)), replace=False))]
        for table in features
    ]
    return drawn[0], drawn[1]


def _find_loss(
    drawn: tuple[Matrix, Matrix], setting: _Setting, rng: np.random.Generator, report: Progress
) -> Job[float]:
    costs = [
        _measure_cost(cells, _reduced(setting.k, len(cells), size), setting.config)
        for cells, size in zip(drawn, setting.sizes, strict=True)
    ]
    basins = yield from search_basins(
        (costs[0], costs[1]), [setting.epsilon], _STARTS, keep=3, rng=rng, report=report
    )
    return basins[setting.epsilon][0].loss


def _reduced(k: int, n_drawn: int, n: int) -> int:
    """Return the number of neighbours that is the same share of fewer cells, but at least 10."""
    return min(max(min(k, 10), round(k * n_drawn / n)), n_drawn - 1)


def _measure_cost(features: Matrix, k: int, config: CouplingConfig) -> CentredCost:
    neighbours = [
        find_neighbours(prepare_points(features, metric), k) for metric in METRICS[config.metric]
    ]
    distances, _ = measure_paths(neighbours, np.arange(len(features)), k, config)
    return centre_cost((distances + distances.T) / 2, device=config.device)
