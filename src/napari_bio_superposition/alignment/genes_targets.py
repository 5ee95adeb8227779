"""What is predicted: the mean expression of the RNA cells that each patch is coupled with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_few
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[Any]
_NO_MASS = 1e-12


@dataclass(frozen=True, eq=False)
class Design:
    """What is known of patches and RNA cells beside their numbers.

    Parameters
    ----------
    groups
        Well of each patch: the unit that folds never split.
    plates
        Plate of each patch.
    classes, rna_classes
        Class of each patch and of each RNA cell; the same word everywhere where none is given.
    balanced
        What each part of the wells needs some of, per patch: plate and class that the coupling
        used; the plate where ``None``.
    """

    groups: npt.NDArray[np.str_]
    plates: npt.NDArray[np.str_]
    classes: npt.NDArray[np.str_]
    rna_classes: npt.NDArray[np.str_]
    balanced: npt.NDArray[np.str_] | None = None

    @property
    def strata(self) -> npt.NDArray[np.str_]:
        """What wells are spread by over parts that are coupled on their own."""
        return self.plates if self.balanced is None else self.balanced

    @property
    def shared_classes(self) -> list[str]:
        """Classes that both modalities have, in alphabetical order."""
        return sorted(set(self.classes.tolist()) & set(self.rna_classes.tolist()))

    def take(self, rows: npt.NDArray[Any]) -> "Design":
        """Return the design of some of the patches."""
        balanced = None if self.balanced is None else self.balanced[rows]
        return Design(
            self.groups[rows], self.plates[rows], self.classes[rows], self.rna_classes, balanced
        )


ALL = "all"


def make_design(
    groups: Sequence[str],
    plates: Sequence[str],
    classes: Sequence[str] | None = None,
    rna_classes: Sequence[str] | None = None,
    *,
    n_rna: int,
) -> Design:
    """Return a design; without classes all patches and cells are of the class ``all``.

    Raises
    ------
    TableError
        Where the modalities share no class, or a shared class has one patch or one RNA cell.
    """
    n = len(groups)
    if classes is None or rna_classes is None:
        classes, rna_classes = [ALL] * n, [ALL] * n_rna
    design = Design(
        groups=np.asarray(groups, dtype=str),
        plates=np.asarray(plates, dtype=str),
        classes=np.asarray(classes, dtype=str),
        rna_classes=np.asarray(rna_classes, dtype=str),
    )
    if not design.shared_classes:
        names = [list_few(np.unique(side)) for side in (design.classes, design.rna_classes)]
        raise TableError(
            f"No class is in both modalities: patches have {names[0]}, RNA cells {names[1]}. "
            "Choose columns with common names."
        )
    for name in design.shared_classes:
        sizes = int((design.classes == name).sum()), int((design.rna_classes == name).sum())
        if min(sizes) < 2:
            raise TableError(
                f"The class {name!r} has {sizes[0]} patches and {sizes[1]} RNA cells; at least two "
                "of each are needed. Merge it with another class, or remove it."
            )
    return design


def weights_within(
    plan: Any, rows: npt.NDArray[np.bool_], cells: npt.NDArray[np.bool_]
) -> tuple[Any, IntArray]:
    """Return the rows of a class with their mass within it made 1, and which rows have any.

    Parameters
    ----------
    plan
        ``(n, m)``, dense or sparse.
    rows, cells
        Patches and RNA cells of the class.

    Returns
    -------
    weights
        ``(n_kept, m_class)`` CSR or array; every row sums to 1.
    kept
        Indices of the patches, ``(n_kept,)``; rows with less than 1e-12 within the class are
        dropped (method specification, section 16.6).
    """
    indices = np.flatnonzero(rows)
    block = plan[indices][:, np.flatnonzero(cells)]
    mass = np.asarray(block.sum(axis=1), dtype=np.float64).ravel()
    good = mass >= _NO_MASS
    if sparse.issparse(block):
        weights = sparse.diags_array(1 / mass[good]) @ sparse.csr_array(block)[np.flatnonzero(good)]
        return sparse.csr_array(weights), indices[good]
    return block[good] / mass[good, None], indices[good]


def project_targets(weights: Any, values: Any) -> Matrix:
    """Return the weighted mean of RNA *values* ``(m, d)`` per patch, ``(n, d)`` float32."""
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return np.asarray(weights @ dense.astype(np.float64), dtype=np.float32)


def split_cells(
    weights: Any, *, rng: np.random.Generator
) -> tuple[Any, Any, npt.NDArray[np.bool_]]:
    """Return weights on two disjoint random halves of the RNA cells, and which rows have both.

    Targets of the halves share no cell: what one predicts of the other is no echo of the noise of
    single cells, which the coupling smooths over neighbouring patches.
    """
    half = np.zeros(weights.shape[1], dtype=bool)
    half[rng.permutation(weights.shape[1])[: weights.shape[1] // 2]] = True
    parts = []
    for members in (half, ~half):
        mask = sparse.diags_array(members.astype(np.float64))
        parts.append(sparse.csr_array(sparse.csr_array(weights) @ mask))
    masses = [np.asarray(part.sum(axis=1)).ravel() for part in parts]
    both = (masses[0] >= _NO_MASS) & (masses[1] >= _NO_MASS)
    scaled = [
        sparse.diags_array(1 / mass[both]) @ part[np.flatnonzero(both)]
        for part, mass in zip(parts, masses, strict=True)
    ]
    return scaled[0], scaled[1], both
