"""Scores where the truth is known: label transfer with its null, FOSCTTM. They choose nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.alignment.coupling import Coupling
from napari_bio_superposition.core.errors import TableError, list_few
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[np.float64]
_BLOCK = 1024


@dataclass(frozen=True)
class TransferScore:
    """Accuracy of labels that cross the coupling in one direction.

    Parameters
    ----------
    barycentric, hard, one_to_one
        Share of cells whose transferred label is their own: by the class with most mass, by the
        strongest partner, by the one-to-one partner (cells without one do not count).
    balanced
        Mean over classes of the barycentric accuracy.
    null_mean, null_max
        Barycentric accuracy after permuting the labels that are transferred.
    p_value
        Share of permutations that do as well, never below ``1 / (n + 1)``.
    """

    barycentric: float
    hard: float
    one_to_one: float
    balanced: float
    null_mean: float
    null_max: float
    p_value: float


@dataclass(frozen=True)
class LabelScores:
    """Label transfer both ways, and how the classes are represented.

    Parameters
    ----------
    to_images, to_rna
        RNA labels given to patches, and the reverse.
    proportions
        Class to its share of the patches and of the RNA cells.
    """

    to_images: TransferScore
    to_rna: TransferScore
    proportions: Mapping[str, tuple[float, float]]

    @property
    def imbalance(self) -> float:
        """Total variation between the class proportions of the modalities, in ``[0, 1]``."""
        return sum(abs(a - b) for a, b in self.proportions.values()) / 2


@dataclass(frozen=True)
class PairScores:
    """Fraction of cells closer than the true match; 0 perfect, 0.5 chance, ties at mid-rank.

    Parameters
    ----------
    overall
        Closeness is strength of coupling; mean over both directions.
    within_class
        The same among cells of the true match's class only; ``None`` without labels.
    projected_to_rna, projected_to_images
        Closeness is Euclidean distance between barycentric projections and cells, in the features
        of one modality (as published figures have it); mean over both directions.
    """

    overall: float
    within_class: float | None
    projected_to_rna: float
    projected_to_images: float


def score_labels(
    coupling: Coupling,
    labels: Sequence[str],
    rna_labels: Sequence[str],
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> LabelScores:
    """Transfer labels in both directions and compare with permuted labels.

    Raises
    ------
    TableError
        Where labels are missing, a class has one cell, or the modalities share no class.
    """
    names = [np.asarray(side, dtype=str) for side in (labels, rna_labels)]
    for side, name, size in zip(names, ("patches", "RNA cells"), coupling.shape, strict=True):
        check_labels(side, size, name)
    if not set(names[0]) & set(names[1]):
        raise TableError(
            f"No class is in both modalities: patches have {list_few(np.unique(names[0]))}, "
            f"RNA cells {list_few(np.unique(names[1]))}. Choose columns with common names."
        )
    matched = coupling.match_one_to_one()
    partner = np.full(coupling.shape[1], -1)
    partner[matched[matched >= 0]] = np.flatnonzero(matched >= 0)
    shares = [_shares(side) for side in names]
    classes = sorted({*shares[0], *shares[1]})
    plan = coupling.plan
    return LabelScores(
        to_images=_score_transfer(plan, names[0], names[1], matched, n_permutations, rng),
        to_rna=_score_transfer(plan.T, names[1], names[0], partner, n_permutations, rng),
        proportions={
            name: (shares[0].get(name, 0.0), shares[1].get(name, 0.0)) for name in classes
        },
    )


def check_labels(labels: npt.NDArray[np.str_], size: int, what: str) -> None:
    """Refuse labels that no score can be computed from.

    Raises
    ------
    TableError
        Where the number is wrong, a label is missing, or a class has one cell.
    """
    if len(labels) != size:
        raise TableError(f"{len(labels)} labels for {size} {what}. Give one label for each.")
    missing = int(np.isin(labels, ["", "nan", "None", "<NA>"]).sum())
    if missing:
        raise TableError(f"{missing} of {size} {what} have no label. Fill in or remove these rows.")
    classes, counts = np.unique(labels, return_counts=True)
    if np.any(counts == 1):
        raise TableError(
            f"These classes have one of the {what} each: {list_few(classes[counts == 1])}. "
            "Merge them with others or remove them."
        )


def _shares(labels: npt.NDArray[np.str_]) -> dict[str, float]:
    classes, counts = np.unique(labels, return_counts=True)
    return {
        str(name): float(count) / len(labels) for name, count in zip(classes, counts, strict=True)
    }


def _score_transfer(
    plan: Any,
    own: npt.NDArray[np.str_],
    other: npt.NDArray[np.str_],
    partner: IntArray,
    n_permutations: int,
    rng: np.random.Generator,
) -> TransferScore:
    """Give the labels *other* of the columns to the rows, whose labels are *own*."""
    classes, codes = np.unique(other, return_inverse=True)

    def transfer(labels: IntArray) -> npt.NDArray[np.bool_]:
        return np.asarray(classes[(plan @ np.eye(len(classes))[labels]).argmax(axis=1)] == own)

    correct = transfer(codes)
    null = [transfer(rng.permutation(codes)).mean() for _ in range(n_permutations)]
    strongest = np.asarray(plan.argmax(axis=1)).ravel()
    paired = partner >= 0
    return TransferScore(
        barycentric=float(correct.mean()),
        hard=float((other[strongest] == own).mean()),
        one_to_one=float((other[partner[paired]] == own[paired]).mean()),
        balanced=float(np.mean([correct[own == name].mean() for name in np.unique(own)])),
        null_mean=float(np.mean(null)) if null else float("nan"),
        null_max=float(np.max(null)) if null else float("nan"),
        p_value=float((1 + np.sum(np.array(null) >= correct.mean())) / (1 + len(null))),
    )


def score_pairs(
    coupling: Coupling,
    features: npt.ArrayLike,
    rna_features: npt.ArrayLike,
    labels: Sequence[str] | None = None,
) -> PairScores:
    """Return FOSCTTM where row i of both modalities is the same cell.

    Raises
    ------
    TableError
        Where the modalities have different numbers of cells.
    """
    n, m = coupling.shape
    if n != m:
        raise TableError(
            f"Paired scores need the same cells in both modalities; there are {n} patches and {m} "
            "RNA cells. Leave out --paired, or give tables of the same cells."
        )
    image, rna = (np.asarray(table, dtype=np.float64) for table in (features, rna_features))
    plan = coupling.plan
    closeness = _rows_of(plan)
    codes = None if labels is None else np.unique(np.asarray(labels, str), return_inverse=True)[1]
    return PairScores(
        overall=_both_ways(closeness, n),
        within_class=None if codes is None else _both_ways(closeness, n, codes),
        projected_to_rna=_both_ways(_distances(coupling.pull(rna), rna), n),
        projected_to_images=_both_ways(_distances(coupling.push(image), image), n),
    )


def fraction_closer(distances: Matrix, truth: IntArray) -> Matrix:
    """Return the share of the other columns closer than the true one, ties at mid-rank, per row.

    Parameters
    ----------
    distances
        ``(rows, m)``.
    truth
        Column of the true match of each row, ``(rows,)``.
    """
    own = distances[np.arange(len(distances)), truth][:, None]
    closer = np.sum(distances < own, axis=1) + (np.sum(distances == own, axis=1) - 1) / 2
    return np.asarray(closer / (distances.shape[1] - 1))


class _Rows:
    """Distances a block of rows at a time, as they are and transposed."""

    def __init__(self, rows: Any, columns: Any) -> None:
        self.by_row, self.by_column = rows, columns


def _rows_of(plan: Any) -> _Rows:
    def dense(block: Any) -> Matrix:
        return -np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)

    transposed = plan.T.tocsr() if sparse.issparse(plan) else plan.T
    return _Rows(lambda part: dense(plan[part]), lambda part: dense(transposed[part]))


def _distances(projected: Matrix, cells: Matrix) -> _Rows:
    from scipy.spatial.distance import cdist

    return _Rows(
        lambda part: cdist(projected[part], cells), lambda part: cdist(cells[part], projected)
    )


def _both_ways(distances: _Rows, n: int, codes: IntArray | None = None) -> float:
    return float(
        np.mean(
            [_mean_fraction(side, n, codes) for side in (distances.by_row, distances.by_column)]
        )
    )


def _mean_fraction(rows: Any, n: int, codes: IntArray | None) -> float:
    """Mean over cells; among the cells of the same class where *codes* are given."""
    if codes is None:
        parts = [np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
        return float(np.concatenate([fraction_closer(rows(part), part) for part in parts]).mean())
    found = []
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        block = rows(members)[:, members]
        found.append(fraction_closer(block, np.arange(len(members))))
    return float(np.concatenate(found).mean())
