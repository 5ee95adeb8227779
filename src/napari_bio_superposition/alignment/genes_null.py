"""From a statistic and its permutations to z, p and q. No regression."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import IntArray

Vector = npt.NDArray[Any]
_LEAST_SPREAD = 1e-4


@dataclass(frozen=True, eq=False)
class GeneScores:
    """R2 of every gene beside its own null; every array is ``(n_genes,)``.

    Parameters
    ----------
    r2
        On held-out wells.
    null_mean, null_sd
        Of R2 after permuting the coupling, or the RNA cells (`genes_halves`).
    z
        ``(r2 - null_mean) / max(null_sd, 1e-4)``.
    p, q
        Share of permutations that do as well, never below ``1 / (n + 1)`` unless those of all genes
        are taken together; Benjamini-Hochberg.
    """

    r2: Vector
    null_mean: Vector
    null_sd: Vector
    z: Vector
    p: Vector
    q: Vector
    n_permutations: int


def compare_with_permutations(
    observed: Vector, permuted: Vector, *, pooled: bool = False
) -> GeneScores:
    """Return z, p and q of statistics ``(n_genes,)`` against ``(n_permutations, n_genes)``.

    *pooled* takes p from the permutations of all genes, each in units of its own null: for nulls of
    one shape. It can be far below ``1 / (n + 1)``. Permutations in which a gene does not vary, as
    happens to one that few cells express, do not count; with fewer than two others it has no z.
    """
    drawn = np.isfinite(permuted).sum(axis=0)
    known = np.isfinite(observed) & (drawn > 1)
    mean, spread, p, q = (np.full(observed.shape, np.nan) for _ in range(4))
    mean[known] = np.nanmean(permuted[:, known], axis=0)
    spread[known] = np.nanstd(permuted[:, known], axis=0, ddof=1)
    scale = np.maximum(spread, _LEAST_SPREAD)
    z = (observed - mean) / scale
    if pooled:
        null = ((permuted - mean) / scale)[:, known]
        null = np.sort(null[np.isfinite(null)])
        p[known] = (1 + len(null) - np.searchsorted(null, z[known])) / (len(null) + 1)
    else:
        reached = (permuted[:, known] >= observed[known]).sum(axis=0)
        p[known] = (1 + reached) / (1 + drawn[known])
    if known.any():
        q[known] = false_discovery_control(p[known])
    return GeneScores(observed, mean, spread, z, p, q, len(permuted))


def run_null(
    statistic: Callable[[IntArray | None], Vector],
    strata: Sequence[str],
    n_permutations: int,
    *,
    rng: np.random.Generator,
    step: str = "Permuting the coupling",
    pooled: bool = False,
) -> Job[GeneScores]:
    """Compare a statistic with its values after permuting rows within strata.

    Parameters
    ----------
    statistic
        Order of the rows (``None``: as they are) to one value per gene.
    strata
        Rows are exchanged within these only.
    n_permutations
        Draws.
    rng
        Draws the orders.
    step
        What is reported.
    pooled
        Take p from the permutations of all genes; see `compare_with_permutations`.
    """
    observed = statistic(None)
    permuted = []
    for done in range(n_permutations):
        yield Progress(step, done, n_permutations, "permutations")
        permuted.append(statistic(permute_within(strata, rng=rng)))
    return compare_with_permutations(observed, np.stack(permuted), pooled=pooled)


def permute_within(strata: Sequence[str], *, rng: np.random.Generator) -> IntArray:
    """Return an order of the rows that exchanges them within their stratum only."""
    names = np.asarray(strata)
    order = np.arange(len(names))
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        order[members] = rng.permutation(members)
    return order
