"""Numbers read off features by ridge regression, on wells the model never saw. No torch."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.evaluation.intervals import UNKNOWN, Interval, bootstrap_groups
from napari_bio_superposition.evaluation.nulls import permutation_p, permute_within

PENALTIES: Final = np.logspace(-3, 5, 50)
N_FOLDS: Final = 5
N_COMPONENTS: Final = 250
_N_BOOTSTRAP: Final = 200

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Regression:
    """How much of a quantity ridge regression explains on held-out groups.

    Parameters
    ----------
    r2
        Pooled over all held-out rows, against the mean of all rows.
    fold_r2
        Of each fold.
    interval
        95 % interval of `r2` by a bootstrap over groups.
    null, null_upper
        Mean and 95th percentile of `r2` with the quantity permuted within plates, same folds.
    p_value
        Share of permutations that reach `r2`.
    n_rows, n_groups
        How much it rests on.
    """

    r2: float
    fold_r2: tuple[float, ...]
    interval: Interval
    null: float
    null_upper: float
    p_value: float
    n_rows: int
    n_groups: int


def predict_by_wells(
    features: npt.NDArray[np.floating],
    target: npt.NDArray[np.floating],
    groups: npt.ArrayLike,
    plates: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_permutations: int = 200,
) -> Regression:
    """Regress a quantity on features: standardise, PCA(250), ridge (specification, section 11).

    Folds are whole groups; scaling, components and the penalty (leave-one-out on the training rows)
    come from the training folds alone. Permuted copies of the target run through the same folds.

    Parameters
    ----------
    features
        ``(row, feature)``.
    target
        ``(row,)``; rows where it is not finite are left out.
    groups, plates
        Well and plate of each row.
    rng
        Decides folds, permutations and bootstrap.

    Raises
    ------
    TableError
        Where fewer than two groups have a target.
    """
    known = np.isfinite(target)
    features, values = features[known], np.asarray(target[known], dtype=np.float64)
    wells, blocks = (np.asarray(x).astype(str)[known] for x in (groups, plates))
    if len(np.unique(wells)) < 2:
        raise TableError(
            f"A regression on held-out wells needs two wells with a target; there are "
            f"{len(np.unique(wells))}. Analyse more wells."
        )
    copies = [values] + [values[permute_within(blocks, rng=rng)] for _ in range(n_permutations)]
    targets = np.stack(copies, axis=1)
    fold = _assign_folds(wells, rng)
    predicted = np.zeros_like(targets)
    for number in np.unique(fold):
        held = fold == number
        predicted[held] = _fit_and_predict(features[~held], targets[~held], features[held])
    scores = 1 - np.square(targets - predicted).sum(0) / _variation(targets)
    own = predicted[:, 0]
    return Regression(
        r2=float(scores[0]),
        fold_r2=tuple(_r2(values[fold == k], own[fold == k]) for k in np.unique(fold)),
        interval=_interval(values, own, wells, rng),
        null=float(scores[1:].mean()) if n_permutations else float("nan"),
        null_upper=float(np.quantile(scores[1:], 0.95)) if n_permutations else float("nan"),
        p_value=permutation_p(float(scores[0]), scores[1:]),
        n_rows=len(values),
        n_groups=len(np.unique(wells)),
    )


def _assign_folds(wells: npt.NDArray[np.str_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    names, codes = np.unique(wells, return_inverse=True)
    numbers = np.arange(len(names)) % min(N_FOLDS, len(names))
    return np.asarray(rng.permutation(numbers)[codes])


def _fit_and_predict(
    train: npt.NDArray[np.floating], y: Matrix, test: npt.NDArray[np.floating]
) -> Matrix:
    """Return predictions ``(test row, target)`` of a ridge regression for each column of *y*."""
    mean, spread = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    varies = spread > 1e-8 * max(float(spread.max(initial=0)), 1e-12)
    scaled, held = (
        (part[:, varies] - mean[varies]) / np.maximum(spread[varies], 1e-12)
        for part in (train, test)
    )
    scores, loadings, lengths = _components(scaled)
    offset = y.mean(0)
    projected = scores.T @ (y - offset)  # (component, target)
    penalty = _leave_one_out(scores, lengths, y - offset, projected)  # (target,)
    shrink = lengths[:, None] / (lengths[:, None] ** 2 + penalty)
    return np.asarray(held @ loadings @ (shrink * projected) + offset)


def _components(scaled: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Return left vectors, right vectors and singular values of at most 250 components."""
    rows, columns = scaled.shape
    gram = scaled @ scaled.T if rows < columns else scaled.T @ scaled
    values, vectors = np.linalg.eigh(gram)
    kept = np.flatnonzero(values > 1e-9 * max(float(values[-1]), 1e-12))[::-1]
    kept = kept[: min(N_COMPONENTS, rows - 1)]
    lengths, vectors = np.sqrt(values[kept]), vectors[:, kept]
    if rows < columns:
        return vectors, scaled.T @ vectors / lengths, lengths
    return scaled @ vectors / lengths, vectors, lengths


def _leave_one_out(scores: Matrix, lengths: Matrix, y: Matrix, projected: Matrix) -> Matrix:
    """Return the penalty of least leave-one-out error for each column of *y*."""
    errors = []
    for penalty in PENALTIES:
        kept = lengths**2 / (lengths**2 + penalty)
        leverage = (scores**2) @ kept + 1 / len(y)
        residual = (y - scores @ (kept[:, None] * projected)) / (1 - leverage)[:, None].clip(1e-6)
        errors.append(np.square(residual).mean(0))
    return np.asarray(PENALTIES[np.argmin(errors, axis=0)])


def _variation(targets: Matrix) -> Matrix:
    total: Matrix = np.square(targets - targets.mean(0)).sum(0)
    return np.maximum(total, 1e-300)


def _r2(true: Matrix, predicted: Matrix) -> float:
    return float(
        1 - np.square(true - predicted).sum() / max(np.square(true - true.mean()).sum(), 1e-300)
    )


def _interval(
    target: Matrix, predicted: Matrix, wells: npt.NDArray[np.str_], rng: np.random.Generator
) -> Interval:
    if len(np.unique(wells)) < 3:
        return UNKNOWN
    return bootstrap_groups(
        lambda rows: _r2(target[rows], predicted[rows]), wells, rng=rng, n_resamples=_N_BOOTSTRAP
    )
