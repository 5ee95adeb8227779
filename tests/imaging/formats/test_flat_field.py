"""Flat-field profiles of Harmony: parsed, evaluated, and taken off the planes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_bio_superposition.imaging.formats.flat_field import (
    FlatField,
    FlattenedPlanes,
    parse_flat_fields,
)
from napari_bio_superposition.imaging.formats.harmony import find_index, list_entries
from napari_bio_superposition.imaging.read import read_image
from napari_bio_superposition.imaging.read_config import ReadConfig

TEXT = (
    "{Background: {Character: Flat, Mean: 300.0}, Channel: 1, ChannelName: DAPI, "
    "Foreground: {Character: NonFlat, NonFlatness: {Original: 0.6}, Profile: {Coefficients: "
    "[[1.0], [0.5, -0.25], [0.0, 0.0, -0.75]], Dims: [20, 16], Origin: [9.5, 7.5], "
    "Scale: [0.05, 0.05], Type: Polynomial}, Quality: 1.0}, Version: Acapella:2013}"
)
FIELD = FlatField(((1.0,), (0.5, -0.25), (0.0, 0.0, -0.75)), (9.5, 7.5), (0.05, 0.05), (20.0, 16.0))


def test_a_profile_is_parsed() -> None:
    assert parse_flat_fields(TEXT) == {"foreground": FIELD}


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "Foreground: {",
        TEXT.replace("Polynomial", "Spline"),
        TEXT.replace("[0.5, -0.25]", "[0.5]"),
        TEXT.replace("[0.5, -0.25]", "[nan, 1]"),
        TEXT.replace("Origin: [9.5, 7.5]", "Origin: [9.5]"),
        TEXT.replace("Dims: [20, 16]", "Dims: [0, 16]"),
        TEXT.replace("[1.0]", "[one]"),
    ],
)
def test_a_profile_that_is_not_understood_is_left_out(damaged: str) -> None:
    assert parse_flat_fields(damaged) == {}


def test_the_polynomial_by_hand() -> None:
    illumination = FIELD.evaluate((16, 20))
    x, y = (0 - 9.5) * 0.05, (15 - 7.5) * 0.05
    corner = 1 + 0.5 * x - 0.25 * y - 0.75 * y**2
    x2, y2 = (19 - 9.5) * 0.05, (0 - 7.5) * 0.05
    opposite = 1 + 0.5 * x2 - 0.25 * y2 - 0.75 * y2**2
    assert illumination[15, 0] / illumination[0, 19] == pytest.approx(corner / opposite, rel=1e-5)
    assert illumination.mean() == pytest.approx(1.0)


def test_a_binned_image_has_the_same_illumination() -> None:
    full, half = FIELD.evaluate((16, 20)), FIELD.evaluate((8, 10))
    binned = full.reshape(8, 2, 10, 2).mean((1, 3))
    np.testing.assert_allclose(binned, half, atol=1e-3)


def test_what_the_illumination_did_is_undone_within_the_type_of_the_camera() -> None:
    flat = FIELD.evaluate((16, 20))
    seen = np.rint(10_000 * flat).astype(np.uint16)
    planes = FlattenedPlanes(lambda channel, plane: seen, {0: FIELD})
    corrected = planes(0, 0)
    assert corrected.dtype == np.uint16
    assert np.abs(corrected.astype(int) - 10_000).max() <= 1
    np.testing.assert_array_equal(planes(1, 0), seen)
    bright = FlattenedPlanes(lambda channel, plane: np.full((16, 20), 65535, np.uint16), {0: FIELD})
    assert bright(0, 0).max() == 65535


@pytest.mark.parametrize("in_reference", [False, True])
def test_an_export_is_corrected_on_request(
    write_harmony: Callable[..., Path], in_reference: bool
) -> None:
    folder = write_harmony("V5")
    index = find_index(folder)
    assert index is not None
    profile = f"<FlatfieldProfile>{TEXT}</FlatfieldProfile>"
    maps = f"<Maps><Map><Entry ChannelID='1'>{profile}</Entry></Map></Maps>"
    if in_reference:
        index.with_name("Index.ref.xml").write_text(f"<Reference>{maps}</Reference>", "utf-8")
    else:
        text = index.read_text("utf-8")
        assert "<Images>" in text
        index.write_text(text.replace("<Images>", f"{maps}<Images>"), "utf-8")
    series = list_entries(folder)[0].key
    plain = read_image(folder, config=ReadConfig(series=series))
    flat = read_image(folder, config=ReadConfig(series=series, flat_field="foreground"))
    first = np.asarray(plain.pixels[0].compute(), float)
    expected = np.rint(first / FIELD.evaluate((16, 20)))
    np.testing.assert_allclose(flat.pixels[0].compute(), expected, atol=1)
    np.testing.assert_array_equal(flat.pixels[1].compute(), plain.pixels[1].compute())
    assert any("no foreground profile" in warning for warning in flat.warnings)


def test_the_real_export_has_both_profiles(shared_data: Path) -> None:
    folder = shared_data / "operetta" / "plate"
    raw = tifffile.imread(next((folder / "Images").glob("r03c03f01*.tiff")))
    for kind in ("foreground", "background"):
        config = ReadConfig(series="r03c03f01", flat_field=kind)
        image = read_image(folder, config=config)
        assert not any("profile" in warning for warning in image.warnings)
        ratio = np.asarray(image.pixels[0].compute(), float) / np.maximum(raw, 1)
        # Less light in the corners: they are raised, the middle is lowered.
        assert ratio[:40, :40].mean() > 1.1
        assert ratio[520:560, 520:560].mean() < 1.0
