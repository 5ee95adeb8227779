"""Single features against known quantities and known masks, chosen on some wells, scored on others.

The best of many features is always good on the rows that it was chosen on. So it is chosen on
training wells and scored on others, and the null runs through the same choice.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from napari_bio_superposition.core.types import BoolArray, IntArray
from napari_bio_superposition.evaluation.intervals import Interval, bootstrap_groups
from napari_bio_superposition.evaluation.nulls import permutation_p, permute_within

_N_BOOTSTRAP = 200


@dataclass(frozen=True)
class BestFeature:
    """The feature that follows a quantity best.

    Parameters
    ----------
    feature
        Its column.
    score
        On wells that it was not chosen on: absolute rank correlation, or AUROC.
    interval
        95 % interval of it by a bootstrap over wells.
    null
        Mean score of the best feature for permuted quantities or foreign masks.
    p_value
        Share of such nulls that reach `score`.
    """

    feature: int
    score: float
    interval: Interval
    null: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Places:
    """Which rows choose, which rows score, and where they come from."""

    choose: IntArray
    score: IntArray
    groups: npt.NDArray[np.str_]
    plates: npt.NDArray[np.str_]

    def at(self, known: BoolArray) -> "Places":
        """Return the same for the known rows only; row numbers stay."""
        return Places(
            self.choose[known[self.choose]], self.score[known[self.score]], self.groups, self.plates
        )


def best_correlated(
    features: npt.NDArray[np.floating],
    quantity: npt.NDArray[np.floating],
    places: Places,
    *,
    rng: np.random.Generator,
    n_permutations: int = 100,
) -> BestFeature:
    """Return the single feature whose ranks follow *quantity* best, in either direction.

    Parameters
    ----------
    features
        ``(row, feature)``.
    quantity
        ``(row,)``; rows where it is not finite are left out.
    places
        Rows that choose and rows that score.
    rng
        Decides permutations (within plates) and bootstrap.
    """
    places = places.at(np.isfinite(quantity))
    choose, score = places.choose, places.score
    chosen_ranks, score_ranks = _ranks(features[choose]), _ranks(features[score])

    def best(values: npt.NDArray[np.floating]) -> tuple[int, float]:
        inside = _ranks(values[choose][:, None])[:, 0]
        outside = _ranks(values[score][:, None])[:, 0]
        found = int(np.argmax(np.abs(chosen_ranks.T @ inside)))
        direction = np.sign(chosen_ranks[:, found] @ inside) or 1.0
        return found, float(direction * (score_ranks[:, found] @ outside))

    feature, value = best(quantity)
    null = []
    for _ in range(n_permutations):
        shuffled = quantity.copy()
        rows = np.concatenate([choose, score])
        shuffled[rows] = quantity[rows[permute_within(places.plates[rows], rng=rng)]]
        null.append(best(shuffled)[1])
    sign = 1.0 if chosen_ranks[:, feature] @ _ranks(quantity[choose][:, None])[:, 0] >= 0 else -1.0
    interval = bootstrap_groups(
        lambda rows: sign * _correlation(features[score[rows], feature], quantity[score[rows]]),
        places.groups[score],
        rng=rng,
        n_resamples=_N_BOOTSTRAP,
    )
    return BestFeature(
        feature, value, interval, float(np.mean(null)), permutation_p(value, np.array(null))
    )


def best_agreeing(
    activations: npt.NDArray[np.floating],
    mask: BoolArray,
    foreign: BoolArray,
    places: Places,
    *,
    rng: np.random.Generator,
) -> BestFeature:
    """Return the feature whose activation tells the pixels of a mask from the others best.

    Parameters
    ----------
    activations
        At sampled places, ``(place, feature)``.
    mask
        Whether each place lies in the mask, ``(place,)``.
    foreign
        The same from masks of other patches, ``(null, place)``: what an agreement in layout alone
        would give.
    places
        Places that choose and places that score.
    rng
        Decides the bootstrap.
    """
    choose, score = places.choose, places.score
    inside, outside = _rank_columns(activations[choose]), _rank_columns(activations[score])
    feature, value = _best_area(inside, outside, mask[choose], mask[score])
    null = np.array([_best_area(inside, outside, m[choose], m[score])[1] for m in foreign])
    column = activations[score, feature]
    interval = bootstrap_groups(
        lambda rows: _area(_rank_columns(column[rows, None]), mask[score][rows])[0],
        places.groups[score],
        rng=rng,
        n_resamples=_N_BOOTSTRAP // 2,
    )
    return BestFeature(
        feature,
        value,
        interval,
        float(null.mean()) if len(null) else float("nan"),
        permutation_p(value, null),
    )


def area_under_curve(
    activations: npt.NDArray[np.floating], mask: BoolArray
) -> npt.NDArray[np.float64]:
    """Return the AUROC of each column for a mask; nan where the mask holds all places or none."""
    return _area(_rank_columns(activations), mask)


def _best_area(
    inside: npt.NDArray[np.float64],
    outside: npt.NDArray[np.float64],
    chosen_mask: BoolArray,
    scored_mask: BoolArray,
) -> tuple[int, float]:
    areas = _area(inside, chosen_mask)
    found = int(np.argmax(np.nan_to_num(areas, nan=-1.0)))
    return found, float(_area(outside[:, [found]], scored_mask)[0])


def _area(ranks: npt.NDArray[np.float64], mask: BoolArray) -> npt.NDArray[np.float64]:
    n_in = int(mask.sum())
    n_out = len(mask) - n_in
    if not n_in or not n_out:
        return np.full(ranks.shape[1], np.nan)
    return np.asarray((mask @ ranks - n_in * (n_in + 1) / 2) / (n_in * n_out))


def _rank_columns(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(rankdata(values, axis=0))


def _ranks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return ranks of each column, centred and of length one: their products are correlations."""
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(0)
    norms = np.linalg.norm(ranks, axis=0)
    return np.asarray(ranks / np.maximum(norms, 1e-12))


def _correlation(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    return float(_ranks(first[:, None])[:, 0] @ _ranks(second[:, None])[:, 0])
