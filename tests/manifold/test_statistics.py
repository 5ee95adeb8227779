"""Correlations: planted ones are found, the null holds its level where wells differ by chance."""

import numpy as np
import pytest
from scipy.stats import binom, pearsonr, spearmanr

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.resampling import Wells
from napari_bio_superposition.manifold.statistics import (
    correlate,
    percentiles,
    spearman,
    two_sided,
    warn_of_few,
)

WELLS = np.repeat([f"w{place}" for place in range(8)], 20)
PLATES = np.repeat(["p0", "p1"], 80)


def test_a_planted_relation_is_found(rng: np.random.Generator) -> None:
    time = rng.uniform(size=160)
    outcome = -time + 0.2 * rng.normal(size=160)
    found = run(correlate(time, outcome, WELLS, PLATES, draws=(200, 200), rng=rng))
    rank = found["spearman"]
    assert rank.value == pytest.approx(spearmanr(time, outcome)[0])
    assert found["pearson"].value == pytest.approx(pearsonr(time, outcome)[0])
    assert rank.low < rank.value < rank.high < rank.null_low < 0 < rank.null_high
    assert rank.p_value == pytest.approx(1 / 201)
    assert (rank.n_patches, rank.n_wells) == (160, 8)


def test_wells_that_differ_by_chance_are_no_evidence() -> None:
    """Time and outcome differ between wells, unrelated; patches alone would be sure of a link.

    Of 39 shuffles at most one may lie as far out for p <= 0.05, and all 40 figures are
    exchangeable: 2 of 40 tests are false alarms. The limits are those of a binomial count.
    """
    rejected = {"p_value": 0, "p_patches": 0}
    n_studies, wells = 60, np.repeat(np.arange(8), 12).astype(str)
    for seed in range(n_studies):
        rng = np.random.default_rng(seed)
        time = np.repeat(rng.normal(size=8), 12) + 0.3 * rng.normal(size=96)
        outcome = np.repeat(rng.normal(size=8), 12) + 0.3 * rng.normal(size=96)
        rank = run(correlate(time, outcome, wells, draws=(0, 39), rng=rng))["spearman"]
        for name in rejected:
            rejected[name] += getattr(rank, name) <= 0.05
    low, high = binom.interval(0.99, n_studies, 2 / 40)
    assert low <= rejected["p_value"] <= high
    assert rejected["p_patches"] > binom.ppf(0.9999, n_studies, 2 / 40)


def test_a_relation_inside_wells_is_found_by_their_shuffles_too() -> None:
    """Wells are alike; the share of planted studies found exceeds any that chance would give."""
    found, n_studies = 0, 20
    for seed in range(n_studies):
        rng = np.random.default_rng(seed)
        time = rng.normal(size=160)
        outcome = 0.5 * time + rng.normal(size=160)
        found += (
            run(correlate(time, outcome, WELLS, draws=(0, 39), rng=rng))["pearson"].p_value <= 0.05
        )
    assert found > binom.ppf(0.9999, n_studies, 2 / 40)


def test_the_seed_decides(rng: np.random.Generator) -> None:
    time, outcome = rng.uniform(size=(2, 160))
    first, again = (
        run(correlate(time, outcome, WELLS, draws=(20, 20), rng=np.random.default_rng(3)))
        for _ in range(2)
    )
    assert first == again


def test_one_well_has_no_interval_and_no_draws_no_null(rng: np.random.Generator) -> None:
    time, outcome = rng.uniform(size=(2, 30))
    alone = np.full(30, "w0")
    rank = run(correlate(time, outcome, alone, draws=(10, 0), rng=rng))["spearman"]
    assert np.isnan([rank.low, rank.high, rank.null_low, rank.p_value]).all()
    with pytest.raises(TableError, match="a correlation needs 10"):
        run(correlate(time[:5], outcome[:5], alone[:5], rng=rng))


def test_small_figures_by_hand() -> None:
    assert spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(0.5)
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))
    assert two_sided(-2.0, np.array([1.0, -2, 3])) == 0.75
    assert percentiles(np.array([np.nan, 0, 1]), 0.5) == (0.25, 0.75)


def test_few_wells_are_told() -> None:
    told = warn_of_few(Wells(np.array(["a", "b", "b"]), np.array(["1", "2", "2"])))
    assert "Only 2 wells" in told[0]
    assert "single well" in told[1]
    assert warn_of_few(Wells(WELLS, PLATES)) == []
