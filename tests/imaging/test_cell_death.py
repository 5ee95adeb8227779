"""Cell death: rates by hand, planted dead nuclei, histograms that add up, and degenerate fields."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.filters import threshold_multiotsu

from napari_bio_superposition.core.errors import (
    ChannelError,
    ConfigError,
    ImageReadError,
    TableError,
)
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import Acquisition, MultichannelImage, PatchSet
from napari_bio_superposition.imaging.background import roll_ball
from napari_bio_superposition.imaging.cell_death import (
    choose_threshold,
    explain_threshold,
    measure_death_dye,
    prepare_dye,
    rate_pixels,
    score_cell_death,
)
from napari_bio_superposition.imaging.cell_death_config import CellDeathConfig
from napari_bio_superposition.imaging.dye_measurement import (
    N_COUNT_BINS,
    DyeMeasurement,
    count_values,
    pool_measurements,
)
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.patches import extract_patches

RAW = CellDeathConfig(smoothing_px=0, background="none", min_nuclear_fraction=0)
"""Dye as it is, so that rates can be computed by hand."""


def make_image(
    dye: npt.NDArray[Any], *, plate: str = "P1", full_scale: float = 65535.0
) -> MultichannelImage:
    return MultichannelImage(
        np.stack([dye, dye]),
        channel_names=("hoechst", "sytox"),
        roles={"nuclei": "hoechst", "death": "sytox"},
        full_scale=full_scale,
        pixel_size_um=0.5,
        acquisition=Acquisition("a", plate=plate),
    )


def cut(image: MultichannelImage, side: int = 16, **settings: Any) -> PatchSet:
    config = PatchConfig(side_px=side, quality="none", **settings)
    return extract_patches(image, ["nuclei"], config)


def measure(
    dye: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    config: CellDeathConfig = RAW,
    side: int = 16,
    **image: Any,
) -> DyeMeasurement:
    field = make_image(dye, **image)
    return measure_death_dye(field, labels.astype(np.int32), cut(field, side), config)


# --- rates ---------------------------------------------------------------------------------------


def test_rates_by_hand() -> None:
    """Two of five pixels are dead; 70 of 100 counts are theirs; 70 counts on five pixels."""
    values = np.array([5, 10, 15, 30, 40], np.float32)
    assert rate_pixels(values, 30) == pytest.approx((2 / 5, 70 / 100, 70 / 5))


def test_a_pixel_at_the_threshold_is_dead() -> None:
    assert rate_pixels(np.array([3.0, 4.0], np.float32), 4.0)[0] == 0.5


def test_without_pixels_dye_or_threshold_there_is_no_rate() -> None:
    assert np.isnan(rate_pixels(np.empty(0, np.float32), 1.0)).all()
    assert np.isnan(rate_pixels(np.ones(3, np.float32), float("nan"))).all()
    area, intensity, per_pixel = rate_pixels(np.zeros(4, np.float32), 1.0)
    assert (area, per_pixel) == (0, 0)
    assert np.isnan(intensity)


@given(
    arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1e4, width=32)),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
)
def test_rates_lie_between_0_and_1_and_fall_with_the_threshold(
    values: npt.NDArray[np.float32], first: float, second: float
) -> None:
    low, high = sorted((first, second))
    at_low, at_high = rate_pixels(values, low), rate_pixels(values, high)
    assert 0 <= at_high[0] <= at_low[0] <= 1
    if values.any():
        assert 0 <= at_high[1] <= at_low[1] + 1e-9 <= 1 + 2e-9
    assert at_high[2] <= at_low[2] + 1e-9


# --- measuring a field ---------------------------------------------------------------------------


@pytest.fixture
def planted() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Plant nuclei in a field of 2x2 patches of 16 px; one nucleus is dead."""
    labels = np.zeros((32, 32), np.int32)
    labels[2:10, 2:10] = 1  # patch 0, alive
    labels[4:12, 20:28] = 2  # patch 1, dead
    labels[20:24, 14:20] = 3  # crosses from patch 2 into patch 3; centroid at column 16.5
    dye = np.full((32, 32), 10.0)
    dye[labels == 2] = 900.0
    return dye, labels


def test_nuclei_are_counted_by_centroid_and_area_by_pixel(
    planted: tuple[npt.NDArray[Any], npt.NDArray[Any]],
) -> None:
    measurement = measure(*planted)
    assert measurement.n_nuclei.tolist() == [1, 1, 0, 1]
    assert measurement.nuclear_area_px.tolist() == [64, 64, 8, 16]
    assert measurement.values_of(1).tolist() == [900.0] * 64
    assert measurement.histogram[[10, 900]].tolist() == [64 + 24, 64]
    assert measurement.background_level == 10.0


def test_a_table_has_one_row_per_patch_and_all_three_rates(
    planted: tuple[npt.NDArray[Any], npt.NDArray[Any]],
) -> None:
    table = score_cell_death(measure(*planted), 100.0, RAW)
    assert table.index.tolist() == [
        "a:P1/-/-/0/0",
        "a:P1/-/-/0/16",
        "a:P1/-/-/16/0",
        "a:P1/-/-/16/16",
    ]
    assert table[Keys.DEATH].tolist() == [0, 1, 0, 0]
    assert table[Keys.DEATH_INTENSITY].tolist() == [0, 1, 0, 0]
    assert table[Keys.DEATH_PER_PIXEL].tolist() == [0, 900, 0, 0]
    assert table[Keys.DEATH_THRESHOLD].tolist() == [100.0] * 4
    assert table[Keys.DEATH_ELIGIBLE].dtype == bool


def test_too_little_nuclear_area_is_flagged_and_not_rated(
    planted: tuple[npt.NDArray[Any], npt.NDArray[Any]],
) -> None:
    measurement = measure(*planted)
    config = CellDeathConfig(min_nuclear_fraction=0.25)  # 64 of 256 px
    table = score_cell_death(measurement, 100.0, config)
    assert table[Keys.DEATH_ELIGIBLE].tolist() == [True, True, False, False]
    assert table[Keys.DEATH].isna().tolist() == [False, False, True, True]
    assert table[Keys.NUCLEAR_AREA].tolist() == [64, 64, 8, 16]
    rated = CellDeathConfig(min_nuclear_fraction=0.25, rate_ineligible=True)
    table = score_cell_death(measurement, 100.0, rated)
    assert table[Keys.DEATH].tolist() == [0, 1, 0, 0]
    assert table[Keys.DEATH_ELIGIBLE].tolist() == [True, True, False, False]


def test_patches_at_the_edge_are_flagged_on_request() -> None:
    labels = np.zeros((48, 48), np.int32)
    labels[0:8, 4:12] = 1  # touches the upper edge
    labels[20:28, 20:28] = 2
    dye = np.ones((48, 48))
    nuclei = measure(dye, labels, CellDeathConfig(edges="skip_border_nuclei"))
    assert np.flatnonzero(nuclei.at_edge).tolist() == [0]
    ring = measure(dye, labels, CellDeathConfig(edges="skip_outer_ring"))
    assert np.flatnonzero(~ring.at_edge).tolist() == [4]
    table = score_cell_death(ring, 0.5, RAW)
    assert table[Keys.DEATH_ELIGIBLE].sum() == 1


def test_overlapping_patches_do_not_count_pixels_twice() -> None:
    field = make_image(np.full((32, 32), 7.0))
    labels = np.ones((32, 32), np.int32)
    measurement = measure_death_dye(field, labels, cut(field, overlap_px=8), RAW)
    assert measurement.nuclear_area_px.sum() == 9 * 256
    assert measurement.histogram.sum() == 32 * 32


def test_dead_nuclei_are_found_on_an_uneven_field(rng: np.random.Generator) -> None:
    """Planted: 12 of 60 nuclei take up dye, over a ramp of background and haze."""
    rows, columns = np.mgrid[:256, :256]
    centres = [(y, x) for y in range(20, 250, 32) for x in range(20, 250, 30)][:60]
    dead = rng.permutation(60) < 12
    labels = np.zeros((256, 256), np.int32)
    dye = 300 + 2.0 * rows + rng.normal(scale=8, size=(256, 256))
    for number, (y, x) in enumerate(centres):
        inside = (rows - y) ** 2 + (columns - x) ** 2 < 9**2
        labels[inside] = number + 1
        dye[inside] += 700 if dead[number] else 60
    config = CellDeathConfig(min_nuclear_fraction=0)
    measurement = measure(dye, labels, config, side=128)
    threshold = choose_threshold([measurement], config)
    assert 100 < threshold < 650
    table = score_cell_death(measurement, threshold, config)
    rate = np.average(table[Keys.DEATH], weights=table[Keys.NUCLEAR_AREA])
    assert rate == pytest.approx(12 / 60, abs=0.05)  # the rim of a dead nucleus is dim
    assert explain_threshold([measurement], threshold, config) is None


def test_images_without_dye_or_with_other_nuclei_are_refused() -> None:
    field = make_image(np.ones((16, 16)))
    labels = np.ones((16, 16), np.int32)
    with pytest.raises(ChannelError, match="death"):
        measure_death_dye(field.with_roles({"nuclei": "hoechst"}), labels, cut(field), RAW)
    with pytest.raises(ImageReadError, match="8x16 px and image a 16x16 px"):
        measure_death_dye(field, labels[:8], cut(field), RAW)


# --- background ----------------------------------------------------------------------------------


def test_the_background_follows_haze_and_leaves_the_spot() -> None:
    plane = np.full((100, 120), 200.0)
    plane[40:52, 50:62] += 500
    for method in ("coarse", "exact"):
        background = roll_ball(plane, 25, method=method)  # type: ignore[arg-type]
        assert background.shape == plane.shape
        assert background[0, 0] == 200
        assert background.max() < 220
    config = CellDeathConfig(smoothing_px=0)
    dye = prepare_dye(plane, config)
    assert dye[46, 56] == pytest.approx(500, abs=20)
    assert dye.min() == 0


@pytest.mark.parametrize("shape", [(61, 80), (3, 3), (1, 1)])
def test_the_coarse_ball_is_close_to_the_exact_one(
    shape: tuple[int, int], rng: np.random.Generator
) -> None:
    plane = rng.normal(500, 5, size=shape)
    exact = roll_ball(plane, 10, method="exact")
    coarse = roll_ball(plane, 10)
    assert (coarse <= plane.astype(np.float32)).all()
    assert np.abs(coarse - exact).max() < 10


def test_smoothing_and_background_can_be_left_out(rng: np.random.Generator) -> None:
    plane = rng.uniform(0, 100, size=(20, 20)).astype(np.float32)
    np.testing.assert_array_equal(prepare_dye(plane, RAW), plane)


# --- threshold -----------------------------------------------------------------------------------


def three_classes(rng: np.random.Generator, n: int = 4000) -> npt.NDArray[np.float32]:
    parts = [
        rng.normal(mean, 15, size=size) for mean, size in ((60, n), (300, n // 4), (900, n // 8))
    ]
    return np.clip(np.concatenate(parts), 0, None).astype(np.float32)


def from_values(values: npt.NDArray[np.float32], full_scale: float = 65535.0) -> DyeMeasurement:
    return DyeMeasurement(
        image_id="a",
        plate="P1",
        full_scale=full_scale,
        patch_ids=("p",),
        patch_area_px=256,
        n_nuclei=np.array([1]),
        nuclear_area_px=np.array([len(values)]),
        at_edge=np.array([False]),
        values=values,
        starts=np.array([0, len(values)]),
        histogram=count_values(values, full_scale),
        background_level=1.0,
    )


def test_the_threshold_is_that_of_the_pixels_themselves(rng: np.random.Generator) -> None:
    """The additive histogram costs less than one of multi-Otsu's bins."""
    values = three_classes(rng)
    expected = threshold_multiotsu(values, classes=3, nbins=256)[-1]
    threshold = choose_threshold([from_values(values)], CellDeathConfig(top_quantile=1.0))
    assert threshold == pytest.approx(expected, abs=1.5 * float(np.ptp(values)) / 256)
    assert 300 < threshold < 900


def test_histograms_of_fields_add_up(rng: np.random.Generator) -> None:
    values = three_classes(rng)
    parts = [from_values(part) for part in np.array_split(rng.permutation(values), 3)]
    assert choose_threshold(parts) == choose_threshold([from_values(values)])


def test_a_hot_pixel_does_not_move_the_threshold(rng: np.random.Generator) -> None:
    values = three_classes(rng, n=20_000)
    hot = np.append(values, np.float32(65_000))
    assert choose_threshold([from_values(hot)]) == pytest.approx(
        choose_threshold([from_values(values)]), rel=0.05
    )
    published = CellDeathConfig(top_quantile=1.0)
    assert choose_threshold([from_values(hot)], published) > 800


def test_other_count_scales_work_and_are_not_mixed(rng: np.random.Generator) -> None:
    values = three_classes(rng)
    unit = from_values(values / np.float32(65535), full_scale=1.0)
    assert choose_threshold([unit]) * 65535 == pytest.approx(
        choose_threshold([from_values(values)])
    )
    with pytest.raises(TableError, match="different count scales"):
        pool_measurements([unit, from_values(values)])
    with pytest.raises(TableError, match="no measurement"):
        choose_threshold([])


@pytest.mark.parametrize(
    ("values", "words"), [([], "no nucleus"), ([5.0] * 30, "fewer than 3"), ([5.0, 6.0], "fewer")]
)
def test_degenerate_dye_gives_no_threshold_but_a_reason(values: list[float], words: str) -> None:
    measurement = from_values(np.array(values, np.float32))
    threshold = choose_threshold([measurement])
    assert np.isnan(threshold)
    assert words in str(explain_threshold([measurement], threshold))
    table = score_cell_death(measurement, threshold, RAW)
    assert table[Keys.DEATH].isna().all()


def test_a_field_of_living_cells_is_called_so(rng: np.random.Generator) -> None:
    """Multi-Otsu parts noise too; the warning says that there may be no dead cell."""
    labels = np.zeros((64, 64), np.int32)
    labels[10:50, 10:50] = 1
    measurement = measure(rng.normal(200, 5, size=(64, 64)), labels, CellDeathConfig())
    threshold = choose_threshold([measurement])
    assert "lies within the background" in str(explain_threshold([measurement], threshold))


@given(arrays(np.float32, st.integers(0, 60), elements=st.floats(0, 65535, width=32)))
def test_no_histogram_breaks_the_threshold(values: npt.NDArray[np.float32]) -> None:
    threshold = choose_threshold([from_values(values)])
    assert np.isnan(threshold) or 0 <= threshold <= 65535


def test_every_nuclear_pixel_is_counted_once(rng: np.random.Generator) -> None:
    values = rng.uniform(-10, 70_000, size=500).astype(np.float32)
    histogram = count_values(values, 65535)
    assert histogram.shape == (N_COUNT_BINS,)
    assert histogram.sum() == 500


# --- on disk -------------------------------------------------------------------------------------


def test_a_measurement_comes_back_as_it_was(
    planted: tuple[npt.NDArray[Any], npt.NDArray[Any]], tmp_path: Path
) -> None:
    measurement = measure(*planted)
    measurement.save(tmp_path / "dye.npz")
    loaded = DyeMeasurement.load(tmp_path / "dye.npz")
    for name, value in vars(measurement).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    assert [path.name for path in tmp_path.iterdir()] == ["dye.npz"]
    pd.testing.assert_frame_equal(
        score_cell_death(loaded, 100.0), score_cell_death(measurement, 100.0)
    )


@pytest.mark.parametrize("content", [b"", b"not a file", None])
def test_damaged_files_are_one_clear_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "dye.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TableError, match="Analyse the image again"):
        DyeMeasurement.load(path)


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dye.npz"
    from_values(np.arange(50, dtype=np.float32)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TableError):
        DyeMeasurement.load(path)
    np.savez(path, values=np.zeros(3))
    with pytest.raises(TableError):
        DyeMeasurement.load(path)


def test_settings_check_themselves() -> None:
    with pytest.raises(ConfigError, match="n_classes is 1"):
        CellDeathConfig(n_classes=1)
