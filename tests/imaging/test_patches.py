"""Patches tile the field, keep their place and channels, and are scaled as the config says."""

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import ChannelError, ConfigError, ImageReadError
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.imaging.grid import list_origins
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.patches import check_pixel_size, extract_patches

ALL_KEPT = PatchConfig(side_px=16, quality="none")


def make_image(pixels: Any, full_scale: float = 65535.0, **changes: Any) -> MultichannelImage:
    names = tuple(f"channel{i}" for i in range(pixels.shape[0]))
    values: dict[str, Any] = {
        "channel_names": names,
        "roles": dict(zip(("nuclei", "mitochondria", "lysosomes"), names, strict=False)),
        "pixel_size_um": 0.5,
        "acquisition": Acquisition("day1", plate="P1", well="B03", field="2"),
    }
    return MultichannelImage(pixels, full_scale=full_scale, **(values | changes))


def numbered(height: int, width: int, channels: int = 2) -> npt.NDArray[np.uint16]:
    """Every pixel has its own count."""
    return np.arange(channels * height * width, dtype=np.uint16).reshape(channels, height, width)


def test_patches_run_row_by_row_and_leave_the_rest_out() -> None:
    patches = extract_patches(make_image(numbered(40, 55)), ["nuclei"], ALL_KEPT)
    expected = [[y, x] for y in (0, 16) for x in (0, 16, 32)]
    assert patches.origins.tolist() == expected
    assert patches.pixels.shape == (6, 1, 16, 16)
    assert patches.ids[4] == "day1:P1/B03/2/16/16"


def test_a_patch_holds_the_counts_at_its_origin_in_the_order_of_the_roles() -> None:
    pixels = numbered(40, 55)
    patches = extract_patches(make_image(pixels), ["mitochondria", "nuclei"], ALL_KEPT)
    window = pixels[::-1, 16:32, 32:48] / np.float32(65535)
    np.testing.assert_allclose(patches.pixels[5], window, rtol=1e-6)
    assert patches.pixels.dtype == np.float32
    assert patches.channel_roles == ("mitochondria", "nuclei")


def test_edges_are_covered_on_request() -> None:
    config = PatchConfig(side_px=16, cover_edges=True)
    origins = list_origins((40, 32), config)
    assert origins.tolist() == [[y, x] for y in (0, 16, 24) for x in (0, 16)]


@given(
    st.integers(16, 90), st.integers(16, 90), st.integers(16, 40), st.integers(0, 39), st.booleans()
)
def test_patches_lie_inside_and_tile_the_field(
    height: int, width: int, side: int, overlap: int, cover_edges: bool
) -> None:
    config = PatchConfig(side_px=side, overlap_px=overlap % side, cover_edges=cover_edges)
    if min(height, width) < side:
        with pytest.raises(ImageReadError, match="less than one patch"):
            list_origins((height, width), config)
        return
    origins = list_origins((height, width), config)
    seen = np.zeros((height, width), dtype=int)
    for y, x in origins:
        assert seen[y : y + side, x : x + side].shape == (side, side)
        seen[y : y + side, x : x + side] += 1
    assert len({tuple(origin) for origin in origins.tolist()}) == len(origins)
    bottom, right = origins.max(axis=0) + side
    assert (seen[:bottom, :right] >= 1).all()
    if cover_edges:
        assert (bottom, right) == (height, width)
    elif config.overlap_px == 0:
        assert seen.max() == 1
        assert height - bottom < side
        assert width - right < side


def test_lazy_pixels_give_the_same_patches() -> None:
    pixels = numbered(64, 64)
    lazy = extract_patches(make_image(da.from_array(pixels, chunks=20)), ["nuclei"], ALL_KEPT)
    eager = extract_patches(make_image(pixels), ["nuclei"], ALL_KEPT)
    np.testing.assert_array_equal(lazy.pixels, eager.pixels)


def test_only_the_wanted_channels_are_loaded() -> None:
    loaded: list[int] = []

    def load(block: npt.NDArray[Any], block_info: Any = None) -> npt.NDArray[Any]:
        if block_info:
            loaded.append(block_info[0]["chunk-location"][0])
        return block

    pixels = da.from_array(numbered(32, 32, 3), chunks=(1, 32, 32)).map_blocks(load, dtype="u2")
    extract_patches(make_image(pixels), ["lysosomes"], ALL_KEPT)
    assert set(loaded) == {2}


def test_scaling_by_percentiles_uses_the_whole_field() -> None:
    pixels = np.linspace(100, 1100, 32 * 64).reshape(1, 32, 64)
    config = PatchConfig(
        side_px=32,
        quality="none",
        intensity_scaling="field_percentile",
        low_percentile=10,
        high_percentile=90,
    )
    patches = extract_patches(make_image(pixels), ["nuclei"], config).pixels
    assert patches.min() == 0.0
    assert patches.max() == 1.0
    assert patches[0, 0, 16, 10] == pytest.approx((pixels[0, 16, 10] - 200) / 800, abs=1e-5)


def test_a_constant_channel_becomes_zero() -> None:
    pixels = np.full((1, 32, 32), 700, np.uint16)
    config = PatchConfig(side_px=32, intensity_scaling="field_percentile")
    patches = extract_patches(make_image(pixels), ["nuclei"], config)
    assert not patches.pixels.any()
    assert patches.reasons == ("too empty",)


def test_a_single_bright_spot_survives_percentiles() -> None:
    pixels = np.zeros((1, 64, 64), np.uint16)
    pixels[0, 5, 6] = 1000
    config = PatchConfig(side_px=64, quality="none", intensity_scaling="field_percentile")
    assert extract_patches(make_image(pixels), ["nuclei"], config).pixels[0, 0, 5, 6] == 1.0


def test_counts_above_the_full_scale_are_clipped() -> None:
    pixels = np.full((1, 16, 16), 300.0)
    patches = extract_patches(make_image(pixels, full_scale=255), ["nuclei"], ALL_KEPT)
    assert (patches.pixels == 1.0).all()


def test_a_small_image_is_a_clear_error() -> None:
    with pytest.raises(ImageReadError, match="day1 has 1x1 px, less than one patch of 128 px"):
        extract_patches(make_image(np.zeros((1, 1, 1))), ["nuclei"])


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(ChannelError, match="death"):
        extract_patches(make_image(numbered(16, 16)), ["death"], ALL_KEPT)
    with pytest.raises(ChannelError, match="Name at least one role"):
        extract_patches(make_image(numbered(16, 16)), [], ALL_KEPT)


def test_values_that_are_not_finite_are_refused() -> None:
    pixels = np.zeros((1, 16, 16), np.float32)
    pixels[0, 3, 3] = np.nan
    with pytest.raises(ImageReadError, match="not finite"):
        extract_patches(make_image(pixels), ["nuclei"], ALL_KEPT)


def test_contradicting_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="overlap below 64 px"):
        PatchConfig(side_px=64, overlap_px=64)
    with pytest.raises(ConfigError, match="low percentile below the high one"):
        PatchConfig(low_percentile=50, high_percentile=50)


@pytest.mark.parametrize(
    ("card", "image", "words"),
    [
        (None, 0.5, None),
        (0.5, 0.52, None),
        (0.5, None, "unknown"),
        (0.25, 0.5, "0.5 times as large"),
        (0.6, 0.3, "2 times as large"),
    ],
)
def test_the_pixel_size_is_compared_with_the_model(
    card: float | None, image: float | None, words: str | None
) -> None:
    warning = check_pixel_size(make_image(numbered(16, 16), pixel_size_um=image), card)
    assert (warning is None) if words is None else (warning is not None and words in warning)


def test_a_real_field_gives_its_grid(shared_data: Path) -> None:
    path = next((shared_data / "bbbc022").glob("*A14_site1*"))
    image = make_image(tifffile.imread(path))
    patches = extract_patches(image, ["nuclei", "mitochondria"])
    assert len(patches) == 4 * 5
    assert patches.accepted.sum() >= 18
