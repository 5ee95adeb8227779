"""Figures of a region as computed by hand; p-values of random regions are uniform."""

import numpy as np
import pytest

from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.features.rank_sum import rank_sums
from napari_bio_superposition.features.region_statistics import (
    RegionQueryConfig,
    RegionScores,
    affordable_tokens,
    column_auroc,
    sample_region,
)
from napari_bio_superposition.features.regions import TokenGrid

ORIGINS = np.array([[0, 0], [0, 32], [32, 0], [32, 32]])


def make_grid() -> TokenGrid:
    return TokenGrid.of_patches(ORIGINS, 32, (16, 16), (64, 64))


def score(inside: np.ndarray, values: np.ndarray, seed: int = 0, n_random: int = 99):
    """Score activations ``(tokens, latents)`` that are known everywhere."""
    config = RegionQueryConfig(n_random=n_random)
    rng = np.random.default_rng(seed)
    sample = sample_region(inside, ~inside, make_grid(), 4000, config, rng=rng)
    scores = RegionScores(sample, values.shape[1])
    for start in range(0, values.shape[1], 2):
        part = slice(start, min(start + 2, values.shape[1]))
        scores.add(part, values[sample.rows, part])
    return scores.as_table()


def square(top: int, left: int, size: int) -> np.ndarray:
    """Tokens ``(4, 256)`` of a square on the raster of 32 x 32."""
    rows = make_grid().rows[top : top + size, left : left + size]
    inside = np.zeros(1024, bool)
    inside[rows.ravel()] = True
    return inside.reshape(4, 256)


def test_sorted_bits_give_the_auroc_of_ranks(rng: np.random.Generator) -> None:
    values = rng.gamma(1.0, size=(500, 20)).astype(np.float32)
    values[rng.random(values.shape) < 0.8] = 0
    values[:, 3] = -0.0
    first = rng.random(500) < 0.4
    expected = rank_sums(values, first).auroc
    np.testing.assert_allclose(column_auroc(values[first], values[~first]), expected, atol=1e-6)


def test_a_planted_latent_leads_with_its_figures(rng: np.random.Generator) -> None:
    inside = square(4, 20, 6)
    values = np.where(rng.random((1024, 5)) < 0.1, 1.0, 0.0).astype(np.float32)
    values[:, 4] = 0
    values[inside.ravel(), 3] = 4.0
    table = score(inside, values)
    best = table.iloc[0]
    assert best["latent"] == 3
    assert (best["mean_inside"], best["area"]) == (4.0, 1.0)
    outside = values[~inside.ravel(), 3]
    assert best["mean_outside"] == pytest.approx(outside.mean(), abs=0.03)
    assert best["firing_rate"] == pytest.approx((values[:, 3] > 0).mean(), abs=0.03)
    assert best["auroc"] == pytest.approx(1.0)
    assert best["lift"] > 20
    assert best["p_value"] <= 0.02
    assert best["q_value"] <= 4 * 0.02
    silent = table[table["latent"] == 4].iloc[0]
    assert np.isnan(silent["p_value"])
    assert (silent["auroc"], silent["lift"]) == (0.5, 1.0)
    assert table.attrs["tokens_inside"] == 36
    assert table.attrs["tokens_outside"] == 988
    assert table.attrs["tokens_outside_used"] == 800


def test_regions_placed_at_random_have_uniform_p_values(rng: np.random.Generator) -> None:
    """Smooth maps, so that tokens are no independent draws: a test over tokens would fail here."""
    noise = np.fft.rfft2(rng.normal(size=(32, 32, 40)), axes=(0, 1))
    distance = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32))
    smooth = np.fft.irfft2(noise * np.exp(-30 * distance)[..., None], axes=(0, 1))
    values = np.zeros((1024, 40), np.float32)
    values[make_grid().rows.ravel()] = np.maximum(smooth, 0).reshape(1024, 40)
    p_value = np.concatenate(
        [
            score(square(*place, 5), values, seed)["p_value"].to_numpy()
            for seed, place in enumerate(rng.integers(0, 27, (12, 2)).tolist())
        ]
    )
    assert np.nanmean(p_value) == pytest.approx(0.5, abs=0.1)
    assert (p_value <= 0.05).mean() < 0.12


def test_without_random_regions_there_is_no_p_value() -> None:
    table = score(square(0, 0, 5), np.ones((1024, 2), np.float32), n_random=0)
    assert table["p_value"].isna().all()


def test_a_tiny_region_and_a_full_one_are_refused(rng: np.random.Generator) -> None:
    config = RegionQueryConfig()
    tiny = square(0, 0, 2)
    with pytest.raises(RegionError, match="covers 4 tokens of accepted patches; at least 8"):
        sample_region(tiny, ~tiny, make_grid(), 4000, config, rng=rng)
    everything = np.ones((4, 256), bool)
    with pytest.raises(RegionError, match="Only 0 tokens are left"):
        sample_region(everything, ~everything, make_grid(), 4000, config, rng=rng)


def test_larger_dictionaries_get_fewer_tokens() -> None:
    config = RegionQueryConfig(work=512 * 8192 * 1000.0)
    assert affordable_tokens(512, 8192, config) == 1000
    assert affordable_tokens(512, 1024, config) == 8000
