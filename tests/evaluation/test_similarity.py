"""CKA: 1 for rotations, 0 for unrelated features when debiased, with a null and an interval."""

import numpy as np
import pytest

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.evaluation.similarity import compare_features, linear_cka


def test_rotations_are_the_same_and_hand_computed_values_hold():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1)
    a, b = np.array([[1.0], [-1], [0], [0]]), np.array([[1.0], [0], [-1], [0]])
    assert linear_cka(a, b) == pytest.approx(0.25)  # squared correlation of 1/2


def test_debiased_is_zero_where_plain_is_not():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 200)), rng.normal(size=(40, 200))
    wells, plates = np.repeat(np.arange(8), 5), np.repeat([0, 1], 20)
    unrelated = compare_features(x, y, wells, plates, rng=rng)
    assert unrelated.cka > 0.7
    assert abs(unrelated.debiased) < 0.1
    assert unrelated.p_value > 0.02
    related = compare_features(x, x + 0.5 * y, wells, plates, rng=rng)
    assert related.debiased > 0.5
    assert related.p_value < 0.03
    assert related.interval.low < related.debiased < related.interval.high
    assert related.null == pytest.approx(0, abs=0.05)


def test_rows_have_to_be_the_same_ones():
    with pytest.raises(TableError, match="here are 5 and 6"):
        compare_features(np.ones((5, 2)), np.ones((6, 2)), "a", "b", rng=np.random.default_rng(0))
