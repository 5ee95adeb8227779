"""Pixel types and their full scale."""

import dask.array as da
import numpy as np
import pytest

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.intensities import Intensities, check_intensities


def check(values: np.ndarray) -> Intensities:
    return check_intensities(da.from_array(values.reshape(1, 1, -1)), "a.tif")


@pytest.mark.parametrize(("dtype", "full_scale"), [(np.uint8, 255), (np.uint16, 65535)])
def test_camera_types_pass_unread(dtype: type, full_scale: float) -> None:
    checked = check(np.array([0, 3], dtype))
    assert checked.pixels.dtype == dtype
    assert checked.full_scale == full_scale
    assert checked.warnings == ()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_up_to_one_have_the_full_scale_one(dtype: type) -> None:
    checked = check(np.array([0.0, 0.25], dtype))
    assert checked.pixels.dtype == np.float32
    assert checked.full_scale == 1.0
    assert checked.warnings == ()
    np.testing.assert_array_equal(checked.pixels.compute().ravel(), [0.0, 0.25])


def test_larger_floats_scale_by_their_maximum() -> None:
    checked = check(np.array([-2.0, 4000.0]))
    assert checked.full_scale == 4000.0
    assert "down to -2" in checked.warnings[0]
    assert "up to 4000" in checked.warnings[1]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e300])
def test_not_finite_is_refused(odd: float) -> None:
    with pytest.raises(ImageReadError, match="1 pixels that are no number or infinite"):
        check(np.array([0.0, odd]))


def test_wide_integers_become_uint16_where_they_fit() -> None:
    checked = check(np.array([0, 65535], np.int32))
    assert checked.pixels.dtype == np.uint16
    assert checked.full_scale == 65535
    assert "int32 were read as uint16" in checked.warnings[0]
    np.testing.assert_array_equal(checked.pixels.compute().ravel(), [0, 65535])


def test_wider_integers_become_float32() -> None:
    checked = check(np.array([0, 70000], np.uint32))
    assert checked.pixels.dtype == np.float32
    assert checked.full_scale == 70000
    assert "reach 70000" in checked.warnings[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([-1, 5], np.int16), "counts down to -1"),
        (np.array([True, False]), "type bool"),
        (np.array([1j, 0]), "type complex128"),
    ],
)
def test_no_intensities_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ImageReadError, match=message):
        check(values)
