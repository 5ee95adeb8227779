"""Balanced batches over class, line and plate, planned ahead. No pixels, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.types import IntArray

EpochEnd: TypeAlias = Literal["first_exhausted", "all_seen"]


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Which stratum fills each place of each batch of an epoch; the same in every epoch.

    Parameters
    ----------
    strata
        Rows of each finest stratum (the plates of a line of a class).
    slots
        Index of the stratum of each place, ``(step, place)``.
    """

    strata: tuple[IntArray, ...]
    slots: IntArray

    @property
    def n_steps(self) -> int:
        """Batches of one epoch."""
        return len(self.slots)

    def draw(self, *, rng: np.random.Generator) -> IntArray:
        """Return the rows of one epoch, ``(step, place)``.

        A stratum is drawn from without replacement; where an epoch needs more than it has, it is
        gone through again in another order.
        """
        flat = self.slots.ravel()
        rows = np.empty(len(flat), np.int64)
        for index, members in enumerate(self.strata):
            places = np.flatnonzero(flat == index)
            n_rounds = -(-len(places) // len(members))
            order = [rng.permutation(members) for _ in range(n_rounds)]
            rows[places] = np.concatenate(order or [members[:0]])[: len(places)]
        return rng.permutation(rows.reshape(self.slots.shape), axis=0)


def plan_batches(
    levels: IntArray, batch_size: int, *, epoch_end: EpochEnd = "first_exhausted"
) -> BatchPlan:
    """Deal the places of all batches equally over classes, in a class over lines, then plates.

    Places are dealt in turn: the classes take turns, whenever a class has its turn its lines do,
    and so on. So shares are equal to within one place at each level and remainders fall on each
    in turn, not always on the first (with the published sampler a third line gets nothing from
    batches of eight). The number of steps is known before anything is drawn.

    Parameters
    ----------
    levels
        Codes of each patch, outermost first: ``(n,)`` classes, or ``(n, 3)`` class, line, plate.
    batch_size
        Patches per batch.
    epoch_end
        See `ContrastiveConfig.epoch_end`.

    Raises
    ------
    ModelError
        Where not even one batch can be filled.

    Notes
    -----
    Method specification, section 4.
    """
    levels = levels.reshape(len(levels), -1)
    tree = _nest(np.arange(len(levels)), levels)
    strata = tuple(_leaves(tree))
    if epoch_end == "all_seen":
        n_steps, most = len(levels) // batch_size, len(levels)
    else:
        most = _first_gap(tree)
        n_steps = most // batch_size
    if n_steps == 0:
        smallest = min(len(rows) for rows in strata)
        raise ModelError(
            f"A batch of {batch_size} patches cannot be filled: the {len(levels)} patches fall "
            f"into {len(strata)} groups of class, line and plate, of which the smallest has "
            f"{smallest}. Choose a batch size from 2 to {most}."
        )
    turns = np.arange(n_steps * batch_size)
    slots = _deal(tree, turns, first=0)
    return BatchPlan(strata, slots.reshape(n_steps, batch_size))


_Tree: TypeAlias = "IntArray | list[_Tree]"


def _nest(rows: IntArray, levels: IntArray) -> _Tree:
    """Return rows as a tree of strata, one depth per column of *levels* (codes of all patches)."""
    if levels.shape[1] == 0:
        return rows
    own = levels[rows, 0]
    return [_nest(rows[own == code], levels[:, 1:]) for code in np.unique(own)]


def _leaves(tree: _Tree) -> list[IntArray]:
    if isinstance(tree, list):
        return [leaf for child in tree for leaf in _leaves(child)]
    return [tree]


def _first_gap(tree: _Tree) -> int:
    """Return the turn at which a stratum is asked for one patch more than it has."""
    if not isinstance(tree, list):
        return len(tree)
    return min(place + len(tree) * _first_gap(child) for place, child in enumerate(tree))


def _deal(tree: _Tree, turns: IntArray, *, first: int) -> IntArray:
    """Return the stratum of each turn; strata below *tree* are numbered from *first*."""
    if not isinstance(tree, list):
        return np.full(len(turns), first)
    strata = np.empty(len(turns), np.int64)
    for place, child in enumerate(tree):
        mine = turns % len(tree) == place
        strata[mine] = _deal(child, turns[mine] // len(tree), first=first)
        first += len(_leaves(child))
    return strata


def code_levels(columns: Sequence[Sequence[str]]) -> IntArray:
    """Return the codes of some columns of text, ``(n, column)``, for `plan_batches`."""
    return np.stack([np.unique(np.asarray(c), return_inverse=True)[1] for c in columns], axis=1)
