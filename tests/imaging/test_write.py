"""Written images: whole or absent, the same bytes for the same pixels, and read by others."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_bio_superposition.core.errors import BioSuperpositionError, ChannelError, OutputError
from napari_bio_superposition.imaging.write import ImageWriteError, write_image, write_labels


def test_labels_keep_values_type_and_pixel_size(tmp_path: Path) -> None:
    labels = np.arange(35, dtype=np.int32).reshape(5, 7) * 1000
    path = write_labels(labels, tmp_path / "a_nuclei.tif", pixel_size_um=0.5)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        assert page.dtype == np.int32
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.tags["XResolution"].value == (20000, 1)  # 1 cm / 0.5 um
        assert page.resolutionunit == tifffile.RESUNIT.CENTIMETER
        np.testing.assert_array_equal(tiff.asarray(), labels)


def test_labels_of_any_integer_type_become_int32(tmp_path: Path) -> None:
    path = write_labels(np.ones((2, 2), bool), tmp_path / "a.tif")  # type: ignore[arg-type]
    assert tifffile.imread(path).dtype == np.int32


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((2, 2, 2), np.int32),
        np.zeros((2, 2)),
        np.full((2, 2), -1),
        np.full((2, 2), 2**31),
        np.zeros((0, 2), np.int32),
    ],
)
def test_what_is_no_label_image_is_refused(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(ImageWriteError):
        write_labels(labels, tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


def test_image_is_ome_tiff_with_names_and_pixel_size(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)
    path = write_image(
        pixels, tmp_path / "a.ome.tif", channel_names=("DAPI", "µ <Mito>"), pixel_size_um=0.25
    )
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "CYX"
        image = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        np.testing.assert_array_equal(tiff.asarray(), pixels)
    assert [channel["Name"] for channel in image["Pixels"]["Channel"]] == ["DAPI", "µ <Mito>"]
    assert image["Pixels"]["PhysicalSizeX"] == 0.25
    assert image["Pixels"]["PhysicalSizeXUnit"] == "µm"


def test_same_pixels_give_the_same_bytes(tmp_path: Path) -> None:
    pixels = np.ones((1, 8, 8), np.float32)
    files = [
        write_image(pixels, tmp_path / folder / "a.ome.tif", channel_names=("a",)).read_bytes()
        for folder in ("one", "two")
    ]
    assert files[0] == files[1]


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    pixels = np.ones((2, 8, 8), np.uint16)
    with pytest.raises(ChannelError, match="3 channel names for 2 channels"):
        write_image(pixels, tmp_path / "a.tif", channel_names=("a", "b", "c"))
    with pytest.raises(ImageWriteError, match="axes"):
        write_image(pixels[0], tmp_path / "a.tif", channel_names=("a",))
    with pytest.raises(ImageWriteError, match="pixel size"):
        write_image(pixels, tmp_path / "a.tif", channel_names=("a", "b"), pixel_size_um=0)
    assert not list(tmp_path.iterdir())


def test_failure_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_labels(np.ones((4, 4), np.int32), tmp_path / "a.tif")
    before = path.read_bytes()

    def fill_the_disk(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", fill_the_disk)
    with pytest.raises(BioSuperpositionError, match="No space left"):
        write_labels(np.zeros((4, 4), np.int32), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_labels(np.ones((4, 4), np.int32), tmp_path / "file" / "a.tif")
