"""Smooth curves: a planted shape is recovered, and judged on wells that were left out."""

import numpy as np
import pytest

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.curves import adjusted_r2, fit_curve
from napari_bio_superposition.manifold.resampling import Wells


def test_adjusted_r2_by_hand() -> None:
    """SSR 1, SST 20, n 4, p 1: 1 - (1 / 2) / (20 / 3)."""
    y = np.array([1.0, 3, 5, 7])
    assert adjusted_r2(y, np.array([1.5, 2.5, 5.5, 6.5]), 1) == pytest.approx(1 - 0.5 * 3 / 20)
    assert np.isnan(adjusted_r2(np.ones(4), np.ones(4), 1))
    assert np.isnan(adjusted_r2(y, y, 3))


def test_a_planted_shape_is_recovered(rng: np.random.Generator) -> None:
    time = rng.uniform(size=600)
    wells = rng.permutation(np.repeat([f"w{place}" for place in range(10)], 60))
    shift = dict(zip(np.unique(wells), 0.05 * rng.normal(size=10), strict=True))
    outcome = np.sin(3 * time) + np.array([shift[well] for well in wells])
    outcome += 0.1 * rng.normal(size=600)
    curve = run(fit_curve(time, outcome, Wells(wells), n_draws=25, rng=rng))
    assert curve.x[0] == pytest.approx(np.quantile(time, 0.05))
    assert np.abs(curve.y - np.sin(3 * curve.x)).max() < 0.1
    assert curve.n_splines == 8
    assert curve.adjusted_r2 > 0.7
    assert 0.6 < curve.r2_held_out < curve.adjusted_r2 + 0.02
    assert (curve.low <= curve.y + 0.02).all()
    assert (curve.high >= curve.y - 0.02).all()
    inner = slice(10, 90)
    published = (curve.model_high - curve.model_low)[inner].mean()
    assert (curve.high - curve.low)[inner].mean() > published


def test_a_relation_of_wells_alone_does_not_hold_on_others(rng: np.random.Generator) -> None:
    wells = np.repeat([f"w{place}" for place in range(6)], 40)
    time = np.repeat(rng.permutation(6) / 6, 40) + 0.05 * rng.normal(size=240)
    outcome = np.repeat(rng.normal(size=6), 40) + 0.1 * rng.normal(size=240)
    curve = run(fit_curve(time, outcome, Wells(wells), n_draws=0, rng=rng))
    assert curve.adjusted_r2 > 0.3
    assert curve.r2_held_out < 0.2
    assert np.isnan(curve.low).all()


def test_one_well_has_neither_band_nor_held_out_figure(rng: np.random.Generator) -> None:
    time = rng.uniform(size=80)
    curve = run(fit_curve(time, time, Wells(np.full(80, "w")), n_draws=5, rng=rng))
    assert curve.n_splines == 5
    assert np.isnan(curve.low).all()
    assert np.isnan(curve.r2_held_out)
    assert np.isfinite(curve.model_low).all()
