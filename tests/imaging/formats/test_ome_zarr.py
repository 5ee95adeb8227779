"""OME-Zarr 0.4 and 0.5: images, collections, plates, and metadata that are wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.read import open_fields, read_field, read_image
from napari_bio_superposition.imaging.read_config import ReadConfig

Write = Callable[..., Path]


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    """Time, channel, plane, height, width; each axis has its own length."""
    return rng.integers(0, 65535, (2, 3, 4, 20, 18), dtype=np.uint16)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_image(tmp_path: Path, write_ome_zarr: Write, pixels: np.ndarray, version: str) -> None:
    folder = write_ome_zarr(
        tmp_path / "plate1_C04_site3.ome.zarr", pixels, "tczyx", version=version,
        labels=("DAPI", "", "TMRM"),
    )  # fmt: skip
    with pytest.raises(ImageReadError, match="2 time points"):
        read_image(folder)
    image = read_image(folder, config=ReadConfig(time=1))
    assert image.id == "plate1_C04_site3"
    assert image.acquisition.well == "C04"
    assert image.channel_names == ("DAPI", "channel 2", "TMRM")
    assert image.pixel_size_um == 0.5
    assert image.translate_um == (10.0, -4.0)
    assert image.warnings == ()
    np.testing.assert_array_equal(image.pixels.compute(), pixels[1].max(axis=1))


@pytest.mark.parametrize("axes", ["yx", "cyx", "zyx", "czyx", "tyx"])
def test_axes(tmp_path: Path, write_ome_zarr: Write, pixels: np.ndarray, axes: str) -> None:
    chosen = pixels[tuple(slice(None) if letter in axes else 0 for letter in "tczyx")]
    folder = write_ome_zarr(tmp_path / "a.zarr", chosen, axes)
    image = read_image(folder, config=ReadConfig(time=0 if "t" in axes else None))
    expected = chosen[0] if "t" in axes else chosen
    expected = expected.max(axis=axes.replace("t", "").index("z")) if "z" in axes else expected
    expected = expected if "c" in axes else expected[np.newaxis]
    np.testing.assert_array_equal(image.pixels.compute(), expected)


def test_focal_planes_in_focus_across_chunks(tmp_path: Path, write_ome_zarr: Write) -> None:
    planes = np.zeros((1, 5, 40, 40), np.uint16)
    planes[0, 3, 30, 30] = 500
    planes[0, 1] = 20
    folder = write_ome_zarr(tmp_path / "a.zarr", planes, "czyx")
    config = ReadConfig(projection="in_focus", in_focus_planes=1)
    np.testing.assert_array_equal(read_image(folder, config=config).pixels[0], planes[0, 3])


@pytest.mark.parametrize(
    ("unit", "expected"), [("nanometer", 5e-4), ("millimeter", 500.0), (None, None), ("foot", None)]
)
def test_units(
    tmp_path: Path, write_ome_zarr: Write, unit: str | None, expected: float | None
) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", np.zeros((16, 16), np.uint8), "yx", unit=unit)
    if expected is not None and expected < 1e-3:
        expected = None  # half a nanometre is no pixel of a light microscope
    image = read_image(folder)
    assert image.pixel_size_um == expected
    assert len(image.warnings) == (expected is None)


def test_outer_transformation_is_applied_after_the_inner_one(
    tmp_path: Path, write_ome_zarr: Write
) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", np.zeros((16, 16), np.uint8), "yx")
    change(folder, lambda ome: ome["multiscales"][0].update(
        coordinateTransformations=[
            {"type": "scale", "scale": [2.0, 2.0]},
            {"type": "translation", "translation": [1.0, 0.0]},
        ]
    ))  # fmt: skip
    image = read_image(folder)
    assert image.pixel_size_um == 1.0
    assert image.translate_um == (21.0, -8.0)


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "zarr.json"
    group = json.loads(file.read_text())
    edit(group["attributes"]["ome"])
    file.write_text(json.dumps(group))


def first_dataset(ome: dict[str, Any]) -> dict[str, Any]:
    dataset: dict[str, Any] = ome["multiscales"][0]["datasets"][0]
    return dataset


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda ome: ome.update(version="0.6"), "version 0.6"),
        (lambda ome: ome.pop("version"), "version None"),
        (lambda ome: ome.update(multiscales=[]), "no 'multiscales' list"),
        (lambda ome: ome.update(multiscales=[7]), "no 'multiscales' object"),
        (lambda ome: ome["multiscales"][0].update(version="0.3"), "version 0.3"),
        (lambda ome: ome["multiscales"][0].pop("axes"), "no 'axes' list"),
        (lambda ome: ome["multiscales"][0].update(axes=["y", "x"]), "no 'axes' object"),
        (lambda ome: ome["multiscales"][0]["axes"].reverse(), "axes x, y"),
        (lambda ome: ome["multiscales"][0]["axes"][0].update(name="q"), "axes q, x"),
        (lambda ome: ome["multiscales"][0].update(datasets={}), "no 'datasets' list"),
        (lambda ome: first_dataset(ome).update(path="../b"), "leads outside the image"),
        (lambda ome: first_dataset(ome).update(path="/etc"), "leads outside the image"),
        (lambda ome: first_dataset(ome).update(path=3), "leads outside the image"),
        (lambda ome: first_dataset(ome).update(path="1"), "is missing"),
        (lambda ome: first_dataset(ome).pop("coordinateTransformations"), "no 'coordinateT"),
        (lambda ome: first_dataset(ome)["coordinateTransformations"][0].update(scale=[1]), "2 fin"),
        (lambda ome: first_dataset(ome)["coordinateTransformations"][0].update(scale="ab"), "2 fi"),
        (
            lambda ome: first_dataset(ome)["coordinateTransformations"][0].update(scale=[0, 1]),
            "not positive",
        ),
        (
            lambda ome: first_dataset(ome)["coordinateTransformations"][0].update(type="affine"),
            "transformation 'affine'",
        ),
    ],
)
def test_wrong_metadata(
    tmp_path: Path, write_ome_zarr: Write, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", np.zeros((16, 16), np.uint8), "yx")
    change(folder, edit)
    with pytest.raises(ImageReadError, match=message):
        read_image(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 10000, '{"attributes": []}', "\udcff"])
def test_damaged_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "zarr.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ImageReadError):
        read_image(tmp_path)


def test_pixels_with_other_axes_than_the_metadata(tmp_path: Path, write_ome_zarr: Write) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", np.zeros((16, 16), np.uint8), "yx")
    zarr.create_array(store=str(folder / "0"), shape=(1, 16, 16), dtype="u1", overwrite=True)
    with pytest.raises(ImageReadError, match="axes yx, but its pixels have 3 axes"):
        read_image(folder)


def test_text_is_no_image(tmp_path: Path, write_ome_zarr: Write) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", np.zeros((16, 16), np.uint8), "yx",
                            version="0.4")  # fmt: skip
    zarr.create_array(store=str(folder / "0"), shape=(16, 16), dtype="<U2", overwrite=True,
                      zarr_format=2)  # fmt: skip
    with pytest.raises(ImageReadError, match="no intensities"):
        read_image(folder)


def test_a_damaged_chunk_shows_when_it_is_read(tmp_path: Path, write_ome_zarr: Write) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", np.ones((2, 16, 16), np.uint16), "cyx")
    chunk = folder / "0" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    image = read_image(folder)
    assert int(image.pixels[0].max()) == 1
    with pytest.raises(ImageReadError, match="damaged"):
        image.pixels[1].compute()


def test_collection_of_bioformats2raw(
    tmp_path: Path, write_ome_zarr: Write, write_zarr_attributes: Callable[..., None]
) -> None:
    folder = tmp_path / "a.zarr"
    write_zarr_attributes(folder, {"version": "0.5", "bioformats2raw.layout": 3})
    with pytest.raises(ImageReadError, match="holds no image"):
        read_image(folder)
    for number in range(2):
        write_ome_zarr(folder / str(number), np.full((16, 16), number, np.uint16), "yx")
    with pytest.raises(ImageReadError, match=r"2 images.*0 \(cells\), 1 \(cells\)"):
        read_image(folder)
    image = read_image(folder, config=ReadConfig(series="1"))
    assert int(image.pixels.max()) == 1
    assert image.id == "a_1"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plate(
    tmp_path: Path,
    write_ome_zarr: Write,
    write_zarr_attributes: Callable[..., None],
    version: str,
) -> None:
    folder = tmp_path / "p.zarr"
    wells = [{"path": f"B/{column}", "rowIndex": 1, "columnIndex": column} for column in (2, 3)]
    plate = {"version": version, "plate": {"name": "P7", "wells": wells}}
    write_zarr_attributes(folder, plate, version)
    for column in (2, 3):
        well = folder / "B" / str(column)
        images = {"version": version, "well": {"images": [{"path": "0"}, {"path": "1"}]}}
        write_zarr_attributes(well, images, version)
        for field in (0, 1):
            value = 10 * column + field
            write_ome_zarr(well / str(field), np.full((16, 16), value, np.uint16), "yx",
                           version=version)  # fmt: skip
    fields = open_fields(folder)
    assert [field.id for field in fields] == ["P7_B2_0", "P7_B2_1", "P7_B3_0", "P7_B3_1"]
    image = read_field(fields[3])
    assert (image.acquisition.plate, image.acquisition.well) == ("P7", "B3")
    assert image.acquisition.field == "1"
    assert int(image.pixels.max()) == 31
    assert int(read_image(folder, config=ReadConfig(series="B/2/1")).pixels.max()) == 21
    assert int(read_image(folder / "B/2", config=ReadConfig(series="0")).pixels.max()) == 20


@pytest.mark.parametrize(
    "plate",
    [
        {},
        {"wells": []},
        {"wells": [{}]},
        {"wells": [{"path": "../x"}]},
        {"wells": [{"path": "A/1"}]},
    ],
)
def test_damaged_plates(
    tmp_path: Path, write_zarr_attributes: Callable[..., None], plate: dict[str, Any]
) -> None:
    write_zarr_attributes(tmp_path / "p.zarr", {"version": "0.5", "plate": plate})
    with pytest.raises(ImageReadError):
        read_image(tmp_path / "p.zarr")
