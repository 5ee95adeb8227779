"""Folds that never split a well, and image features reduced inside them. No regression."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[Any]
_SPARSE_FROM = 100
"""Columns from which non-negative features are treated as activations: logarithm, row norm."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the patches with their features, standardised by the training part.

    Parameters
    ----------
    train, test
        Rows.
    inputs_train, inputs_test
        ``(n_train, k)``, ``(n_test, k)`` float64; columns of the first have mean 0, the leading one
        spread 1, the others less.
    """

    train: IntArray
    test: IntArray
    inputs_train: Matrix
    inputs_test: Matrix


def split_wells(
    groups: npt.NDArray[np.str_],
    plates: npt.NDArray[np.str_],
    n_folds: int,
    *,
    rng: np.random.Generator,
) -> list[tuple[IntArray, IntArray]]:
    """Return train and test rows of folds that never split a well, plates spread over folds.

    Raises
    ------
    TableError
        Where there is one well only.
    """
    wells = np.unique(groups)
    if len(wells) < 2:
        raise TableError(
            f"All {len(groups)} patches are of one well ({wells[0]}); predictions are scored on "
            "other wells. Give at least two wells (plate and well in the table)."
        )
    plate_of = {well: plates[groups == well][0] for well in wells}
    shuffled = sorted(rng.permutation(wells), key=lambda well: plate_of[well])  # stable
    number = min(n_folds, len(wells))
    fold_of = {well: position % number for position, well in enumerate(shuffled)}
    folds = np.array([fold_of[group] for group in groups])
    return [
        (np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(number)
    ]


def make_folds(
    features: Matrix, splits: list[tuple[IntArray, IntArray]], n_components: int
) -> list[Fold]:
    """Reduce the features of every split to principal components of its training part.

    Parameters
    ----------
    features
        ``(n, d)``.
    splits
        Train and test rows.
    n_components
        Fewer where the training part has not enough rows.
    """
    folds = []
    for train, test in splits:
        first, second = reduce_features(features[train], features[test], n_components)
        folds.append(Fold(train, test, first, second))
    return folds


def reduce_features(train: Matrix, test: Matrix, n_components: int) -> tuple[Matrix, Matrix]:
    """Return principal components, fitted on *train*, in units of the spread of its leading one.

    Components keep their relative spread: ridge then shrinks the small ones first. With each at
    spread 1, a hundred components of some hundred patches fit noise (decision 0027).
    Activations (non-negative, a hundred columns or more) are divided by the median positive value,
    log-transformed, z-scored and brought to unit row norm before (method specification, 16.2).
    """
    train, test = train.astype(np.float64), test.astype(np.float64)
    if train.shape[1] >= _SPARSE_FROM and train.min() >= 0 and test.min() >= 0:
        positive = train[train > 0]
        scale = float(np.median(positive)) if len(positive) else 1.0
        train, test = _standardize(np.log1p(train / scale), np.log1p(test / scale))
        train, test = (
            part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
            for part in (train, test)
        )
    mean = train.mean(axis=0)
    centred = train - mean
    number = min(n_components, len(train) - 1, train.shape[1])
    gram = centred.T @ centred if centred.shape[1] <= len(centred) else centred @ centred.T
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1][:number]
    order = order[values[order] > 1e-10 * max(values[order[0]], 1e-300)]
    axes = vectors[:, order]
    if centred.shape[1] > len(centred):
        axes = centred.T @ axes / np.sqrt(values[order])
    first, second = centred @ axes, (test - mean) @ axes
    spread = float(first.std(axis=0).max(initial=0.0)) or 1.0
    return first / spread, second / spread


def _standardize(train: Matrix, test: Matrix) -> tuple[Matrix, Matrix]:
    mean, spread = train.mean(axis=0), train.std(axis=0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    return (train - mean) / spread, (test - mean) / spread
