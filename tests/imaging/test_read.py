"""Reading images end to end: real ones, names and roles, and one clear error for bad input."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from napari_bio_superposition.core.errors import ChannelError, ImageReadError
from napari_bio_superposition.imaging.read import make_unique, read_image
from napari_bio_superposition.imaging.read_config import ReadConfig
from napari_bio_superposition.imaging.write import write_image


@pytest.mark.parametrize("name", ["A14_site1", "A14_site2", "B13_site1", "B13_site2"])
def test_bbbc022(shared_data: Path, name: str) -> None:
    path = shared_data / "bbbc022" / f"plate1_{name}_5ch.ome.tiff"
    image = read_image(path)
    assert image.channel_names == ("H33342", "conA", "SYTO14", "WGA_Phall", "MitoTDR")
    assert dict(image.roles) == {"nuclei": "H33342", "mitochondria": "MitoTDR"}
    assert image.pixel_size_um == 0.656
    assert image.full_scale == 65535
    assert image.acquisition.plate == "plate1"
    assert f"{image.acquisition.well}_site{image.acquisition.field}" == name
    assert image.warnings == ()
    assert image.pixels.chunksize == (1, 520, 696)
    np.testing.assert_array_equal(image.channel("nuclei"), tifffile.imread(path)[0])


def test_a_real_neuron(shared_data: Path) -> None:
    path = shared_data / "neuron_4ch" / "neuron-4Ch.tiff"
    image = read_image(path, roles={"mitochondria": "af647", "lysosomes": "AF568"})
    assert image.channel_names == ("AF647", "AF568", "AF488", "DAPI")
    assert dict(image.roles) == {"nuclei": "DAPI", "mitochondria": "AF647", "lysosomes": "AF568"}
    assert image.pixel_size_um == pytest.approx(0.1241)
    assert image.shape == (623, 502)
    assert image.id == "neuron-4Ch"
    assert image.acquisition.group == "neuron-4Ch"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pixels = np.arange(3 * 9 * 10, dtype=np.uint16).reshape(3, 9, 10)
    return write_image(pixels, tmp_path / "a.ome.tif", channel_names=("DAPI", "TMRM", "Mito"))


def test_channels_can_be_renamed(path: Path) -> None:
    image = read_image(path, channels=("x", "Hoechst", "PI"))
    assert image.channel_names == ("x", "Hoechst", "PI")
    assert dict(image.roles) == {"nuclei": "Hoechst", "death": "PI"}
    with pytest.raises(ChannelError, match=r"2 channel names .* 3 channels \(DAPI, TMRM, Mito\)"):
        read_image(path, channels=("x", "y"))
    with pytest.raises(ChannelError, match="repeat"):
        read_image(path, channels=("x", "y", "y"))


def test_an_ambiguous_guess_is_a_warning_until_the_user_decides(path: Path) -> None:
    image = read_image(path)
    assert dict(image.roles) == {"nuclei": "DAPI", "mitochondria": "TMRM"}
    assert "TMRM, Mito all look like mitochondria" in image.warnings[0]
    decided = read_image(path, roles={"mitochondria": "Mito"})
    assert dict(decided.roles) == {"nuclei": "DAPI", "mitochondria": "Mito"}
    assert decided.warnings == ()


def test_roles_that_do_not_fit(path: Path) -> None:
    with pytest.raises(ChannelError, match=r"No channel 'Lyso'.*DAPI, TMRM, Mito"):
        read_image(path, roles={"lysosomes": "Lyso"})
    assert read_image(path, roles={"tau": "Mito"}, extra_roles=["tau"]).has("tau")


def test_pixel_size_of_the_user_wins(path: Path) -> None:
    assert read_image(path).pixel_size_um is None
    assert read_image(path, config=ReadConfig(pixel_size_um=0.3)).pixel_size_um == 0.3


def test_unique_names() -> None:
    names = make_unique(["a", "", "a", "channel 2", " b\n c ", "a (2)"])
    assert names == ("a", "channel 2", "a (2)", "channel 2 (2)", "b c", "a (2) (2)")


@pytest.mark.parametrize("missing", ["a.tif", "folder/a.tif", "a.zarr", "a.tif/b.tif", "\0.tif"])
def test_paths_that_do_not_exist(tmp_path: Path, missing: str) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((9, 9)))
    with pytest.raises(ImageReadError):
        read_image(tmp_path / missing)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.chmod(0)
    with pytest.raises(ImageReadError, match="may not be read by this user"):
        read_image(path)


def test_no_file_stays_open(path: Path) -> None:
    this = psutil.Process()
    before = len(this.open_files())
    image = read_image(path)
    image.pixels.compute()
    damaged = path.with_name("b.tif")
    damaged.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageReadError):
        read_image(damaged)
    assert len(this.open_files()) == before


def test_float_and_8_bit_images(tmp_path: Path) -> None:
    values = np.linspace(0, 0.5, 81, dtype=np.float64).reshape(9, 9)
    tifffile.imwrite(tmp_path / "f.tif", values)
    image = read_image(tmp_path / "f.tif")
    assert (image.pixels.dtype, image.full_scale) == (np.float32, 1.0)
    tifffile.imwrite(tmp_path / "u.tif", (values * 255).astype(np.uint8))
    image = read_image(tmp_path / "u.tif")
    assert (image.pixels.dtype, image.full_scale) == (np.uint8, 255.0)
    values[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "n.tif", values)
    with pytest.raises(ImageReadError, match="1 pixels that are no number"):
        read_image(tmp_path / "n.tif")
    tifffile.imwrite(tmp_path / "b.tif", values > 0.2)
    with pytest.raises(ImageReadError, match="type bool"):
        read_image(tmp_path / "b.tif")


def test_importing_the_reader_stays_light() -> None:
    code = (
        "import sys, napari_bio_superposition.imaging.read as r; "
        "print([m for m in ('dask', 'zarr', 'tifffile', 'torch', 'scanpy', 'skimage', 'napari') "
        "if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
