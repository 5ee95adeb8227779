"""Permutations stay within plates and move whole wells."""

import numpy as np
import pytest

from napari_bio_superposition.evaluation.nulls import permutation_p, permute_groups, permute_within


def test_rows_stay_in_their_plate():
    plates = np.repeat(["a", "b"], 50)
    order = permute_within(plates, rng=np.random.default_rng(0))
    assert sorted(order) == list(range(100))
    assert (plates[order] == plates).all()
    assert (order != np.arange(100)).sum() > 80


def test_wells_keep_one_label_and_plates_their_labels():
    wells = np.repeat([f"w{i}" for i in range(12)], 5)
    plates = np.repeat(["a", "b"], 30)
    classes = np.repeat(["x", "y", "z"] * 4, 5)
    shuffled = permute_groups(classes, wells, plates, rng=np.random.default_rng(0))
    assert all(len(set(shuffled[wells == well])) == 1 for well in set(wells))
    assert sorted(shuffled[:30]) == sorted(classes[:30])
    assert (shuffled != classes).any()
    nested = np.repeat(["x", "y"], 30)
    np.testing.assert_array_equal(
        permute_groups(nested, wells, plates, rng=np.random.default_rng(0)), nested
    )


def test_p_is_never_zero():
    assert permutation_p(2.0, np.arange(9) / 10) == pytest.approx(0.1)
    assert permutation_p(0.0, np.arange(9) / 10) == 1.0
