"""Directions and spectra: hand-computed cosines, Welch's bound, both effective ranks, matching."""

import numpy as np
import pytest

from napari_bio_superposition.evaluation.geometry import (
    effective_rank,
    match_directions,
    measure_directions,
    welch_bound,
)


def test_orthogonal_directions_and_a_duplicate():
    rng = np.random.default_rng(0)
    geometry = measure_directions(3 * np.eye(4, 8, dtype=np.float32), rng=rng)
    assert geometry.mean_abs_cosine == geometry.mean_largest_cosine == 0
    assert geometry.effective_rank == pytest.approx(4)
    doubled = np.vstack([np.eye(2, 8), np.eye(1, 8)]).astype(np.float32)
    geometry = measure_directions(doubled, rng=rng)
    assert geometry.mean_abs_cosine == pytest.approx(1 / 3)
    assert geometry.mean_largest_cosine == pytest.approx(2 / 3)


def test_random_directions_match_their_baseline():
    rng = np.random.default_rng(0)
    geometry = measure_directions(rng.normal(size=(600, 512)).astype(np.float32), rng=rng)
    assert geometry.random_mean_abs_cosine == pytest.approx(0.0353, abs=5e-4)  # sqrt(2/(pi 512))
    assert geometry.mean_abs_cosine == pytest.approx(geometry.random_mean_abs_cosine, rel=0.02)
    low, high = geometry.random_interval
    assert low <= geometry.random_mean_abs_cosine <= high


@pytest.mark.parametrize(("n", "bound"), [(587, 0.016), (1021, 0.031), (3970, 0.041), (512, 0.0)])
def test_welch_bound_of_the_specification(n, bound):
    assert welch_bound(n, 512) == pytest.approx(bound, abs=6e-4)


def test_a_simplex_reaches_the_welch_bound():
    simplex = (np.eye(4) - 0.25).astype(np.float32)  # 4 directions in 3 dimensions
    plane = np.linalg.svd(simplex)[2][:3]
    geometry = measure_directions(
        (simplex @ plane.T).astype(np.float32), rng=np.random.default_rng(0)
    )
    assert geometry.rms_cosine == pytest.approx(1 / 3, abs=1e-5)
    assert geometry.welch_rms_cosine == pytest.approx(1 / 3)


def test_both_effective_ranks_of_the_specification():
    """Spectrum as k^-1/2 over 250 dimensions: 204 by singular values, 73 by their squares."""
    rng = np.random.default_rng(0)
    rows = np.linalg.qr(rng.normal(size=(400, 251)) - 0)[0]
    rows = np.linalg.qr(np.column_stack([np.ones(400), rows]))[0][:, 1:251]  # no mean
    features = rows * np.arange(1, 251) ** -0.5
    assert effective_rank(features) == pytest.approx(204, abs=1)
    assert effective_rank(features, definition="covariance_eigenvalues") == pytest.approx(73, abs=1)
    wide = np.pad(features, ((0, 0), (0, 300)))
    assert effective_rank(wide) == pytest.approx(effective_rank(features), rel=1e-3)
    assert effective_rank(np.ones((5, 3))) == 0


def test_matching_undoes_a_permutation():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(20, 30)).astype(np.float32)
    np.testing.assert_allclose(match_directions(first, first[::-1] * 2), 1, rtol=1e-5)
    assert len(match_directions(first, first[:7])) == 7
    assert match_directions(first, -first).mean() < 0.5
