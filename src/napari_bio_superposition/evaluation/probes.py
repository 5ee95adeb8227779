"""Linear probes: how well classes can be read off features, on wells the probe never saw."""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.evaluation.intervals import Interval, share_interval

PENALTIES: Final = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Inverse strengths of the L2 penalty to choose from, on rows of length about one."""
_USUAL_PENALTY: Final = 10.0
_INNER_FOLDS: Final = 3


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a linear probe reaches on the test rows.

    Parameters
    ----------
    accuracy
        Share of test rows whose class is found.
    balanced_accuracy
        Mean over classes of the share found, which a constant guess cannot raise above 1/classes.
    macro_f1
        Mean over classes of the F1 score.
    confusion
        Test rows by true class (row) and found class (column), ``(class, class)``.
    class_names
        Names behind the rows and columns.
    chance
        Accuracy of always guessing the test part's most frequent class.
    interval
        95 % interval of the accuracy by a bootstrap over test groups; `None` without groups.
    penalty
        Inverse strength of the L2 penalty that was used.
    predicted
        The found class of each test row.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    confusion: IntArray
    class_names: tuple[str, ...]
    chance: float
    interval: Interval | None
    penalty: float
    predicted: npt.NDArray[np.object_]


def linear_probe(
    features: npt.NDArray[np.floating],
    classes: npt.ArrayLike,
    train: IntArray,
    test: IntArray,
    *,
    rng: np.random.Generator,
    groups: npt.ArrayLike | None = None,
) -> ProbeResult:
    """Fit a multinomial logistic regression on *train* rows and score it on *test* rows.

    One protocol for every representation (specification, section 9: the published probes of CNN
    and SAE differ in layer, split and schedule): columns are standardised with the training rows,
    rows scaled to length about one, classes weighted equally, and the L2 penalty is chosen by inner
    folds over the training groups.

    Parameters
    ----------
    features
        ``(row, feature)``.
    classes
        Class of each row; anything that becomes a string.
    train, test
        Row positions, disjoint.
    rng
        Decides folds and bootstrap.
    groups
        Well of each row. Without it the penalty is fixed and there is no interval.

    Raises
    ------
    TableError
        Where a part is empty or training has a single class.
    """
    names = np.asarray(classes).astype(str)
    _check_parts(features, names, train, test)
    scaled_train, scaled_test = standardize(features[train], features[test])
    wells = None if groups is None else np.asarray(groups).astype(str)
    penalty = _USUAL_PENALTY
    if wells is not None:
        penalty = _choose_penalty(scaled_train, names[train], wells[train], rng)
    model = _fit(scaled_train, names[train], penalty)
    predicted = model.predict(scaled_test)
    correct = predicted == names[test]
    interval = None if wells is None else share_interval(correct, wells[test], rng=rng)
    return _score(names[test], predicted, np.unique(names), interval, penalty)


def unit_rows(features: npt.NDArray[np.floating]) -> FloatArray:
    """Return rows divided by their length; rows of zeros stay."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), dtype=np.float32)


def standardize(
    train: npt.NDArray[np.floating], test: npt.NDArray[np.floating]
) -> tuple[FloatArray, FloatArray]:
    """Centre and scale columns by the training rows, then rows to length about one.

    Constant columns are dropped. Where there are fewer training rows than columns, both are turned
    into the span of the training rows: an L2-penalised model is the same there, and smaller.
    """
    mean, spread = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    varies = spread > 1e-8 * max(1.0, float(spread.max(initial=0.0)))
    scale = spread[varies] * np.sqrt(max(1, int(varies.sum())))
    ready = [
        np.asarray((part[:, varies] - mean[varies]) / scale, np.float32) for part in (train, test)
    ]
    if len(train) >= varies.sum():
        return ready[0], ready[1]
    values, vectors = np.linalg.eigh(ready[0].astype(np.float64) @ ready[0].T)
    kept = values > 1e-9 * max(float(values.max()), 1e-12)
    basis = ready[0].T @ (vectors[:, kept] / np.sqrt(values[kept]))  # (feature, rank)
    return np.asarray(ready[0] @ basis, np.float32), np.asarray(ready[1] @ basis, np.float32)


def _choose_penalty(
    features: FloatArray,
    names: npt.NDArray[np.str_],
    wells: npt.NDArray[np.str_],
    rng: np.random.Generator,
) -> float:
    """Return the penalty with the best accuracy over inner folds of whole groups."""
    unique = rng.permutation(np.unique(wells))
    folds = [np.isin(wells, part) for part in np.array_split(unique, _INNER_FOLDS)]
    usable = [
        held for held in folds if held.any() and set(names[held]) <= set(names[~held])
    ]  # a class that only the held-out wells have cannot be learnt
    usable = [held for held in usable if len(set(names[~held])) > 1]
    if not usable:
        return _USUAL_PENALTY
    scores = [
        np.mean([_accuracy(features, names, held, penalty) for held in usable])
        for penalty in PENALTIES
    ]
    return PENALTIES[int(np.argmax(scores))]


def _accuracy(
    features: FloatArray,
    names: npt.NDArray[np.str_],
    held: npt.NDArray[np.bool_],
    penalty: float,
) -> float:
    model = _fit(features[~held], names[~held], penalty)
    return float((model.predict(features[held]) == names[held]).mean())


def _fit(features: FloatArray, names: npt.NDArray[np.str_], penalty: float) -> LogisticRegression:
    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # A fit that stops early is a valid probe all the same: its score is a lower bound.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, names)


def _score(
    true: npt.NDArray[np.str_],
    predicted: npt.NDArray[np.str_],
    class_names: npt.NDArray[np.str_],
    interval: Interval | None,
    penalty: float,
) -> ProbeResult:
    confusion = confusion_matrix(true, predicted, labels=class_names)
    present = np.unique(true)
    found = confusion.diagonal()[np.isin(class_names, present)]
    totals = confusion.sum(1)[np.isin(class_names, present)]
    return ProbeResult(
        accuracy=float((true == predicted).mean()),
        balanced_accuracy=float((found / totals).mean()),
        macro_f1=float(f1_score(true, predicted, labels=present, average="macro", zero_division=0)),
        confusion=confusion.astype(np.int64),
        class_names=tuple(class_names.tolist()),
        chance=float(totals.max() / len(true)),
        interval=interval,
        penalty=penalty,
        predicted=predicted.astype(object),
    )


def _check_parts(
    features: npt.NDArray[np.floating],
    names: npt.NDArray[np.str_],
    train: IntArray,
    test: IntArray,
) -> None:
    if len(features) != len(names):
        raise TableError(
            f"{len(features)} rows of features for {len(names)} classes; give equal numbers."
        )
    if not len(test) or len(np.unique(names[train])) < 2:
        raise TableError(
            f"A probe needs two classes to train on and rows to test on; there are "
            f"{len(np.unique(names[train]))} classes in training and {len(test)} test rows. "
            "Check the split and the class column."
        )
    if len(np.intersect1d(train, test)):
        raise TableError("Rows are in training and test at once; make the split again.")
