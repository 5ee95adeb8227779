"""Which patches are selected, with undo and redo: plain Python and numpy. No Qt, no layers."""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_bio_superposition.core.types import BoolArray, IntArray

SelectionMode = Literal["replace", "add", "remove", "toggle"]
SelectionSource = Literal["image", "plot", "table", "history"]

UNDO_STEPS: Final = 50
"""Steps kept; each takes one bit per row, so that 50 steps over a million rows are 6 MB."""


class Selection:
    """A set of rows of the table, shared by image, plots and tables.

    Parameters
    ----------
    n_rows
        Rows of the table.
    """

    changed = Signal(str)
    """Other rows are selected; carries the source: ``image``, ``plot``, ``table``, ``history``."""

    def __init__(self, n_rows: int = 0) -> None:
        self._mask: BoolArray = np.zeros(n_rows, bool)
        self._past: list[npt.NDArray[np.uint8]] = []
        self._future: list[npt.NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return int(np.count_nonzero(self._mask))

    @property
    def n_rows(self) -> int:
        """Rows of the table, selected or not."""
        return len(self._mask)

    @property
    def mask(self) -> BoolArray:
        """Whether each row is selected, ``(n_rows,)``; read only."""
        view = self._mask.view()
        view.flags.writeable = False
        return view

    @property
    def rows(self) -> IntArray:
        """Positions of the selected rows, ascending."""
        return np.flatnonzero(self._mask)

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier selection."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether an undone selection can come back."""
        return bool(self._future)

    def select(
        self,
        rows: npt.ArrayLike,
        mode: SelectionMode = "replace",
        *,
        source: SelectionSource = "table",
    ) -> None:
        """Select rows; nothing happens, and no step is kept, where nothing changes.

        Parameters
        ----------
        rows
            Positions, or a mask over all rows.
        mode
            ``replace`` the selection, ``add`` to it, ``remove`` from it, or ``toggle`` each row.
        source
            The kind of view in which the user acted.

        Raises
        ------
        IndexError
            For a position outside the table, or a mask of another length.
        """
        given = self._as_mask(rows)
        match mode:
            case "replace":
                wanted = given
            case "add":
                wanted = self._mask | given
            case "remove":
                wanted = self._mask & ~given
            case "toggle":
                wanted = self._mask ^ given
        if np.array_equal(wanted, self._mask):
            return
        self._past = [*self._past, np.packbits(self._mask)][-UNDO_STEPS:]
        self._future.clear()
        self._show(wanted, source)

    def clear(self, *, source: SelectionSource = "table") -> None:
        """Select nothing."""
        self.select(np.zeros(0, np.int64), source=source)

    def undo(self) -> None:
        """Bring the selection before the last step back, where there is one."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Take the last undo back, where nothing was selected since."""
        self._step(self._future, self._past)

    def move_rows(self, old_rows: IntArray) -> None:
        """Follow a table whose rows changed: selection and history keep their patches.

        Parameters
        ----------
        old_rows
            For each row of the new table its position in the old one, -1 for a new row.
        """
        self._past = [np.packbits(_move(self._unpack(bits), old_rows)) for bits in self._past]
        self._future = [np.packbits(_move(self._unpack(bits), old_rows)) for bits in self._future]
        n_selected = len(self)
        self._mask = _move(self._mask, old_rows)
        if len(self) != n_selected:
            self.changed.emit("table")

    def _as_mask(self, rows: npt.ArrayLike) -> BoolArray:
        given = np.asarray(rows)
        if given.dtype == bool:
            if given.shape != self._mask.shape:
                raise IndexError(f"A mask of {given.shape} rows for {self.n_rows} rows.")
            return np.array(given)  # a copy: the caller may go on writing into its own
        mask = np.zeros(self.n_rows, bool)
        positions = given.astype(np.int64)
        if positions.size and positions.min() < 0:
            raise IndexError(f"No row {positions.min()}.")
        mask[positions] = True
        return mask

    def _step(
        self, come_from: list[npt.NDArray[np.uint8]], go_to: list[npt.NDArray[np.uint8]]
    ) -> None:
        if not come_from:
            return
        go_to.append(np.packbits(self._mask))
        self._show(self._unpack(come_from.pop()), "history")

    def _unpack(self, bits: npt.NDArray[np.uint8]) -> BoolArray:
        return np.unpackbits(bits, count=self.n_rows).astype(bool)

    def _show(self, mask: BoolArray, source: SelectionSource) -> None:
        self._mask = mask
        self.changed.emit(source)


def _move(mask: BoolArray, old_rows: IntArray) -> BoolArray:
    """Return *mask* for rows that were at *old_rows* before; new rows are not selected."""
    padded = np.append(mask, False)  # position -1 is the padding
    moved: BoolArray = padded[old_rows]
    return moved
