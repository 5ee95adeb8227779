"""The result of a coupling: plan, diagnostics, verdict, and what can be asked of the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import IntArray

if TYPE_CHECKING:
    from napari_bio_superposition.alignment.halves import HalvesComparison

Matrix = npt.NDArray[np.float64]
PERFECT_LOSS = 1e-5
"""Loss, of distances up to 1, below which a fit is perfect and ratios of losses mean nothing."""
_MAX_ASSIGNMENT = 4000
"""Cells up to which the best one-to-one matching is found exactly; time grows with the cube."""


@dataclass(frozen=True)
class BasinReport:
    """One alternative alignment as it is reported.

    Parameters
    ----------
    loss
        Gromov-Wasserstein loss at the landmarks after refinement without entropy.
    entropic_loss
        The same before refinement.
    gap
        How much higher the loss is than the lowest one, as a share of it.
    starts
        Number of starts that ended in it.
    agreement
        With the alignment that was chosen: 1 the same, 0 unrelated, below 0 flipped.
    """

    loss: float
    entropic_loss: float
    gap: float
    starts: int
    agreement: float


@dataclass(frozen=True, eq=False)
class Coupling:
    """Which RNA cells each patch is coupled with, and how far that can be trusted.

    Parameters
    ----------
    plan
        Transport plan, rows are patches, columns RNA cells, of total mass 1: a numpy array, or a
        scipy CSR matrix where it is sparse.
    verdict, explanation
        Confidence in a word and in sentences; see `alignment.verdict`.
    loss
        Gromov-Wasserstein loss of the plan, without the entropy.
    k
        Numbers of neighbours whose path lengths were averaged; the first one is the one whose
        coupling agrees best with the others.
    epsilon
        Weight of the entropy.
    solver
        ``exact``, ``low_rank`` or ``landmarks``.
    basins
        Alternative alignments, lowest loss first; the plan belongs to the first one.
    agreement
        k to the agreement of its best coupling with that of ``k[0]``.
    subsample_agreement
        Agreement of couplings of random subsets of the landmarks with the chosen one.
    null_observed, null_losses
        Loss of the data and of rebuilt geometries, kind to losses, found in the same way on
        ``n_null_cells`` cells: comparable with one another, not with `loss`.
    halves
        How well and how reproducibly disjoint cells fit, across and within modalities; ``None``
        where it was not tested.
    row_error, column_error
        L1 distance of the plan's marginals from uniform ones.
    solver_error
        The same for the rows as the solver left them.
    converged
        Whether the solver came to rest.
    components
        Modality and k to the cells per component before the graph was joined.
    warnings
        What the user should know.
    seconds
        Step to wall time, s.
    """

    plan: Any
    verdict: str
    explanation: tuple[str, ...]
    loss: float
    k: tuple[int, ...]
    epsilon: float
    solver: str
    basins: tuple[BasinReport, ...]
    agreement: Mapping[int, float]
    subsample_agreement: tuple[float, ...]
    null_observed: tuple[float, ...]
    null_losses: Mapping[str, tuple[float, ...]]
    row_error: float
    column_error: float
    solver_error: float
    converged: bool
    components: Mapping[str, Mapping[int, tuple[int, ...]]]
    halves: "HalvesComparison | None" = None
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of patches and of RNA cells."""
        return int(self.plan.shape[0]), int(self.plan.shape[1])

    @property
    def effective_support(self) -> Matrix:
        """Number of RNA cells that each patch is coupled with, ``exp H``, ``(n,)``."""
        weights = _normalize(self.plan)
        if sparse.issparse(weights):
            logs = weights.copy()
            logs.data = weights.data * np.log(np.maximum(weights.data, 1e-300))
            return np.asarray(np.exp(-_sum(logs, axis=1)))
        return np.asarray(np.exp(-np.sum(weights * np.log(np.maximum(weights, 1e-300)), axis=1)))

    def pull(self, values: npt.ArrayLike) -> Matrix:
        """Return the mean of RNA *values* ``(m, d)`` that each patch is coupled with, ``(n, d)``.

        Raises
        ------
        TableError
            Where there is not one row of values per RNA cell.
        """
        return _project(self.plan, values, "RNA cells")

    def push(self, values: npt.ArrayLike) -> Matrix:
        """Return the mean of patch *values* ``(n, d)`` at each RNA cell, ``(m, d)``.

        Raises
        ------
        TableError
            Where there is not one row of values per patch.
        """
        return _project(self.plan.T, values, "patches")

    def match_hard(self) -> IntArray:
        """Return the RNA cell most strongly coupled with each patch, ``(n,)``."""
        return np.asarray(self.plan.argmax(axis=1)).ravel().astype(np.int64)

    def match_one_to_one(self) -> IntArray:
        """Return the matching of largest total mass that uses no RNA cell twice, ``(n,)``.

        Beyond 4000 cells pairs are taken greedily, strongest first. -1 where a patch has no
        partner (there may be fewer RNA cells than patches, or none left in a sparse plan).
        """
        if max(self.shape) <= _MAX_ASSIGNMENT:
            full = self.plan.toarray() if sparse.issparse(self.plan) else self.plan
            rows, columns = linear_sum_assignment(full, maximize=True)
            matched = np.full(self.shape[0], -1)
            matched[rows] = columns
            return matched
        return _match_greedily(self.plan)

    def class_probabilities(self, labels: Sequence[str]) -> tuple[list[str], Matrix]:
        """Return the classes of RNA cells and how the mass of each patch is shared among them."""
        classes, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
        return classes.tolist(), self.pull(np.eye(len(classes))[codes])

    def match_barycentric(self, labels: Sequence[str]) -> list[str]:
        """Return the class of RNA cells that holds most of the mass of each patch."""
        classes, probabilities = self.class_probabilities(labels)
        return [classes[index] for index in probabilities.argmax(axis=1)]


def keep_top_entries(plan: Any, n_entries: int) -> tuple[Any, Matrix]:
    """Return the largest entries of each row as CSR and the mass of each row that is left out.

    Parameters
    ----------
    plan
        ``(n, m)``.
    n_entries
        Entries per row to keep.

    Returns
    -------
    top
        ``(n, m)`` CSR float32; not renormalised.
    residual
        Share of each row's mass that is not in *top*, ``(n,)``.
    """
    rows: list[Any] = []
    for start in range(0, plan.shape[0], 1024):
        block = plan[start : start + 1024]
        block = block.toarray() if sparse.issparse(block) else np.asarray(block)
        if n_entries < block.shape[1]:
            largest = np.argpartition(block, -n_entries, axis=1)[:, -n_entries:]
            kept = np.zeros_like(block)
            np.put_along_axis(kept, largest, np.take_along_axis(block, largest, axis=1), axis=1)
            block = kept
        rows.append(sparse.csr_matrix(block.astype(np.float32)))
    top = sparse.vstack(rows, format="csr")
    residual = 1 - _sum(top, axis=1) / np.maximum(_sum(plan, axis=1), 1e-300)
    return top, np.clip(residual, 0.0, 1.0)


def _project(plan: Any, values: npt.ArrayLike, what: str) -> Matrix:
    table = np.asarray(values, dtype=np.float64)
    if len(table) != plan.shape[1]:
        raise TableError(
            f"{len(table)} rows of values do not fit {plan.shape[1]} {what}. Give one row for each "
            f"of the {what}, in the order in which they were coupled."
        )
    flat = table.reshape(len(table), -1)
    mass = np.maximum(_sum(plan, axis=1), 1e-300)
    return np.asarray((plan @ flat) / mass[:, None]).reshape(-1, *table.shape[1:])


def _normalize(plan: Any) -> Any:
    mass = np.maximum(_sum(plan, axis=1), 1e-300)
    if sparse.issparse(plan):
        return sparse.diags_array(1 / mass) @ plan
    return plan / mass[:, None]


def _sum(plan: Any, *, axis: int) -> Matrix:
    return np.asarray(plan.sum(axis=axis), dtype=np.float64).ravel()


def _match_greedily(plan: Any) -> IntArray:
    entries = keep_top_entries(plan, 50)[0].tocoo()
    matched: IntArray = np.full(plan.shape[0], -1)
    taken = np.zeros(plan.shape[1], dtype=bool)
    for index in np.argsort(-entries.data, kind="stable"):
        row, column = entries.row[index], entries.col[index]
        if matched[row] < 0 and not taken[column]:
            matched[row], taken[column] = column, True
    return matched
