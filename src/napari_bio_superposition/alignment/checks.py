"""Refuse features that cannot be coupled, each with one clear reason. No computing beyond that."""

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError

Matrix = npt.NDArray[np.float64]
MIN_CELLS = 20


def check_features(features: npt.ArrayLike, name: str) -> tuple[Matrix, int]:
    """Return *features* as float64, and how many of their columns do not vary.

    Constant columns stay: they tell no cells apart in a Euclidean distance, but a correlation of
    profiles is taken over all columns.

    Parameters
    ----------
    features
        ``(n, d)``.
    name
        What the modality is called in messages.

    Raises
    ------
    TableError
        Where the table is no matrix, has too few rows, holds NaN or infinity, or does not vary.
    """
    table = np.asarray(features)
    if table.ndim != 2 or table.dtype.kind not in "fiub":
        raise TableError(
            f"The {name} features have shape {table.shape} and type {table.dtype}; a matrix of "
            "numbers with one row per cell is needed. Choose another representation."
        )
    if len(table) < MIN_CELLS:
        raise TableError(
            f"The {name} features have {len(table)} rows; a geometry needs at least {MIN_CELLS}. "
            "Give more cells."
        )
    table = table.astype(np.float64)
    bad = int((~np.isfinite(table)).sum())
    if bad:
        rows = int((~np.isfinite(table)).any(axis=1).sum())
        raise TableError(
            f"The {name} features hold {bad} values that are NaN or infinite, in {rows} of "
            f"{len(table)} rows. Remove or impute them."
        )
    varying = np.ptp(table, axis=0) > 0
    if not varying.any():
        raise TableError(
            f"All {table.shape[1]} columns of the {name} features are constant, so that all cells "
            "are the same. Choose another representation."
        )
    return table, int((~varying).sum())


def usable_neighbours(neighbours: tuple[int, ...], n_cells: int) -> tuple[int, ...]:
    """Return the numbers of neighbours that leave a geometry: at most two thirds of the cells.

    Raises
    ------
    TableError
        Where none is left.
    """
    usable = tuple(k for k in neighbours if k <= 2 * n_cells // 3)
    if not usable:
        raise TableError(
            f"{min(neighbours)} neighbours of {n_cells} cells are nearly all of them, which leaves "
            "no geometry. Choose fewer neighbours (--neighbours), or give more cells."
        )
    return usable
