"""Shape of dictionaries and of clouds of features: cosines, Welch's bound, effective ranks."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.evaluation.intervals import UNKNOWN, Interval, percentile_interval

_N_RANDOM: Final = 5
_N_BOOTSTRAP: Final = 200
_MOST_ROWS: Final = 4096
"""Directions of which all pairs are looked at; more are sampled."""
EffectiveRank = Literal["singular_values", "covariance_eigenvalues"]
"""What the entropy is taken of: singular values, as published in code and figures, or their
squares, as the paper's text says. The two differ much."""


@dataclass(frozen=True)
class DirectionGeometry:
    """How crowded unit directions are (method specification, section 9).

    Parameters
    ----------
    n_directions, width
        How many, and in how many dimensions.
    mean_abs_cosine, sd_abs_cosine
        Over all pairs.
    interval
        95 % interval of the mean by a bootstrap over directions.
    mean_largest_cosine
        Mean over directions of the largest absolute cosine to another one: duplicates show here.
    random_mean_abs_cosine, random_interval
        The same of as many random directions: the null.
    welch_rms_cosine
        No set of so many directions has a smaller root mean square cosine.
    rms_cosine
        To compare with it.
    effective_rank
        Of the directions, un-centred singular values; at most `width`.
    """

    n_directions: int
    width: int
    mean_abs_cosine: float
    interval: Interval
    sd_abs_cosine: float
    mean_largest_cosine: float
    rms_cosine: float
    random_mean_abs_cosine: float
    random_interval: Interval
    welch_rms_cosine: float
    effective_rank: float


def measure_directions(directions: FloatArray, *, rng: np.random.Generator) -> DirectionGeometry:
    """Measure the directions of a dictionary, ``(direction, width)``, alive ones only.

    Parameters
    ----------
    directions
        Of any length but zero; at most 4096 of them are compared, chosen by *rng*.
    rng
        Also draws the random directions that they are compared with.
    """
    n, width = directions.shape
    if n > _MOST_ROWS:
        directions = directions[rng.choice(n, _MOST_ROWS, replace=False)]
    cosines, largest = _pair_cosines(directions)
    randoms = [
        float(_pair_cosines(rng.standard_normal(directions.shape, dtype=np.float32))[0].mean())
        for _ in range(_N_RANDOM)
    ]
    return DirectionGeometry(
        n_directions=n,
        width=width,
        mean_abs_cosine=_mean(cosines),
        interval=_interval(directions, rng),
        sd_abs_cosine=float(cosines.std()) if len(cosines) else float("nan"),
        mean_largest_cosine=_mean(largest),
        rms_cosine=float(np.sqrt(_mean(cosines**2))),
        random_mean_abs_cosine=_mean(np.array(randoms)),
        random_interval=percentile_interval(np.array(randoms)),
        welch_rms_cosine=welch_bound(n, width),
        effective_rank=_entropy_rank(np.linalg.svd(_unit(directions), compute_uv=False)),
    )


def welch_bound(n_directions: int, width: int) -> float:
    """Return the smallest possible root mean square cosine of so many directions."""
    if n_directions <= width:
        return 0.0
    return float(np.sqrt((n_directions - width) / (width * (n_directions - 1))))


def effective_rank(
    features: npt.NDArray[np.floating], *, definition: EffectiveRank = "singular_values"
) -> float:
    """Return the exponential of the entropy of a cloud's spectrum (specification, 6.4).

    Parameters
    ----------
    features
        ``(row, feature)``; centred here.
    definition
        Which spectrum is normalised to a distribution.
    """
    centred = features - features.mean(0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64)).clip(min=0)
    return _entropy_rank(np.sqrt(eigenvalues) if definition == "singular_values" else eigenvalues)


def effective_rank_interval(
    features: npt.NDArray[np.floating], groups: npt.ArrayLike, *, n_blocks: int = 12
) -> Interval:
    """Return the 95 % interval of the singular-value form by a jackknife over blocks of groups.

    A bootstrap would repeat rows, which lowers a rank.
    """
    names, codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    n = min(n_blocks, len(names))
    if n < 2:
        return UNKNOWN
    value = effective_rank(features)
    left = np.array([effective_rank(features[codes % n != block]) for block in range(n)])
    spread = 1.96 * float(np.sqrt((n - 1) / n * np.square(left - left.mean()).sum()))
    return Interval(value - spread, value + spread)


def match_directions(first: FloatArray, second: FloatArray) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair of a one-to-one matching that makes their sum largest.

    Parameters
    ----------
    first, second
        Directions of two dictionaries, ``(direction, width)``. Where the numbers differ, those of
        the smaller one are matched.
    """
    cosines = _unit(first) @ _unit(second).T
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return np.asarray(cosines[rows, columns], dtype=np.float64)


def _pair_cosines(
    directions: FloatArray,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the absolute cosine of all pairs, and the largest one of each direction."""
    unit = _unit(directions)
    cosines = np.abs(unit @ unit.T)
    np.fill_diagonal(cosines, 0)
    upper = cosines[np.triu_indices(len(unit), 1)]
    return upper.astype(np.float64), cosines.max(1, initial=0).astype(np.float64)


def _interval(directions: FloatArray, rng: np.random.Generator) -> Interval:
    """Return the interval of the mean absolute cosine, resampling directions."""
    n = len(directions)
    if n < 3:
        return UNKNOWN
    cosines = np.abs(_unit(directions) @ _unit(directions).T)
    np.fill_diagonal(cosines, 0)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=_N_BOOTSTRAP).astype(np.float32)
    sums = ((counts @ cosines) * counts).sum(1)
    pairs = n * n - np.square(counts).sum(1)  # 0 where one direction was drawn each time
    return percentile_interval(sums[pairs > 0] / pairs[pairs > 0])


def _unit(directions: FloatArray) -> FloatArray:
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions / np.maximum(norms, 1e-12), dtype=np.float32)


def _entropy_rank(spectrum: npt.NDArray[np.floating]) -> float:
    positive = spectrum[spectrum > 1e-12 * max(float(spectrum.max(initial=0)), 1e-300)]
    if not len(positive):
        return 0.0
    shares = positive / positive.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _mean(values: npt.NDArray[np.floating]) -> float:
    return float(values.mean()) if len(values) else float("nan")
