"""Group bootstrap: wider than a bootstrap of rows, exact in the simplest cases."""

import numpy as np

from napari_bio_superposition.evaluation.intervals import (
    bootstrap_groups,
    ratio_interval,
    share_interval,
)


def test_groups_that_agree_within_make_the_interval_wide():
    hits = np.repeat([True, False] * 5, 100)
    low, high = share_interval(hits, np.repeat(np.arange(10), 100), rng=np.random.default_rng(0))
    assert low <= 0.2
    assert high >= 0.8
    low, high = share_interval(hits, np.arange(1000), rng=np.random.default_rng(0))
    assert high - low < 0.08


def test_equal_groups_have_no_width_and_one_group_no_interval():
    hits = np.array([True, False] * 4)
    assert share_interval(hits, np.repeat(range(4), 2), rng=np.random.default_rng(0)) == (0.5, 0.5)
    assert np.isnan(share_interval(hits, np.zeros(8), rng=np.random.default_rng(0))).all()


def test_ratio_and_general_bootstrap_agree():
    rng = np.random.default_rng(1)
    tops, bottoms, groups = rng.random(60), rng.random(60) + 1, np.repeat(np.arange(12), 5)
    exact = ratio_interval(tops, bottoms, groups, rng=np.random.default_rng(0))
    general = bootstrap_groups(
        lambda rows: tops[rows].sum() / bottoms[rows].sum(), groups, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(exact, general, atol=0.02)
