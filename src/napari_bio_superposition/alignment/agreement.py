"""How far two couplings say the same: the signal by which settings are chosen without labels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.types import FloatArray

Matrix = npt.NDArray[np.float64]


def measure_agreement(first: FloatArray, second: FloatArray) -> float:
    """Return how well each of two plans ranks the matches of the other.

    For every match of one plan, weighted by its mass, the share of columns (by mass) that the other
    plan puts before it, in its row; then the same by columns, and with the plans exchanged. A
    blurred plan does not order even its own matches perfectly; the result is divided by how well
    each plan orders its own, so that it does not reward sharp plans.

    Parameters
    ----------
    first, second
        Plans of the same cells, ``(n, m)``, of total mass 1.

    Returns
    -------
    float
        1 where both order all matches alike, 0 as for unrelated plans, below 0 for flipped ones.
    """
    own = _agree(first, first) * _agree(second, second)
    return _agree(first, second) / float(np.sqrt(max(own, 1e-12)))


def _agree(first: FloatArray, second: FloatArray) -> float:
    pairs = ((first, second), (second, first), (first.T, second.T), (second.T, first.T))
    return 1 - 2 * float(np.mean([_mean_rank(plan, other) for plan, other in pairs]))


def _mean_rank(plan: FloatArray, other: FloatArray) -> float:
    """Return the mean share of columns that *plan* puts before the matches of *other*."""
    masses = other.sum(axis=0, dtype=np.float64)
    # Columns stand for unequal numbers of cells: compare densities, not masses.
    density = plan / masses
    order = np.argsort(-density, axis=1, kind="stable")
    sorted_density = np.take_along_axis(density, order, axis=1)
    sorted_masses = masses[order]
    before = np.cumsum(sorted_masses, axis=1) - sorted_masses / 2
    before = _share_ties(sorted_density, sorted_masses, before)
    matched = np.take_along_axis(other, order, axis=1)
    return float((matched * before).sum() / (matched.sum() * masses.sum()))


def _share_ties(density: FloatArray, masses: Matrix, ranks: Matrix) -> Matrix:
    """Give equal entries of a row the mean of their ranks, weighted by mass."""
    n, m = density.shape
    new = np.ones((n, m), dtype=bool)
    new[:, 1:] = density[:, 1:] != density[:, :-1]
    group = np.cumsum(new.ravel()) - 1
    weight = np.bincount(group, weights=masses.ravel())
    mean = np.bincount(group, weights=(masses * ranks).ravel()) / np.maximum(weight, 1e-300)
    return np.asarray(mean[group].reshape(n, m))


def agreement_matrix(plans: Sequence[FloatArray]) -> Matrix:
    """Return the agreement of every pair of plans, ``(n_plans, n_plans)``, 1 on the diagonal."""
    matrix = np.eye(len(plans))
    for row in range(len(plans)):
        for column in range(row):
            value = measure_agreement(plans[row], plans[column])
            matrix[row, column] = matrix[column, row] = value
    return matrix
