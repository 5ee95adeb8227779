"""Balanced batches over class, line and plate: dealt by hand, counted, planned ahead."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.models.sampling import code_levels, plan_batches


def test_places_are_dealt_in_turn_at_each_level():
    # Class 0 has lines a (plates 1, 2) and b (plate 3); class 1 has one line and one plate.
    levels = np.array([[0, 0, 1]] * 9 + [[0, 0, 2]] * 9 + [[0, 1, 3]] * 9 + [[1, 2, 4]] * 9)
    plan = plan_batches(levels, 8)
    # turns: 0 1 0 1 ...; class 0 alternates a b; a alternates plates 1 and 2
    assert plan.slots[0].tolist() == [0, 3, 2, 3, 1, 3, 2, 3]
    # the only plate of class 1 has 9 patches; its tenth would be turn 1 + 2 * 9 = 19
    assert plan.n_steps == 2


def test_batches_are_balanced_and_use_no_patch_twice(rng):
    classes = np.array([0] * 10 + [1] * 5 + [2] * 30)
    batches = plan_batches(classes, 7).draw(rng=rng)
    assert batches.shape == (2, 7)
    for batch in batches:
        assert sorted(np.bincount(classes[batch])) == [2, 2, 3]
    assert len(np.unique(batches)) == 14


def test_an_epoch_of_all_patches_goes_through_small_strata_again(rng):
    classes = np.array([0] * 4 + [1] * 20)
    plan = plan_batches(classes, 6, epoch_end="all_seen")
    batches = plan.draw(rng=rng)
    assert plan.n_steps == 4
    assert np.bincount(classes[batches.ravel()]).tolist() == [12, 12]
    assert np.bincount(batches.ravel(), minlength=4)[:4].tolist() == [3, 3, 3, 3]


def test_another_epoch_draws_other_batches(rng):
    plan = plan_batches(np.repeat([0, 1], 20), 4)
    assert not np.array_equal(plan.draw(rng=rng), plan.draw(rng=rng))


def test_a_batch_that_cannot_be_filled_says_which_can():
    with pytest.raises(ModelError, match="from 2 to 6"):
        plan_batches(np.array([0, 0, 0, 1, 1, 1, 1]), 8)


def test_texts_become_codes():
    assert code_levels([["b", "a", "b"], ["x", "x", "y"]]).tolist() == [[1, 0], [0, 0], [1, 1]]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=12, max_size=80),
    st.integers(2, 9),
    st.integers(0, 3),
)
def test_shares_are_equal_to_within_one_place(codes, batch_size, seed):
    levels = np.array(codes)
    try:
        plan = plan_batches(levels, batch_size)
    except ModelError:
        return
    batches = plan.draw(rng=np.random.default_rng(seed))
    assert len(np.unique(batches)) == batches.size
    for batch in batches:
        counts = np.unique(levels[batch, 0], return_counts=True)[1]
        n_classes = len(np.unique(levels[:, 0]))
        assert counts.max() - (counts.min() if len(counts) == n_classes else 0) <= 1
