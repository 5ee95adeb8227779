"""PNG planes: grey of 8 and 16 bit, colour only on demand."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.read import read_image
from napari_bio_superposition.imaging.read_config import ReadConfig


def write(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(imagecodecs.png_encode(pixels))
    return path


@pytest.mark.parametrize(("dtype", "full_scale"), [(np.uint8, 255), (np.uint16, 65535)])
def test_grey(tmp_path: Path, rng: np.random.Generator, dtype: type, full_scale: float) -> None:
    pixels = rng.integers(0, full_scale, (9, 12)).astype(dtype)
    image = read_image(write(tmp_path / "A01_s2.png", pixels))
    assert image.full_scale == full_scale
    assert image.channel_names == ("channel 1",)
    assert image.pixel_size_um is None
    assert image.acquisition.well == "A01"
    np.testing.assert_array_equal(image.pixels[0].compute(), pixels)


def test_colour(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    path = write(tmp_path / "a.png", pixels)
    with pytest.raises(ImageReadError, match="colour image"):
        read_image(path)
    image = read_image(path, config=ReadConfig(rgb_as_channels=True))
    assert image.channel_names == ("red", "green", "blue")
    np.testing.assert_array_equal(image.pixels.compute(), np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize("length", [0, 10, 33, 60])
def test_truncated(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.png", np.ones((64, 64), np.uint16))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ImageReadError):
        read_image(path).pixels.compute()


def test_another_file_with_the_ending_of_a_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(ImageReadError, match="no PNG file"):
        read_image(path)
