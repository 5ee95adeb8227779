"""How much of a network's use survives when tokens are replaced by their reconstruction."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.evaluation.intervals import Interval, ratio_interval
from napari_bio_superposition.evaluation.probes import PENALTIES, unit_rows

_LEAST_SHARE: Final = 1e-12
"""One patch of which a read-out is falsely sure costs no more than 28 nats."""


@dataclass(frozen=True)
class LossRecovered:
    """Cross-entropy of a class read-out behind the splice, on wells it was not fitted on.

    Parameters
    ----------
    recovered
        ``(ablated - spliced) / (ablated - original)``: 1 where nothing is lost, 0 where the
        reconstruction is worth no more than the centre of all tokens. Meaningless, and nan, where
        the ablation does not hurt.
    interval
        95 % by a bootstrap over wells.
    original, spliced, ablated
        Mean cross-entropy, nats.
    accuracy, spliced_accuracy, ablated_accuracy
        Share of classes found by the same read-out.
    """

    recovered: float
    interval: Interval
    original: float
    spliced: float
    ablated: float
    accuracy: float
    spliced_accuracy: float
    ablated_accuracy: float


def loss_recovered(
    features: tuple[FloatArray, FloatArray, FloatArray],
    classes: npt.ArrayLike,
    train: IntArray,
    test: IntArray,
    *,
    groups: npt.ArrayLike,
    rng: np.random.Generator,
) -> LossRecovered:
    """Fit a read-out on original features and score it on original, spliced and ablated ones.

    Parameters
    ----------
    features
        Pooled features of the same rows: original, spliced, ablated, each ``(row, width)``.
    classes
        Class of each row.
    train, test
        Rows to fit on, and to score on.
    groups
        Well of each row.
    rng
        Decides the bootstrap.
    """
    names, wells = np.asarray(classes).astype(str), np.asarray(groups).astype(str)
    original = unit_rows(features[0])
    mean = original[train].mean(0)
    spread = float(np.sqrt(np.square(original[train] - mean).sum(1).mean())) or 1.0
    model = LogisticRegression(C=PENALTIES[-1], max_iter=2000, tol=1e-3)
    model.fit((original[train] - mean) / spread, names[train])
    known = np.isin(names[test], model.classes_)
    rows = test[known]
    columns = np.searchsorted(model.classes_, names[rows])
    losses, accuracies = [], []
    for kind in features:
        shares = model.predict_proba((unit_rows(kind[rows]) - mean) / spread)
        losses.append(-np.log(shares[np.arange(len(rows)), columns].clip(min=_LEAST_SHARE)))
        accuracies.append(float((shares.argmax(1) == columns).mean()))
    whole, spliced, ablated = losses
    harm = float((ablated - whole).sum())
    interval = ratio_interval(ablated - spliced, ablated - whole, wells[rows], rng=rng)
    return LossRecovered(
        recovered=float((ablated - spliced).sum()) / harm if harm > 0 else float("nan"),
        interval=interval,
        original=float(whole.mean()),
        spliced=float(spliced.mean()),
        ablated=float(ablated.mean()),
        accuracy=accuracies[0],
        spliced_accuracy=accuracies[1],
        ablated_accuracy=accuracies[2],
    )
