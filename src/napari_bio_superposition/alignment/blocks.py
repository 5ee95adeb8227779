"""Fill the blocks of a landmarks' plan with cells (quantized Gromov-Wasserstein). No solver."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.core.types import FloatArray, IntArray

Matrix = npt.NDArray[np.float64]
_NOTHING = 1e-12
"""Share of a landmark's mass below which a block is left out; rounding restores the marginals."""


def fill_blocks(
    landmark_plan: Matrix,
    nearest: tuple[IntArray, IntArray],
    distances: tuple[FloatArray, FloatArray],
) -> Any:
    """Match the cells of coupled landmarks along one coordinate.

    In each block the cells of both sides are put in order by the first principal axis of their
    distance profiles, those of the first modality carried to the second one's landmarks by the
    plan, so that both run the same way; equal quantiles are matched.

    Parameters
    ----------
    landmark_plan
        ``(l1, l2)`` whose marginals are the shares of cells of each landmark; sparse in content.
    nearest
        Landmark of each cell, ``(n,)`` and ``(m,)``.
    distances
        From landmarks to cells, ``(l1, n)`` and ``(l2, m)``.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``(n, m)`` float64 with uniform marginals; about ``n + m`` entries per block and landmark.
    """
    column_mass = landmark_plan.sum(axis=0)
    carried = (landmark_plan / column_mass).T.astype(np.float32) @ distances[0]
    profiles = (carried, distances[1])
    members = [
        _members(side, size) for side, size in zip(nearest, landmark_plan.shape, strict=True)
    ]
    rows, columns, weights = [], [], []
    floor = _NOTHING * landmark_plan.sum(axis=1, keepdims=True)
    for a, b in zip(*np.nonzero(landmark_plan > floor), strict=True):
        first, second = _align(members[0][a], members[1][b], profiles)
        left, right, weight = match_quantiles(len(first), len(second))
        rows.append(first[left])
        columns.append(second[right])
        weights.append(weight * landmark_plan[a, b])
    shape = (len(nearest[0]), len(nearest[1]))
    places = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix((np.concatenate(weights), places), shape=shape)


def match_quantiles(n: int, m: int) -> tuple[IntArray, IntArray, Matrix]:
    """Return the monotone coupling of *n* and *m* equal masses: rows, columns, weights of sum 1."""
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # exact, in units of 1 / (n m)
    return edges[:-1] // m, edges[:-1] // n, np.diff(edges) / (n * m)


def _members(nearest: IntArray, n_landmarks: int) -> list[IntArray]:
    order = np.argsort(nearest, kind="stable")
    ends = np.cumsum(np.bincount(nearest, minlength=n_landmarks))
    return np.split(order, ends[:-1])


def _align(
    first: IntArray, second: IntArray, profiles: tuple[FloatArray, FloatArray]
) -> tuple[IntArray, IntArray]:
    """Put the cells of both sides of a block in order along their common principal axis."""
    sides = [profiles[0][:, first].T, profiles[1][:, second].T]
    centred = [side - side.mean(axis=0) for side in sides]
    _, _, axes = np.linalg.svd(np.concatenate(centred), full_matrices=False)
    return first[np.argsort(centred[0] @ axes[0])], second[np.argsort(centred[1] @ axes[0])]
