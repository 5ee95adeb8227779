"""Ridge regression of all genes at once, and its permutation null through fixed hat matrices.

A ridge prediction of held-out rows is linear in the training targets, ``A Y``; *A* depends on the
images alone. Permuting the coupling permutes the rows of *Y*. With the targets of all genes written
in a common basis, ``Y = B C``, the squared error of gene *g* is a quadratic form ``c' M c`` in its
coefficients, where *M* (rank x rank) is computed once per permutation: no gene is fitted again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.genes_folds import Fold, split_wells
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[Any]
ALPHAS = np.logspace(-1, 5, 13)
_LEFT_OUT = 1e-7
"""Share of the variance of any gene that the common basis may miss."""


@dataclass(frozen=True, eq=False)
class Hat:
    """One fold's prediction as a linear map of the training targets, ``left @ (right @ Y)``.

    Parameters
    ----------
    train, test
        Rows.
    left, right
        ``(n_test, k + 1)`` and ``(k + 1, n_train)``; their product holds the intercept.
    extend
        ``(n_test, n_train)``: makes the targets of the test rows from those of the training rows;
        ``None`` where test rows have targets of their own.
    """

    train: IntArray
    test: IntArray
    left: Matrix
    right: Matrix
    extend: Any = None


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of all genes in a common basis, in units of each gene's spread.

    Parameters
    ----------
    basis
        ``(n, r)``, orthonormal columns.
    coefficients
        ``(r, n_genes)``.
    """

    basis: Matrix
    coefficients: Matrix


def compress_targets(values: Matrix) -> Targets:
    """Write targets ``(n, n_genes)`` in a common basis of as few columns as are needed.

    Genes are divided by their spread; one that does not vary becomes zero. The barycentric
    projection blurs, so that a few tens to hundreds of columns hold all genes.
    """
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    flat = spread <= 1e-6 * np.maximum(1.0, np.abs(values).max(initial=0.0))
    scaled = np.where(flat, 0.0, centred / np.where(flat, 1.0, spread))
    lengths, vectors = np.linalg.eigh(scaled @ scaled.T)
    basis = vectors[:, np.argsort(lengths)[::-1]]
    coefficients = basis.T @ scaled
    energy = np.cumsum(coefficients**2, axis=0)
    total = np.maximum(energy[-1], 1e-300)
    missing = np.max(1 - energy / total, axis=1, where=~flat[None, :], initial=0.0)
    rank = int(np.argmax(missing <= _LEFT_OUT)) + 1
    # R2 to 1e-6 is plenty beside the spread of permutations, 1e-4 at least
    return Targets(basis[:, :rank].astype(np.float32), coefficients[:rank].astype(np.float32))


def make_hats(
    folds: Sequence[Fold], targets: Targets, groups: npt.NDArray[np.str_], rng: np.random.Generator
) -> list[Hat]:
    """Return the hat matrix of every fold, its penalty chosen by wells within the training part."""
    return [make_hat(fold, choose_alpha(fold, targets, groups, rng=rng)) for fold in folds]


def make_hat(fold: Fold, alpha: float, extend: Any = None) -> Hat:
    """Return the hat matrix of one fold at penalty *alpha*, of inputs with mean 0."""
    inputs = fold.inputs_train
    gram = inputs.T @ inputs + alpha * np.eye(inputs.shape[1])
    slopes = np.linalg.solve(gram, inputs.T)
    n_train = len(fold.train)
    left = np.concatenate([np.ones((len(fold.test), 1)), fold.inputs_test], axis=1)
    right = np.concatenate([np.full((1, n_train), 1 / n_train), slopes])
    return Hat(fold.train, fold.test, left.astype(np.float32), right.astype(np.float32), extend)


def choose_alpha(
    fold: Fold, targets: Targets, groups: npt.NDArray[np.str_], *, rng: np.random.Generator
) -> float:
    """Return the penalty with the least error on held-out wells of the training part, all genes.

    With one training well, where nothing can be held out, the middle of the grid.
    """
    wells = groups[fold.train]
    if len(np.unique(wells)) < 2:
        return float(ALPHAS[len(ALPHAS) // 2])
    scale = np.sqrt((targets.coefficients**2).sum(axis=1))
    values = targets.basis[fold.train] * scale  # error over all genes, in the basis
    errors = np.zeros(len(ALPHAS))
    for train, test in split_wells(wells, wells, 3, rng=rng):
        centre = fold.inputs_train[train].mean(axis=0)
        left, spread, right = np.linalg.svd(fold.inputs_train[train] - centre, full_matrices=False)
        mean = values[train].mean(axis=0)
        inner = left.T @ (values[train] - mean)
        outer = (fold.inputs_train[test] - centre) @ right.T
        for number, alpha in enumerate(ALPHAS):
            shrunk = (spread / (spread**2 + alpha))[:, None] * inner
            errors[number] += np.sum((values[test] - mean - outer @ shrunk) ** 2)
    return float(ALPHAS[int(np.argmin(errors))])


def score_hats(hats: Sequence[Hat], targets: Targets, order: IntArray | None = None) -> Matrix:
    """Return R2 of every gene over all held-out rows, ``(n_genes,)``.

    ``1 - sum (y - yhat)^2 / sum (y - mean of the fold's y)^2``, both sums over all folds; nan where
    a gene does not vary. The small matrices are summed before the genes come in: one quadratic form
    for all folds. The spread needs the folds' means alone, and the sum of squares of all held-out
    rows.

    Parameters
    ----------
    hats
        One per fold.
    targets
        Of all rows.
    order
        Row of the targets that each row gets, ``(n,)``; in order where omitted.
    """
    basis = targets.basis if order is None else targets.basis[order]
    form = np.zeros((basis.shape[1],) * 2, dtype=basis.dtype)
    means = []
    for hat in hats:
        true = basis[hat.test]
        residual = true - hat.left @ (hat.right @ basis[hat.train])
        form += residual.T @ residual
        means.append(true.mean(axis=0) * np.sqrt(len(true)))
    squares = _sum_of_squares(hats, basis, targets.coefficients)
    total = squares - np.sum((np.stack(means) @ targets.coefficients) ** 2, axis=0)
    error = _quadratic(form, targets.coefficients)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 1e-12, 1 - error / total, np.nan))


def _sum_of_squares(hats: Sequence[Hat], basis: Matrix, coefficients: Matrix) -> Matrix:
    """Return the sum of squares of the held-out targets of every gene.

    Where every row is held out once it does not depend on their order: the basis is orthonormal.
    """
    held_out = np.sort(np.concatenate([hat.test for hat in hats]))
    if np.array_equal(held_out, np.arange(len(basis))):
        return np.asarray(np.sum(coefficients**2, axis=0))
    return _quadratic(basis[held_out].T @ basis[held_out], coefficients)


def _quadratic(form: Matrix, coefficients: Matrix) -> Matrix:
    """Return ``c' M c`` of every column of the coefficients."""
    return np.asarray(np.sum(coefficients * (form @ coefficients), axis=0))


def predict_rows(hats: Sequence[Hat], values: Matrix) -> Matrix:
    """Return what each row is predicted to be by the fold that held it out, ``(n, d)``."""
    predicted = np.full(values.shape, np.nan)
    for hat in hats:
        predicted[hat.test] = hat.left @ (hat.right @ values[hat.train])
    return predicted
