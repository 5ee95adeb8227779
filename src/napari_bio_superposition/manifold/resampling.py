"""Draws that respect wells: bootstrap of whole wells, and outcomes shuffled between wells."""

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.types import IntArray

Numbers = npt.NDArray[np.float64]


class Wells:
    """Which rows belong to which well, and which wells may change places.

    Parameters
    ----------
    units
        Name of the well of each row, ``(n,)``.
    blocks
        Name of the plate of each row; wells are only exchanged within one. ``None``: all may be.
    """

    def __init__(
        self, units: npt.NDArray[np.str_], blocks: npt.NDArray[np.str_] | None = None
    ) -> None:
        self.names, self.codes = np.unique(units, return_inverse=True)
        order = np.argsort(self.codes, kind="stable")
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.names)))[:-1]
        self.rows: list[IntArray] = [np.asarray(rows) for rows in np.split(order, ends)]
        self._first = np.array([rows[0] for rows in self.rows], np.int64)
        self._sizes = np.array([len(rows) for rows in self.rows])
        plates = np.zeros(self.n_wells) if blocks is None else np.asarray(blocks)[self._first]
        self._blocks = [np.flatnonzero(plates == plate) for plate in np.unique(plates)]

    @property
    def n_wells(self) -> int:
        """How many wells there are: the number of independent observations."""
        return len(self.rows)

    @property
    def smallest_block(self) -> int:
        """Wells on the plate that has fewest."""
        return min(len(block) for block in self._blocks)

    def resample(self, rng: np.random.Generator) -> IntArray:
        """Draw as many wells as there are, with replacement; return their rows."""
        drawn = rng.integers(self.n_wells, size=self.n_wells)
        return np.concatenate([self.rows[well] for well in drawn])

    def shuffle(self, values: Numbers, rng: np.random.Generator) -> Numbers:
        """Give each well the outcomes of another well of its plate, in random order.

        The relation with anything else is broken, while wells stay as alike inside, and as
        different from one another, as they are. A well that takes the outcomes of a smaller one
        draws some of them more than once.
        """
        shuffled = np.empty_like(values)
        for block in self._blocks:
            if self._sizes[block].max() == 1:  # single patches: one draw instead of thousands
                rows = self._first[block]
                shuffled[rows] = values[rng.permutation(rows)]
                continue
            for well, donor in zip(block, rng.permutation(block), strict=True):
                rows, given = self.rows[well], values[self.rows[donor]]
                shuffled[rows] = rng.choice(given, len(rows), replace=len(given) < len(rows))
        return shuffled

    def means(self, values: Numbers) -> Numbers:
        """Return the mean of each well."""
        return np.array([values[rows].mean() for rows in self.rows])
