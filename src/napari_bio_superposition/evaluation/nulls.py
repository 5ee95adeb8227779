"""What chance alone would give: permutations that keep plates, and wells, together."""

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.types import IntArray


def permute_within(blocks: npt.ArrayLike, *, rng: np.random.Generator) -> IntArray:
    """Return row numbers shuffled within each block (plate), so that block means stay."""
    names = np.asarray(blocks).astype(str)
    order = np.arange(len(names))
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        order[rows] = rows[rng.permutation(len(rows))]
    return order


def permute_groups(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    blocks: npt.ArrayLike,
    *,
    rng: np.random.Generator,
) -> npt.NDArray[np.str_]:
    """Return labels shuffled between whole groups (wells) of a block (plate).

    Rows of a group keep a common label, that of its first row: patches are no units to permute.
    Where the label is a matter of the block alone nothing changes, which is the point: there is
    then no evidence within plates.
    """
    labels, wells, plates = (np.asarray(x).astype(str) for x in (values, groups, blocks))
    names, first, codes = np.unique(wells, return_index=True, return_inverse=True)
    order = permute_within(plates[first], rng=rng)
    return np.asarray(labels[first][order][codes]) if len(names) else labels


def permutation_p(observed: float, null: npt.NDArray[np.floating]) -> float:
    """Return ``(1 + #{null >= observed}) / (1 + n)``, which is never 0."""
    return float((1 + (null >= observed).sum()) / (1 + len(null)))
