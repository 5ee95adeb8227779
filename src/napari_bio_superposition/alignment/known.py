"""What is known of pairs of cells before they are coupled: shared features, classes. No solver."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.types import FloatArray, IntArray

Matrix = npt.NDArray[np.float64]
_FORBIDDEN = 2.0
"""Cost of coupling two classes: beyond any difference of distances in [0, 1], and small enough for
single precision to keep the differences of the others beside it."""


@dataclass(frozen=True, eq=False)
class Known:
    """A linear cost of every pair of cells beside the comparison of shapes.

    Parameters
    ----------
    shared
        Features measured in both modalities, ``(n, s)`` and ``(m, s)``, in comparable units.
    weight
        Cost of a pair whose shared features differ by their mean squared distance.
    classes
        Labels of both modalities, ``(n,)`` and ``(m,)``: only cells of one class are coupled, as
        far as the numbers of cells allow.
    """

    shared: tuple[Matrix, Matrix] | None = None
    weight: float = 0.1
    classes: tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]] | None = None

    def __post_init__(self) -> None:
        if self.shared is not None and self.shared[0].shape[1:] != self.shared[1].shape[1:]:
            raise TableError(
                f"The shared features have {self.shared[0].shape[1]} columns in the images and "
                f"{self.shared[1].shape[1]} in the RNA. Give the same columns in both."
            )
        if self.classes is None:
            return
        own, other = (set(side.tolist()) for side in self.classes)
        if own != other:
            raise TableError(
                f"These classes are empty in one of the tables: {list_choices(sorted(own ^ other))}"
                ". To couple within classes, remove them, or merge them with others."
            )

    def take(self, rows: IntArray | None, cells: IntArray | None) -> "Known":
        """Return what is known of some of the patches and RNA cells; of all where ``None``.

        Raises
        ------
        TableError
            Where a class is empty on one side of what is taken.
        """
        indices = [slice(None) if part is None else part for part in (rows, cells)]
        shared, classes = self.shared, self.classes
        if shared is not None:
            shared = shared[0][indices[0]], shared[1][indices[1]]
        if classes is not None:
            classes = classes[0][indices[0]], classes[1][indices[1]]
        return Known(shared, self.weight, classes)

    def cost(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Return the cost of coupling *rows* with *columns*, ``(n_rows, n_columns)`` float32."""
        total = np.zeros((len(rows), len(columns)), dtype=np.float32)
        if self.shared is not None:
            first, second = self.shared
            centred = first - first.mean(axis=0), second - second.mean(axis=0)
            # The mean squared distance of all pairs, so that it is the same for every subset.
            scale = sum(float(side.var(axis=0).sum()) for side in centred) or 1.0
            squared = cdist(first[rows], second[columns], "sqeuclidean")
            total += (self.weight * squared / scale).astype(np.float32)
        if self.classes is not None:
            own, other = self.classes[0][rows], self.classes[1][columns]
            total += np.float32(_FORBIDDEN) * (own[:, None] != other[None, :])
        return total

    def tensor(self, rows: IntArray, columns: IntArray, like: Tensor) -> Tensor:
        """Return the same on the device and in the precision of *like*."""
        return torch.as_tensor(self.cost(rows, columns)).to(like)
