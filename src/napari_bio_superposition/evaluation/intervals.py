"""Intervals by a bootstrap over groups (wells): patches of a well are no independent witnesses."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt


class Interval(NamedTuple):
    """Lower and upper end of a 95 % interval; nan where it cannot be had."""

    low: float
    high: float


UNKNOWN: Final = Interval(float("nan"), float("nan"))
N_RESAMPLES: Final = 1000
LEVEL: Final = 0.95


def share_interval(
    hits: npt.NDArray[np.bool_], groups: npt.ArrayLike, *, rng: np.random.Generator
) -> Interval:
    """Return the 95 % interval of the share of hits, resampling whole groups.

    Parameters
    ----------
    hits
        One truth value per row.
    groups
        Group of each row. With a single group the interval is ``(nan, nan)``.
    rng
        Decides the resamples.
    """
    return ratio_interval(hits.astype(float), np.ones(len(hits)), groups, rng=rng)


def ratio_interval(
    tops: npt.NDArray[np.floating],
    bottoms: npt.NDArray[np.floating],
    groups: npt.ArrayLike,
    *,
    rng: np.random.Generator,
) -> Interval:
    """Return the 95 % interval of ``sum(tops) / sum(bottoms)``, resampling whole groups."""
    _, codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    n_groups = int(codes.max(initial=-1)) + 1
    if n_groups < 2:
        return UNKNOWN
    top, bottom = np.bincount(codes, tops), np.bincount(codes, bottoms)
    drawn = rng.integers(n_groups, size=(N_RESAMPLES, n_groups))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = top[drawn].sum(1) / bottom[drawn].sum(1)
    return percentile_interval(values)


def bootstrap_groups(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    groups: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> Interval:
    """Return the 95 % interval of ``statistic(rows)``, resampling whole groups.

    Rows of a group that is drawn twice are given twice.
    """
    names, codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    if len(names) < 2:
        return UNKNOWN
    order = np.argsort(codes, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    values = [
        statistic(np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))]))
        for _ in range(n_resamples)
    ]
    return percentile_interval(np.array(values))


def percentile_interval(values: npt.NDArray[np.floating]) -> Interval:
    """Return the central 95 % of resampled values; those that are no numbers are left out."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return UNKNOWN
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
