"""Rank statistics of many columns at once: AUROC, rank-sum tests, adjusted p-values. No tables."""

import itertools
import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from napari_bio_superposition.core.types import BoolArray

FloatColumn = npt.NDArray[np.float64]
_MAX_ARRANGEMENTS: Final = 20_000
"""Up to here all ways to deal out wells to classes are tried; beyond, a normal law serves."""
_CHUNK: Final = 512


class RankSums(NamedTuple):
    """How the rows of a group rank among those of another, column by column."""

    auroc: FloatColumn
    """Chance that a row of the group is above one of the other, ties half."""
    p_value: FloatColumn
    """Two-sided rank-sum test by the normal approximation, with corrections for ties and
    continuity; 1 where nothing varies."""


def rank_sums(values: Any, is_first: BoolArray) -> RankSums:
    """Compare two groups of rows by their ranks.

    Parameters
    ----------
    values
        ``(n, n_columns)``, dense or sparse, all rows of both groups; compared as float32.
    is_first
        Rows of the first group; all others are the second.

    Returns
    -------
    RankSums
        ``(n_columns,)`` each; nan where a group is empty.
    """
    n, n_columns = values.shape
    n_first = int(is_first.sum())
    sums, ties = np.empty(n_columns), np.empty(n_columns)
    for start in range(0, n_columns, _CHUNK):
        block = np.ascontiguousarray(dense(values[:, start : start + _CHUNK]).T)
        for column, row in enumerate(block, start=start):
            sums[column], ties[column] = _rank_sum(row, is_first)
    n_second = n - n_first
    if min(n_first, n_second) == 0:
        return RankSums(np.full(n_columns, np.nan), np.full(n_columns, np.nan))
    above = sums - n_first * (n_first + 1) / 2
    expected = n_first * n_second / 2
    variance = expected / 6 * ((n + 1) - ties / (n * max(n - 1, 1)))
    z = np.maximum(np.abs(above - expected) - 0.5, 0) / np.sqrt(np.maximum(variance, 1e-300))
    p_value = np.where(variance > 0, 2 * stats.norm.sf(z), 1.0)
    return RankSums(above / (n_first * n_second), np.minimum(p_value, 1.0))


def _rank_sum(values: npt.NDArray[Any], is_first: BoolArray) -> tuple[float, float]:
    """Return the sum of the first group's mid-ranks, and ``sum(t^3 - t)`` over runs of ties.

    Sorting alone is several times faster than sorting with an index. So the group takes the place
    of the lowest bit of whole numbers that are ordered as the values are; values that differ in
    this bit alone, by 1e-7 of themselves, count as ties.
    """
    bits = (values.astype(np.float32) + np.float32(0)).view(np.int32)  # makes -0.0 a 0.0
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = np.sort((ordered & np.int32(~1)) | is_first)
    in_first = (keys & np.int32(1)).astype(bool)
    change = keys[1:] ^ keys[:-1]
    is_tie = np.concatenate([[False], (change >= 0) & (change <= 1), [False]])
    places = np.flatnonzero(in_first) + 1.0
    edges = np.flatnonzero(is_tie[1:] != is_tie[:-1])
    total, ties = float(places.sum()), 0.0
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        length = end - start + 1  # equal values at the places start + 1 to end + 1
        low, high = np.searchsorted(places, [start + 1, end + 1.5])
        total += (high - low) * (start + end + 2) / 2 - float(places[low:high].sum())
        ties += float(length) ** 3 - length
    return total, ties


def rank_sum_p(first: FloatColumn, second: FloatColumn) -> FloatColumn:
    """Return the two-sided p-value of the rank-sum test, column by column.

    Exact, ties included, as long as all arrangements of the rows can be tried; otherwise by the
    normal approximation with correction for ties and continuity.

    Parameters
    ----------
    first, second
        One row per well, ``(n_1, n_features)`` and ``(n_2, n_features)``.

    Returns
    -------
    numpy.ndarray
        ``(n_features,)``; nan where a class has a single well; 1 where nothing varies.
    """
    n_first, n_second = len(first), len(second)
    if min(n_first, n_second) < 2:
        return np.full(first.shape[1], np.nan)
    n_arrangements = math.comb(n_first + n_second, n_first)
    both = np.concatenate([first, second])
    if n_arrangements > _MAX_ARRANGEMENTS:
        p_value = stats.mannwhitneyu(first, second, axis=0, method="asymptotic").pvalue
        return np.where(np.ptp(both, axis=0) == 0, 1.0, p_value)
    # Doubled mid-ranks are whole numbers, so that sums can be compared without rounding.
    ranks = np.rint(2 * stats.rankdata(both, axis=0))
    expected = n_first * (len(both) + 1)
    observed = np.abs(ranks[:n_first].sum(axis=0) - expected)
    arrangements = np.zeros((n_arrangements, len(both)))
    for row, members in enumerate(itertools.combinations(range(len(both)), n_first)):
        arrangements[row, list(members)] = 1
    p_value = np.empty(first.shape[1])
    for start in range(0, len(p_value), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        possible = np.abs(arrangements @ ranks[:, chunk] - expected)
        p_value[chunk] = (possible >= observed[chunk]).mean(axis=0)
    return p_value


def adjust_p(p_value: FloatColumn) -> FloatColumn:
    """Return q-values by Benjamini and Hochberg; nan stays nan and does not count."""
    q_value = np.full(len(p_value), np.nan)
    known = ~np.isnan(p_value)
    if known.any():
        q_value[known] = stats.false_discovery_control(p_value[known])
    return q_value


def column_means(values: Any) -> FloatColumn:
    """Return the mean of each column of a dense or sparse matrix; 0 without rows."""
    if values.shape[0] == 0:
        return np.zeros(values.shape[1])
    return np.asarray(values.mean(axis=0, dtype=np.float64)).ravel()


def unit_means(values: Any, unit: npt.NDArray[Any], chosen: BoolArray) -> FloatColumn:
    """Return the mean of the chosen rows per unit (well), ``(n_units, n_columns)``."""
    rows = np.flatnonzero(chosen)
    _, well = np.unique(unit[rows], return_inverse=True)
    share = 1 / np.bincount(well)
    average = sparse.csr_matrix((share[well], (well, np.arange(len(rows)))))
    return np.asarray(dense(average @ values[rows]), dtype=np.float64)


def dense(values: Any) -> npt.NDArray[Any]:
    """Return a dense or sparse matrix as an array."""
    return np.asarray(values.toarray() if sparse.issparse(values) else values)
