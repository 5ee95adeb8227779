"""Quality rules: hand-computed for the paper's, planted defects and invariance for ours."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_bio_superposition.imaging.grid import list_origins
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.quality import QualityVerdict, assess_patches, estimate_noise

Plane = npt.NDArray[np.float64]
NOISE = 5.0


def draw_cells(rng: np.random.Generator, shape: tuple[int, int] = (256, 256)) -> Plane:
    """Return a noise-free field of sharp, textured discs over a floor of 100 counts."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    field = np.full(shape, 100.0)
    for y, x in rng.uniform(0, shape, size=(40, 2)):
        field[(rows - y) ** 2 + (columns - x) ** 2 < 10**2] += rng.uniform(200, 400)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 1.0)
    return ndimage.gaussian_filter(field + 150 * texture * (field > 150), 0.8)


def add_noise(field: Plane, rng: np.random.Generator) -> Plane:
    return field + rng.normal(scale=NOISE, size=field.shape)


def assess(
    *planes: npt.NDArray[Any], config: PatchConfig | None = None, full_scale: float = 65535.0
) -> QualityVerdict:
    config = config or PatchConfig()
    origins = list_origins((planes[0].shape[0], planes[0].shape[1]), config)
    return assess_patches(planes, origins, config, full_scale=full_scale)


# --- relative ------------------------------------------------------------------------------------


def test_sharp_cells_are_kept(rng: np.random.Generator) -> None:
    verdict = assess(add_noise(draw_cells(rng), rng))
    assert verdict.accepted.all()
    assert verdict.reasons == ("",) * 4
    assert verdict.quality["sharpness"].shape == (4,)


def test_empty_and_hazy_corners_are_rejected(rng: np.random.Generator) -> None:
    field = draw_cells(rng)
    field[:128, :128] = 100.0
    field[120:, 120:] = 350.0  # a little beyond the patch: haze has no edge
    verdict = assess(add_noise(field, rng))
    assert verdict.reasons == ("too empty", "", "", "low variation")
    assert verdict.quality["signal_fraction"][[0, 3]] == pytest.approx([0, 1], abs=0.02)


def test_a_field_of_nothing_but_noise_is_rejected(rng: np.random.Generator) -> None:
    verdict = assess(add_noise(np.full((256, 256), 100.0), rng))
    assert verdict.reasons == ("too empty",) * 4


def test_blurred_cells_are_rejected(rng: np.random.Generator) -> None:
    blurred = ndimage.gaussian_filter(draw_cells(rng), 6.0)
    assert assess(add_noise(blurred, rng)).reasons == ("blurred",) * 4


def test_noise_does_not_pass_for_detail(rng: np.random.Generator) -> None:
    """Without the correction, noise makes a blurred channel look sharp."""
    blurred = add_noise(ndimage.gaussian_filter(draw_cells(rng), 8.0), rng)
    noisy = blurred + rng.normal(scale=20, size=blurred.shape)
    assert noisy.std() > blurred.std()
    assert assess(noisy).quality["sharpness"].max() < 0.08


def test_one_sharp_channel_is_enough(rng: np.random.Generator) -> None:
    sharp = add_noise(draw_cells(rng), rng)
    empty = add_noise(np.full((256, 256), 100.0), rng)
    assert assess(empty, sharp).accepted.all()


def test_saturation_is_found_below_the_full_scale(rng: np.random.Generator) -> None:
    """A 12-bit camera saturates at 4095 in a 16-bit file."""
    counts = add_noise(draw_cells(rng), rng)
    counts[:128, 128:] = np.minimum(counts[:128, 128:] * 20, 4095)
    verdict = assess(counts.round().astype(np.uint16))
    assert verdict.reasons[1] == "saturated"
    assert verdict.quality["saturated_fraction"][[0, 2, 3]].max() == 0


def test_a_field_at_the_full_scale_is_saturated() -> None:
    verdict = assess(np.full((128, 128), 255, np.uint8), full_scale=255)
    assert verdict.reasons == ("saturated",)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 20), st.floats(-50, 5000))
def test_gain_and_offset_do_not_matter(gain: float, offset: float) -> None:
    rng = np.random.default_rng(3)
    field = draw_cells(rng)
    field[:128, :128] = 100.0
    counts = add_noise(field, rng)
    before = assess(counts)
    after = assess(gain * counts + offset, full_scale=1e9)
    assert after.reasons == before.reasons
    for name, values in before.quality.items():
        np.testing.assert_allclose(after.quality[name], values, rtol=0.02, atol=2e-3)


def test_the_noise_is_measured_beside_cells(rng: np.random.Generator) -> None:
    assert estimate_noise(add_noise(draw_cells(rng), rng)) == pytest.approx(NOISE, rel=0.25)
    ramp = np.add.outer(np.arange(200.0), np.arange(200.0))
    assert estimate_noise(ramp) == pytest.approx(0, abs=1e-4)


def test_a_noise_free_image_is_judged_too(rng: np.random.Generator) -> None:
    verdict = assess(draw_cells(rng))
    assert verdict.accepted.all()
    assert not np.isnan(verdict.quality["contrast_to_noise"]).any()


def test_thresholds_are_settings(rng: np.random.Generator) -> None:
    counts = add_noise(draw_cells(rng), rng)
    strict = PatchConfig(min_signal_fraction=1.0)
    assert set(assess(counts, config=strict).reasons) == {"too empty"}
    assert set(assess(counts, config=PatchConfig(min_sharpness=9.0)).reasons) == {"blurred"}


def test_real_fields_are_kept_and_their_blurred_copies_are_not(shared_data: Path) -> None:
    files = sorted((shared_data / "bbbc022").glob("*.tiff"))
    rng = np.random.default_rng(0)
    kept, blurred = [], []
    for file in files:
        planes = [plane.astype(float) for plane in tifffile.imread(file)]
        kept.extend(assess(*planes).accepted)
        hazy = [ndimage.gaussian_filter(plane, 6.0) for plane in planes]
        blurred.extend(assess(*[add_noise(plane, rng) for plane in hazy]).accepted)
    assert np.mean(kept) > 0.9
    assert np.mean(blurred) < 0.1


# --- as published --------------------------------------------------------------------------------

PUBLISHED = PatchConfig(side_px=16, quality="published")


def checkerboard(low: float, high: float, side: int = 16) -> Plane:
    return np.where(np.indices((side, side)).sum(axis=0) % 2, high, low).astype(float)


def test_published_metrics_by_hand() -> None:
    """A checkerboard of 0 and 8000: deviation 4000; every Laplacian is 4 x 8000 in size."""
    quality = assess(checkerboard(0, 8000), config=PUBLISHED).quality
    assert quality["variation_counts"] == pytest.approx([4000])
    assert quality["top_signal_counts"] == pytest.approx([int(0.15 * 256) * 8000])
    assert quality["laplacian_variance_counts2"] == pytest.approx([(4 * 8000) ** 2])
    assert quality["background_fraction"] == pytest.approx([0.5])


def half_and_half(bright_columns: int, side: int = 16) -> Plane:
    plane = np.zeros((side, side))
    plane[:, :bright_columns] = 20_000
    return plane


@pytest.mark.parametrize(
    ("plane", "reason"),
    [
        (checkerboard(0, 6999), "low variation"),  # deviation 3499.5
        (checkerboard(0, 7001), ""),
        (half_and_half(8), ""),
        (half_and_half(5), "too empty"),  # 11 of 16 columns are dark: 0.69
    ],
)
def test_published_rules(plane: Plane, reason: str) -> None:
    assert assess(plane, config=PUBLISHED).reasons == (reason,)


def test_published_deviations_add_up_over_channels() -> None:
    verdict = assess(checkerboard(0, 3600), checkerboard(0, 3600), config=PUBLISHED)
    assert verdict.quality["variation_counts"] == pytest.approx([3600])
    assert verdict.accepted.all()


def test_published_blur_is_a_small_laplacian() -> None:
    """A ramp of 157 counts per pixel has a Laplacian at its two ends only."""
    ramp = np.add.outer(np.zeros(128), np.linspace(0, 20_000, 128))
    verdict = assess(ramp, config=PatchConfig(quality="published"))
    assert verdict.reasons == ("blurred",)


def test_the_first_failing_rule_gives_the_reason() -> None:
    assert assess(np.zeros((16, 16)), config=PUBLISHED).reasons == ("low variation",)


def test_published_counts_are_those_of_sixteen_bits() -> None:
    eight_bit = checkerboard(0, 100).astype(np.uint8)
    quality = assess(eight_bit, config=PUBLISHED, full_scale=255).quality
    assert quality["variation_counts"] == pytest.approx([50 * 257])


def test_nothing_is_judged_on_request() -> None:
    verdict = assess(np.zeros((16, 16)), config=PatchConfig(side_px=16, quality="none"))
    assert verdict.accepted.tolist() == [True]
    assert verdict.quality == {}
