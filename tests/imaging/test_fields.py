"""What lists of files, folders and exports hold."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.fields import choose_format, list_images, open_fields
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.imaging.read_config import ReadConfig

PLANE = np.ones((16, 16), np.uint16)


def write(path: Path, plane: np.ndarray = PLANE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, plane)
    return path


def test_a_folder_of_images_in_natural_order(tmp_path: Path) -> None:
    for name in ("s10.tif", "s2.tif", "s1.ome.tif"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "photo.jpg").write_bytes(b"x")
    (tmp_path / ".hidden.tif").write_bytes(b"x")
    (tmp_path / "old").mkdir()
    fields = open_fields(tmp_path)
    assert [field.id for field in fields] == ["s1", "s2", "s10"]
    reasons = {path.name: reason for path, reason in fields.skipped}
    assert reasons == {
        "notes.txt": "is no image",
        "old": "is a folder; give it by itself",
        "photo.jpg": "is .jpg, which does not keep intensities; export it as OME-TIFF",
    }


def test_exports_and_groups_inside_a_folder(
    tmp_path: Path, write_harmony: Callable[..., Path], write_ome_zarr: Callable[..., Path]
) -> None:
    write_harmony(folder="data/export")
    write_ome_zarr(tmp_path / "data" / "a.zarr", PLANE, "yx")
    write(tmp_path / "data" / "b.tif")
    ids = [field.id for field in open_fields(tmp_path / "data")]
    assert ids == ["a", "b", "P_1-1234abcd_r02c03f01", "P_1-1234abcd_r02c03f02"]


def test_several_series_become_several_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for position in range(2):
            tiff.write(PLANE * position, metadata={"axes": "YX", "Name": f"pos{position}"})
    fields = open_fields(path)
    assert [(field.id, field.field) for field in fields] == [("a_0", "0"), ("a_1", "1")]
    assert [int(read_field(field).pixels.max()) for field in fields] == [0, 1]
    chosen = open_fields(path, ReadConfig(series="pos1"))
    assert [field.id for field in chosen] == ["a_1"]
    (wrong,) = open_fields(path, ReadConfig(series="pos7"))
    with pytest.raises(ImageReadError, match="no image 'pos7'"):
        read_field(wrong, ReadConfig(series="pos7"))


def test_files_of_one_data_set_are_listed_once(tmp_path: Path) -> None:
    for channel in range(2):
        blocks = "".join(
            f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1"><UUID FileName="c{c}.tif">u{c}</UUID>'
            "</TiffData>"
            for c in range(2)
        )
        text = (
            f'<OME UUID="u{channel}"><Image><Pixels DimensionOrder="XYCZT" SizeX="16" SizeY="16" '
            f'SizeC="2" SizeZ="1" SizeT="1" Type="uint16">{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / f"c{channel}.tif", PLANE, description=text, metadata=None)
    fields = open_fields(tmp_path)
    assert [field.path.name for field in fields] == ["c0.tif"]
    assert fields.skipped == (
        (tmp_path / "c1.tif", "belongs to another file of the same data set"),
    )
    assert read_field(fields[0]).pixels.shape == (2, 16, 16)


def test_same_names_in_two_folders_get_different_ids(tmp_path: Path) -> None:
    paths = [write(tmp_path / plate / "A01_s1.tif") for plate in ("p1", "p2")]
    assert [field.id for field in open_fields(paths)] == ["A01_s1-p1", "A01_s1-p2"]
    assert [field.id for field in open_fields(paths[0])] == ["A01_s1"]


def test_the_same_file_given_twice_is_one_field(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    assert len(open_fields([path, str(path), tmp_path])) == 1
    assert list_images([path, tmp_path]) == [path]


def test_a_damaged_file_is_listed_and_fails_when_read(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0")
    good, bad = open_fields(tmp_path)
    assert read_field(good).shape == (16, 16)
    assert bad.id == "b"
    with pytest.raises(ImageReadError, match=r"b\.tif"):
        read_field(bad)


def test_references_travel_to_other_processes(
    tmp_path: Path, write_harmony: Callable[..., Path]
) -> None:
    fields = open_fields(write_harmony())
    copy = pickle.loads(pickle.dumps(fields))
    assert copy == fields
    image = read_field(copy[1])
    np.testing.assert_array_equal(image.pixels.compute()[:, 0, 0], [2130, 2230])
    lazy = pickle.loads(pickle.dumps(image.pixels))
    np.testing.assert_array_equal(lazy.compute()[:, 0, 0], [2130, 2230])


def test_own_pattern_fills_the_acquisition(tmp_path: Path) -> None:
    path = write(tmp_path / "SNCA_B7_3.tif")
    config = ReadConfig(filename_pattern="(?P<genotype>[A-Z]+)_(?P<well>[A-P][0-9]+)_(?P<field>.)")
    (field,) = open_fields(path, config)
    assert field.acquisition.genotype == "SNCA"
    assert (field.acquisition.well, field.acquisition.field) == ("B7", "3")
    assert field.acquisition.group == "/B7"


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ImageReadError, match=r"No image in .*notes\.txt: is no image.*\.tif"):
        open_fields(tmp_path)
    with pytest.raises(ImageReadError, match="No image"):
        open_fields([])
    with pytest.raises(ImageReadError, match=r"b\.tif does not exist"):
        open_fields([tmp_path / "b.tif", tmp_path])


def test_formats_are_chosen_by_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="neither an OME-Zarr group nor a Harmony export"):
        choose_format(tmp_path)
    for name, message in [("a.jpg", "export it as OME-TIFF"), ("a.txt", "is no image")]:
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ImageReadError, match=message):
            choose_format(tmp_path / name)
    (tmp_path / "a.xml").write_text("<Other/>")
    with pytest.raises(ImageReadError, match="is no image"):
        choose_format(tmp_path / "a.xml")


def test_the_real_folders(shared_data: Path, tmp_path: Path) -> None:
    fields = open_fields([shared_data / "bbbc022", shared_data / "neuron_4ch"])
    assert [field.id for field in fields] == [
        "plate1_A14_site1_5ch",
        "plate1_A14_site2_5ch",
        "plate1_B13_site1_5ch",
        "plate1_B13_site2_5ch",
        "neuron-4Ch",
    ]
    assert [field.acquisition.group for field in fields][:3] == [
        "plate1/A14",
        "plate1/A14",
        "plate1/B13",
    ]
    assert [path.name for path, _ in fields.skipped] == ["LICENSE"]
    copied = shutil.copytree(shared_data / "bbbc022", tmp_path / "x")
    assert [field.id for field in open_fields(copied)] == [field.id for field in fields[:4]]
