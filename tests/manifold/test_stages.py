"""Stages of pseudotime: trend test and effect sizes by hand and against every permutation."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.resampling import Wells
from napari_bio_superposition.manifold.stages import (
    cliffs_delta,
    compare_stages,
    cut_stages,
    dunn,
    jonckheere,
    order_statistic,
)
from napari_bio_superposition.manifold.trajectory_config import TrendConfig

GROUPS = [np.array([3.0, 4]), np.array([2.0, 3]), np.array([1.0])]


def test_jonckheere_terpstra_by_hand() -> None:
    """7.5 of 8 pairs fall; E = 4; V = (300 - 36 - 18) / 72 + 0 + 4 * 2 / 160 = 3.4667."""
    found = jonckheere(GROUPS)
    assert found.statistic == 7.5
    assert found.expected == 4
    assert found.variance == pytest.approx(246 / 72 + 0.05)
    assert found.z == pytest.approx(3 / found.variance**0.5)
    assert found.p_value == pytest.approx(norm.sf(found.z))
    rising = jonckheere(GROUPS, "increasing")
    assert rising.statistic == 0.5
    assert rising.p_value > 0.9
    assert jonckheere(GROUPS, "two-sided").p_value == pytest.approx(2 * norm.sf(found.z))


def test_its_variance_is_that_of_all_permutations() -> None:
    """With ties in all three terms of the formula, over all 5040 orders of seven values."""
    values, ends = np.array([1.0, 1, 1, 2, 3, 3, 4]), [3, 5]
    statistics = [
        order_statistic(np.split(np.array(order), ends)) for order in permutations(values)
    ]
    found = jonckheere(np.split(values, ends))
    assert found.expected == pytest.approx(np.mean(statistics))
    assert found.variance == pytest.approx(np.var(statistics))


def test_cliffs_delta_by_hand() -> None:
    """Of four pairs, three are higher and one is equal."""
    assert cliffs_delta(np.array([3.0, 4]), np.array([2.0, 3])) == 0.75
    assert cliffs_delta(np.array([1.0]), np.array([2.0])) == -1
    assert np.isnan(cliffs_delta(np.array([]), np.array([2.0])))


def test_dunn_by_hand() -> None:
    groups = [np.array([1.0, 2, 2, 5]), np.array([2.0, 6, 7]), np.array([8.0, 9, 9, 10, 11])]
    ranks = np.split(rankdata(np.concatenate(groups)), [4, 7])
    n, ties = 12, (3**3 - 3 + 2**3 - 2) / (12 * 11)
    expected = np.ones((3, 3))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        spread = (n * (n + 1) / 12 - ties) * (1 / len(ranks[a]) + 1 / len(ranks[b]))
        z = abs(ranks[a].mean() - ranks[b].mean()) / spread**0.5
        expected[a, b] = expected[b, a] = min(1, 3 * 2 * norm.sf(z))
    np.testing.assert_allclose(dunn(groups, "bonferroni"), expected)
    assert np.isnan(dunn([np.ones(3), np.ones(2)], "bonferroni")).all()
    assert np.isnan(dunn([np.ones(3), np.array([])], "bonferroni")).all()


def test_terciles_are_equal_in_count_and_bins_equal_in_width() -> None:
    time = np.linspace(0, 1, 101) ** 3
    codes, edges = cut_stages(time, "terciles")
    assert np.bincount(codes).tolist() == [34, 34, 33]
    assert edges.tolist() == [time[34], time[68]]
    codes, edges = cut_stages(time, "equal_width")
    low, high = np.quantile(time, [0.05, 0.95])
    np.testing.assert_allclose(edges, [low + (high - low) / 3, low + 2 * (high - low) / 3])
    assert (codes == -1).sum() == 10
    assert np.bincount(codes[codes >= 0])[0] > 50  # as published, and called terciles there


def test_a_planted_fall_is_found_over_wells(rng: np.random.Generator) -> None:
    time = rng.uniform(size=240)
    outcome = 1 - time + 0.2 * rng.normal(size=240)
    wells = Wells(np.repeat([f"w{place}" for place in range(8)], 30))
    config = TrendConfig(n_bootstraps=60, n_permutations=60)
    for cut in ("terciles", "equal_width"):
        found = run(compare_stages(time, outcome, wells, config, cut=cut, rng=rng))  # type: ignore[arg-type]
        summary = found.summary
        assert summary["mean"].is_monotonic_decreasing
        assert (summary["low"] < summary["mean"]).all()
        assert (summary["mean"] < summary["high"]).all()
        assert summary["n_wells"].tolist() == [8, 8, 8]
        assert found.trend.p_wells == pytest.approx(1 / 61)
        assert (found.pairs["cliffs_delta"] > 0.5).all()
        assert (found.pairs["low"] > 0.3).all()
        assert (found.pairs["p_patches"] < found.pairs["p_wells"]).all()
        assert found.pairs["p_wells"].iloc[1] < 0.001
    rising = TrendConfig(n_bootstraps=5, n_permutations=60, alternative="increasing")
    assert run(compare_stages(time, outcome, wells, rising, rng=rng)).trend.p_wells > 0.9
