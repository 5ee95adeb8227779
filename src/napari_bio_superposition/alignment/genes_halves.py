"""Targets of two halves of the RNA cells, and the null that keeps how the coupling smooths them.

A coupling blurs: the target of a patch is a mean over cells, and near patches share cells. So even
noise becomes a smooth function of the image. Permuting the rows of a coupling takes that smoothness
away and leaves a null that is too narrow: one in five genes of pure noise passed it. Permuting the
RNA cells instead keeps the coupling as it is, and only takes away where on it a gene is expressed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.alignment.genes_null import GeneScores, run_null
from napari_bio_superposition.alignment.genes_ridge import Hat
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[Any]
_DENSE = 0.02
"""Share of entries above which a product with a dense matrix is the faster one."""
_FLAT = 1e-10
"""Variance of a gene over patches, beside 1 over the cells, below which there is rounding alone."""


@dataclass(frozen=True, eq=False)
class Halves:
    """What is learned from one half of the RNA cells and scored on the other.

    Parameters
    ----------
    hats
        One per fold; their rows are those of the weights.
    first, second
        ``(n, m)``: shares of the cells in each patch; no cell has mass in both.
    """

    hats: Sequence[Hat]
    first: Any
    second: Any


def score_halves(
    parts: Sequence[Halves],
    expression: Matrix,
    n_permutations: int,
    *,
    rng: np.random.Generator,
    step: str = "Permuting RNA cells",
) -> Job[GeneScores]:
    """Score genes over all held-out rows, beside genes whose values are permuted over the cells.

    R2 does not depend on a gene's scale, and its null hardly on the gene: p is the share of all
    genes' permutations, each in units of its own null, that do as well.

    Parameters
    ----------
    parts
        Folds that share a coupling, or several couplings of the same cells.
    expression
        Of the cells, ``(m, n_genes)``.
    n_permutations
        Draws.
    rng
        Draws the orders of the cells.
    step
        What is reported.
    """
    values = expression.astype(np.float64)
    spread = values.std(axis=0)
    scaled = ((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    quick = [Halves(part.hats, _quick(part.first), _quick(part.second)) for part in parts]

    def statistic(order: IntArray | None) -> Matrix:
        return _score(quick, scaled if order is None else scaled[order])

    cells = ["all"] * len(scaled)
    return (yield from run_null(statistic, cells, n_permutations, rng=rng, step=step, pooled=True))


def _score(parts: Sequence[Halves], expression: Matrix) -> Matrix:
    """Return R2 of every gene: sums over all folds of all parts, nan where a gene does not vary."""
    error = total = np.zeros(expression.shape[1])
    n_rows = 0
    for part in parts:
        learned, scored = part.first @ expression, part.second @ expression
        for hat in part.hats:
            predicted = hat.left @ (hat.right @ learned[hat.train])
            if hat.extend is None:
                true = scored[hat.test]
            else:
                true = (hat.extend @ scored[hat.train]).astype(np.float32)
            error = error + np.sum((true - predicted) ** 2, axis=0)
            total = total + np.sum((true - true.mean(axis=0)) ** 2, axis=0)
            n_rows += len(true)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(total > _FLAT * n_rows, 1 - error / total, np.nan)
    return np.asarray(r2, dtype=np.float64)


def _quick(weights: Any) -> Any:
    """Return weights in single precision, sparse only where that is faster."""
    if sparse.issparse(weights) and weights.nnz > _DENSE * np.prod(weights.shape):
        weights = weights.toarray()
    return weights.astype(np.float32)
