"""How alike two representations of the same patches are: linear CKA, plain and debiased."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.evaluation.intervals import Interval
from napari_bio_superposition.evaluation.nulls import permute_within

_FEWEST_ROWS: Final = 4


@dataclass(frozen=True)
class Similarity:
    """Linear CKA of two representations.

    Parameters
    ----------
    cka
        As published; grows with the number of features where rows are few.
    debiased
        By the unbiased estimator of HSIC: 0 in expectation for unrelated features.
    interval
        Of the debiased value, 95 % by a jackknife over groups.
    null
        Mean of the debiased value with the rows of one side permuted within plates.
    p_value
        Share of such permutations that reach it.
    """

    cka: float
    debiased: float
    interval: Interval
    null: float
    p_value: float


def compare_features(
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    groups: npt.ArrayLike,
    plates: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_permutations: int = 50,
) -> Similarity:
    """Compare two representations of the same rows, in the same order (specification, 6.3).

    Raises
    ------
    TableError
        Where the numbers of rows differ or are below 4.
    """
    if len(first) != len(second) or len(first) < _FEWEST_ROWS:
        raise TableError(
            f"CKA compares the same rows, at least {_FEWEST_ROWS}; here are {len(first)} and "
            f"{len(second)}. Join the tables by patch id first."
        )
    a, b = _gram(first), _gram(second)
    debiased = _debiased(a, b)
    null = np.array(
        [
            _debiased(a, b[np.ix_(order, order)])
            for order in (permute_within(plates, rng=rng) for _ in range(n_permutations))
        ]
    )
    return Similarity(
        cka=linear_cka(first, second),
        debiased=debiased,
        interval=_jackknife(a, b, groups, debiased),
        null=float(null.mean()),
        p_value=float((1 + (null >= debiased).sum()) / (1 + n_permutations)),
    )


def linear_cka(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    """Return ``|Y'X|^2 / (|X'X| |Y'Y|)`` of column-centred features; 1 for a rotation."""
    a, b = _gram(first - first.mean(0)), _gram(second - second.mean(0))
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def _gram(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    features = (features - features.mean(0)).astype(np.float64)
    return np.asarray(features @ features.T)


def _debiased(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    scale = _unbiased_hsic(a, a) * _unbiased_hsic(b, b)
    return float(_unbiased_hsic(a, b) / np.sqrt(scale)) if scale > 0 else float("nan")


def _unbiased_hsic(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Return the estimator of Song et al. (2012), J. Mach. Learn. Res. 13, 1393."""
    n = len(a)
    rows_a, rows_b = a.sum(1) - a.diagonal(), b.sum(1) - b.diagonal()
    paired = float((a * b).sum() - (a.diagonal() * b.diagonal()).sum())
    both = float(rows_a.sum() * rows_b.sum()) / ((n - 1) * (n - 2))
    crossed = 2 * float(rows_a @ rows_b) / (n - 2)
    return (paired + both - crossed) / (n * (n - 3))


def _jackknife(
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    groups: npt.ArrayLike,
    value: float,
) -> Interval:
    """Return the interval from leaving out one group at a time."""
    names = np.asarray(groups).astype(str)
    unique = np.unique(names)
    left = []
    for name in unique:
        kept = np.flatnonzero(names != name)
        if len(kept) >= _FEWEST_ROWS:
            left.append(_debiased(a[np.ix_(kept, kept)], b[np.ix_(kept, kept)]))
    n = len(left)
    if n < 2:
        return Interval(float("nan"), float("nan"))
    spread = 1.96 * float(np.sqrt((n - 1) / n * np.square(np.array(left) - np.mean(left)).sum()))
    return Interval(value - spread, value + spread)
