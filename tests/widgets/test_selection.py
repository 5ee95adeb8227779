"""The selection without a screen: modes, undo and redo, a table whose rows move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.widgets.selection import UNDO_STEPS, Selection


def test_modes_and_sources() -> None:
    selection, seen = Selection(6), []
    selection.changed.connect(seen.append)
    selection.select([1, 2], source="plot")
    selection.select([2, 3], "add", source="image")
    assert selection.rows.tolist() == [1, 2, 3]
    selection.select(selection.mask & (np.arange(6) < 2), "remove")
    assert selection.rows.tolist() == [2, 3]
    selection.select([3, 5], "toggle", source="image")
    assert selection.rows.tolist() == [2, 5]
    assert len(selection) == 2
    assert seen == ["plot", "image", "table", "image"]


def test_undo_and_redo_by_twenty_steps_and_more() -> None:
    selection = Selection(200)
    for row in range(30):
        selection.select([row], source="plot")
    for row in range(29, 5, -1):
        assert selection.rows.tolist() == [row]
        selection.undo()
    selection.redo()
    assert selection.rows.tolist() == [6]
    selection.select([100])
    assert not selection.can_redo
    for _ in range(2 * UNDO_STEPS):
        selection.undo()
    assert len(selection) == 0
    assert not selection.can_undo


def test_a_step_without_change_is_not_kept() -> None:
    selection, seen = Selection(4), []
    selection.select([1])
    selection.changed.connect(seen.append)
    selection.select(np.array([False, True, False, False]))
    selection.select([1], "add")
    assert seen == []
    selection.undo()
    assert not selection.can_undo


def test_the_mask_belongs_to_the_selection() -> None:
    selection, mask = Selection(3), np.array([True, False, False])
    selection.select(mask)
    mask[1] = True
    assert selection.rows.tolist() == [0]
    with pytest.raises(ValueError, match="read-only"):
        selection.mask[2] = True


def test_rows_outside_are_refused() -> None:
    selection = Selection(3)
    for wrong in ([3], [-1], np.ones(4, bool)):
        with pytest.raises(IndexError):
            selection.select(wrong)


def test_selection_and_history_follow_patches_to_another_table() -> None:
    selection = Selection(4)
    selection.select([0, 2])
    selection.select([3])
    selection.move_rows(np.array([-1, 3, 2, 0, -1]))  # old row 1 is gone
    assert selection.rows.tolist() == [1]
    selection.undo()
    assert selection.rows.tolist() == [2, 3]
    selection.redo()
    assert selection.rows.tolist() == [1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["replace", "add", "remove", "toggle"]), st.sets(st.integers(0, 16))
        ),
        max_size=20,
    )
)
def test_undoing_all_and_redoing_all_comes_back(steps: list) -> None:
    selection = Selection(17)
    for mode, rows in steps:
        selection.select(sorted(rows), mode)
    last = selection.rows.tolist()
    while selection.can_undo:
        selection.undo()
    assert len(selection) == 0
    while selection.can_redo:
        selection.redo()
    assert selection.rows.tolist() == last
