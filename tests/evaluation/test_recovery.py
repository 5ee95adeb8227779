"""Single features: the planted one is found on other wells, the best of noise is not believed."""

import numpy as np
import pytest

from napari_bio_superposition.evaluation.recovery import (
    Places,
    area_under_curve,
    best_agreeing,
    best_correlated,
)


def places(n: int = 400) -> Places:
    wells = np.repeat(np.arange(n // 20), 20)
    order = np.arange(n)
    half = wells % 2 == 0
    return Places(order[half], order[~half], wells.astype(str), (wells // 10).astype(str))


def test_the_planted_feature_is_found():
    rng = np.random.default_rng(0)
    features, quantity = rng.normal(size=(400, 50)), rng.random(400)
    features[:, 17] = -np.exp(3 * quantity) + rng.normal(size=400)
    quantity[:3] = np.nan
    best = best_correlated(features, quantity, places(), rng=rng, n_permutations=30)
    assert best.feature == 17
    assert best.score > 0.8
    assert best.interval.low < best.score < best.interval.high
    assert abs(best.null) < 0.1
    assert best.p_value == pytest.approx(1 / 31)


def test_the_best_of_noise_is_not_believed():
    rng = np.random.default_rng(0)
    best = best_correlated(
        rng.normal(size=(400, 500)), rng.random(400), places(), rng=rng, n_permutations=30
    )
    assert abs(best.score) < 0.2
    assert best.p_value > 0.03


def test_auroc_by_hand():
    values = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    mask = np.array([False, True, True, False])
    np.testing.assert_allclose(area_under_curve(values, mask), [1.0, 0.5])
    assert np.isnan(area_under_curve(values, np.ones(4, bool))).all()


def test_the_feature_of_a_mask_is_found_beyond_foreign_masks():
    rng = np.random.default_rng(0)
    mask = rng.random(400) < 0.3
    activations = np.maximum(rng.normal(size=(400, 20)), 0)
    activations[:, 4] += 2 * mask
    foreign = rng.random((10, 400)) < 0.3
    best = best_agreeing(activations, mask, foreign, places(), rng=rng)
    assert best.feature == 4
    assert best.score > 0.9
    assert best.interval.low < best.score <= best.interval.high
    assert 0.4 < best.null < 0.6
