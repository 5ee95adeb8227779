import numpy as np
import pytest

from napari_bio_superposition.segmentation.normalize import normalize_percentiles


def test_the_two_percentiles_become_zero_and_one() -> None:
    # 0 to 1000: percentile 1 is 10 and percentile 99.8 is 998.
    plane = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    result = normalize_percentiles(plane)
    assert result.dtype == np.float32
    assert result.ravel()[[10, 998]] == pytest.approx([0, 1], abs=1e-6)
    assert result.max() == pytest.approx(990 / 988)


def test_gain_and_offset_do_not_matter(rng: np.random.Generator) -> None:
    plane = rng.poisson(20, (64, 64)).astype(np.uint16)
    changed = plane.astype(np.float64) * 37.5 + 4000
    np.testing.assert_allclose(
        normalize_percentiles(plane), normalize_percentiles(changed), atol=1e-4
    )


def test_a_constant_plane_becomes_zero() -> None:
    assert not normalize_percentiles(np.full((5, 5), 300, np.uint16)).any()


def test_few_bright_pixels_stay_bright() -> None:
    plane = np.zeros((100, 100), np.uint8)
    plane[50, 50:53] = 200
    result = normalize_percentiles(plane)
    assert result.max() == 1
    assert np.isfinite(result).all()
