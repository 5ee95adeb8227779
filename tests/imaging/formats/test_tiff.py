"""TIFF in its dialects: made by tifffile and read back, and damaged on purpose."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.tiff import list_entries
from napari_bio_superposition.imaging.read import read_image
from napari_bio_superposition.imaging.read_config import ReadConfig
from napari_bio_superposition.imaging.write import write_image, write_labels

SIDE = 16


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    """Time, channel, plane, height, width; each axis has its own length."""
    return rng.integers(0, 65535, (2, 3, 4, SIDE, SIDE + 2), dtype=np.uint16)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_ome_tiff(
    tmp_path: Path, pixels: np.ndarray, compression: str | None, byteorder: str
) -> None:
    path = tmp_path / "plate7_B03_site2.ome.tif"
    tifffile.imwrite(
        path,
        pixels[0],
        byteorder=byteorder,
        compression=compression,
        metadata={
            "axes": "CZYX",
            "Channel": {"Name": ["Hoechst", "TMRM", "TMRM"]},
            "PhysicalSizeX": 325.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 325.0,
            "PhysicalSizeYUnit": "nm",
        },
    )
    image = read_image(path)
    assert image.channel_names == ("Hoechst", "TMRM", "TMRM (2)")
    assert image.pixel_size_um == pytest.approx(0.325)
    assert image.full_scale == 65535
    assert (image.acquisition.plate, image.acquisition.well) == ("plate7", "B03")
    assert (image.acquisition.field, image.id) == ("2", "plate7_B03_site2")
    np.testing.assert_array_equal(image.pixels.compute(), pixels[0].max(axis=1))


@pytest.mark.parametrize("axes", ["TCZYX", "ZCTYX", "CZTYX", "TZCYX", "ZTCYX", "CTZYX"])
def test_order_of_the_planes_and_choice_of_time(
    tmp_path: Path, pixels: np.ndarray, axes: str
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, pixels.transpose(["TCZYX".index(axis) for axis in axes]), metadata={"axes": axes}
    )
    with pytest.raises(ImageReadError, match=r"2 time points.*`time` to one of 0 to 1"):
        read_image(path)
    with pytest.raises(ImageReadError, match="no time point 2"):
        read_image(path, config=ReadConfig(time=2))
    image = read_image(path, config=ReadConfig(time=1))
    np.testing.assert_array_equal(image.pixels.compute(), pixels[1].max(axis=1))


def test_imagej_hyperstack(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    labels = [f"c:{c + 1}/3 z:{z + 1}/4 - {name}" for z in range(4) for c, name in
              enumerate(["DAPI", "LysoTracker", "PI"])]  # fmt: skip
    tifffile.imwrite(
        path,
        pixels[0].transpose(1, 0, 2, 3),
        imagej=True,
        resolution=(4.0, 4.0),
        metadata={"axes": "ZCYX", "unit": "\\u00B5m", "Labels": labels},
    )
    image = read_image(path)
    assert image.channel_names == ("DAPI", "LysoTracker", "PI")
    assert dict(image.roles) == {"nuclei": "DAPI", "lysosomes": "LysoTracker", "death": "PI"}
    assert image.pixel_size_um == 0.25
    np.testing.assert_array_equal(image.pixels.compute(), pixels[0].max(axis=1))


@pytest.mark.parametrize(
    ("unit", "expected"), [("micron", 0.25), ("um", 0.25), ("mm", 250), ("pixel", None)]
)
def test_imagej_units(tmp_path: Path, unit: str, expected: float | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((SIDE, SIDE), np.uint8), imagej=True, resolution=(4.0, 4.0),
                     metadata={"unit": unit})  # fmt: skip
    assert read_image(path).pixel_size_um == expected


def test_an_inch_is_no_unit_of_a_microscope(tmp_path: Path) -> None:
    plane = np.zeros((SIDE, SIDE), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", plane, imagej=True, resolution=(72.0, 72.0),
                     metadata={"unit": "inch"})  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert image.pixel_size_um is None
    assert "'inch'" in image.warnings[0]
    tifffile.imwrite(tmp_path / "b.tif", plane, resolution=(72.0, 72.0), resolutionunit="INCH")
    assert read_image(tmp_path / "b.tif").pixel_size_um is None
    assert read_image(
        tmp_path / "b.tif", config=ReadConfig(pixel_size_um=0.5)
    ).pixel_size_um == pytest.approx(0.5)


def test_what_we_write_we_read(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write_image(pixels[0, :, 0], tmp_path / "a.ome.tif", channel_names=("DAPI", "µ<", "c"),
                       pixel_size_um=0.2)  # fmt: skip
    image = read_image(path)
    assert image.channel_names == ("DAPI", "µ<", "c")
    assert image.pixel_size_um == 0.2
    assert image.warnings == ()
    np.testing.assert_array_equal(image.pixels.compute(), pixels[0, :, 0])
    labels = write_labels(np.arange(SIDE * SIDE).reshape(SIDE, SIDE), tmp_path / "a_nuclei.tif",
                          pixel_size_um=0.2)  # fmt: skip
    assert read_image(labels).pixel_size_um == pytest.approx(0.2)


def test_plain_pages_are_channels_with_a_warning(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels[0, 0], photometric="minisblack", metadata=None)
    image = read_image(path)
    assert image.channel_names == ("channel 1", "channel 2", "channel 3", "channel 4")
    assert "4 pages are; they were taken for channels" in image.warnings[0]
    np.testing.assert_array_equal(image.pixels.compute(), pixels[0, 0])
    stack = read_image(path, config=ReadConfig(axes="ZYX"))
    assert stack.warnings == ()
    np.testing.assert_array_equal(stack.pixels.compute(), pixels[0, 0].max(axis=0)[np.newaxis])
    with pytest.raises(ImageReadError, match="'CZYX' does not fit"):
        read_image(path, config=ReadConfig(axes="CZYX"))


def test_axes_that_nobody_named_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, SIDE, SIDE), np.uint16),
                     photometric="minisblack")  # fmt: skip
    with pytest.raises(ImageReadError, match="no known meaning"):
        read_image(tmp_path / "a.tif")
    # The axis order of a display: rows, columns, channels.
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((64, 64, 5), np.uint16), photometric="minisblack")
    with pytest.raises(ImageReadError, match="no known meaning"):
        read_image(tmp_path / "b.tif")
    with pytest.raises(ImageReadError, match="5 columns"):
        read_image(tmp_path / "b.tif", config=ReadConfig(axes="ZYX"))


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("ome", [True, False])
def test_colour_images(tmp_path: Path, planarconfig: str, ome: bool) -> None:
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    colour = np.arange(SIDE * SIDE * 3, dtype=np.uint16).reshape(SIDE, SIDE, 3)
    stored = colour if planarconfig == "contig" else np.moveaxis(colour, -1, 0)
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planarconfig,
                     metadata={"axes": "YXS" if planarconfig == "contig" else "SYX"})  # fmt: skip
    with pytest.raises(ImageReadError, match=r"colour image \(RGB\)"):
        read_image(path)
    image = read_image(path, config=ReadConfig(rgb_as_channels=True))
    assert image.channel_names == ("red", "green", "blue")
    np.testing.assert_array_equal(image.pixels.compute(), np.moveaxis(colour, -1, 0))


def test_samples_that_are_no_colours_are_channels(tmp_path: Path) -> None:
    pixels = np.arange(SIDE * SIDE * 5, dtype=np.uint16).reshape(SIDE, SIDE, 5)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    image = read_image(tmp_path / "a.tif")
    assert image.channel_names[4] == "channel 5"
    np.testing.assert_array_equal(image.pixels.compute(), np.moveaxis(pixels, -1, 0))


def test_several_series_have_to_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for position in range(3):
            plane = np.full((SIDE, SIDE), position, np.uint16)
            tiff.write(plane, metadata={"axes": "YX", "Name": f"position {position + 1}"})
    assert [entry.key for entry in list_entries(path)] == ["0", "1", "2"]
    with pytest.raises(ImageReadError, match=r"3 images.*0 \(position 1\), 1 \(position 2\)"):
        read_image(path)
    for series in ("1", "position 2"):
        image = read_image(path, config=ReadConfig(series=series))
        assert int(image.pixels.max()) == 1
        assert image.id == "a_1"
    with pytest.raises(ImageReadError, match="no image '3'"):
        read_image(path, config=ReadConfig(series="3"))


def test_pyramid_is_read_at_full_resolution(tmp_path: Path, rng: np.random.Generator) -> None:
    full = rng.integers(0, 99, (2, 128, 128), dtype=np.uint16)
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        options = {"tile": (32, 32), "photometric": "minisblack"}
        tiff.write(full, subifds=1, metadata={"axes": "CYX"}, **options)
        tiff.write(full[:, ::2, ::2], subfiletype=1, **options)
    np.testing.assert_array_equal(read_image(path).pixels.compute(), full)


def test_12_bit_cameras_are_reported_but_not_rescaled(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((SIDE, SIDE), np.uint16),
                     metadata={"axes": "YX", "SignificantBits": 12})  # fmt: skip
    image = read_image(path)
    assert image.full_scale == 65535
    assert "12 of 16 bits" in image.warnings[0]


def test_pixels_are_read_on_demand_and_files_are_closed(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write_image(pixels[0, :, 0], tmp_path / "a.ome.tif", channel_names="abc")
    image = read_image(path)
    np.testing.assert_array_equal(image.channel("b"), pixels[0, 1, 0])
    path.unlink()
    with pytest.raises(ImageReadError, match="does not exist"):
        image.channel("c")


# --- OME descriptions that disagree with the file -------------------------------------------


def write_with_ome(path: Path, planes: np.ndarray, pixels_xml: str, attributes: str = "") -> Path:
    text = (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {attributes}>'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint16" {pixels_xml}'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(path, planes, description=text, metadata=None, photometric="minisblack")
    return path


SIZES = f'DimensionOrder="XYCZT" SizeX="{SIDE}" SizeY="{SIDE}" SizeC="2" SizeZ="2" SizeT="1"'


def test_missing_planes_of_an_ome_tiff(tmp_path: Path) -> None:
    planes = np.stack([np.full((SIDE, SIDE), value, np.uint16) for value in (1, 2, 3)])
    path = write_with_ome(tmp_path / "a.tif", planes, f"{SIZES}><TiffData/>")
    image = read_image(path)
    assert "1 of 4 planes are missing" in image.warnings[0]
    # Pages in the order c0z0, c1z0, c0z1; c1z1 is missing.
    np.testing.assert_array_equal(image.pixels.compute()[:, 0, 0], [3, 2])


def test_planes_are_found_where_the_description_puts_them(tmp_path: Path) -> None:
    planes = np.stack([np.full((SIDE, SIDE), value, np.uint16) for value in (1, 2, 3, 4)])
    blocks = "".join(
        f'<TiffData IFD="{page}" FirstC="{c}" FirstZ="{z}"/>'
        for page, (c, z) in enumerate([(1, 1), (1, 0), (0, 1), (0, 0)])
    )
    path = write_with_ome(tmp_path / "a.tif", planes, f"{SIZES}>{blocks}")
    np.testing.assert_array_equal(read_image(path).pixels.compute()[:, 0, 0], [4, 2])


def test_a_set_of_files_is_read_as_one_image(tmp_path: Path) -> None:
    blocks = "".join(
        f'<TiffData IFD="0" FirstC="{c}" FirstZ="{z}" PlaneCount="1">'
        f'<UUID FileName="part{c}{z}.tif">urn:uuid:{c}{z}</UUID></TiffData>'
        for c in range(2)
        for z in range(2)
    )
    for c in range(2):
        for z in range(2):
            plane = np.full((SIDE, SIDE), 10 * c + z, np.uint16)
            write_with_ome(tmp_path / f"part{c}{z}.tif", plane, f"{SIZES}>{blocks}",
                           f'UUID="urn:uuid:{c}{z}"')  # fmt: skip
    image = read_image(tmp_path / "part10.tif")
    np.testing.assert_array_equal(image.pixels.compute()[:, 0, 0], [1, 11])
    (tmp_path / "part11.tif").unlink()
    image = read_image(tmp_path / "part10.tif")
    assert "1 of 4 planes are missing" in image.warnings[0]
    np.testing.assert_array_equal(image.pixels.compute()[:, 0, 0], [1, 10])


def test_a_renamed_file_still_finds_its_own_planes(tmp_path: Path) -> None:
    blocks = '<TiffData><UUID FileName="before.tif">urn:uuid:1</UUID></TiffData>'
    planes = np.ones((4, SIDE, SIDE), np.uint16)
    path = write_with_ome(tmp_path / "after.tif", planes, f"{SIZES}>{blocks}")
    assert read_image(path).warnings == ()


@pytest.mark.parametrize("name", ["../b.tif", "/etc/b.tif", "C:\\b.tif", "x\\..\\..\\b.tif"])
def test_files_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    blocks = f'<TiffData><UUID FileName="{name}">urn:uuid:1</UUID></TiffData>'
    path = write_with_ome(tmp_path / "a.tif", np.ones((4, SIDE, SIDE), np.uint16),
                          f"{SIZES}>{blocks}")  # fmt: skip
    with pytest.raises(ImageReadError, match="outside its own folder"):
        read_image(path)


@pytest.mark.parametrize(
    ("pixels_xml", "message"),
    [
        (f"{SIZES.replace('XYCZT', 'CXYZT')}>", "dimension order"),
        (f"{SIZES.replace('XYCZT', 'XYCCT')}>", "dimension order"),
        (SIZES.replace('SizeC="2"', 'SizeC="0"') + ">", "impossible sizes"),
        (SIZES.replace('SizeC="2"', 'SizeC="999999999"') + ">", "no number from 0"),
        (SIZES.replace('SizeC="2"', 'SizeC="two"') + ">", "no number from 0"),
        (SIZES.replace('SizeZ="2"', 'SizeZ="900000"') + ">", "impossible sizes"),
        (SIZES.replace('SizeZ="2"', 'SizeZ="400000"') + ">", "20000 planes"),
        (f'{SIZES}><TiffData FirstC="7"/>', "outside the image"),
        (f"{SIZES}><Channel", "damaged XML"),
    ],
)
def test_impossible_descriptions(tmp_path: Path, pixels_xml: str, message: str) -> None:
    planes = np.ones((4, SIDE, SIDE), np.uint16)
    path = write_with_ome(tmp_path / "a.tif", planes, pixels_xml)
    with pytest.raises(ImageReadError, match=message):
        read_image(path)


def test_a_description_that_repeats_itself_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.tif").write_bytes(b"")
    (tmp_path / "c.tif").write_bytes(b"")
    blocks = "".join(
        f'<TiffData><UUID FileName="{name}.tif">{name}</UUID></TiffData>' for name in "bcbc"
    )
    sizes = SIZES.replace('SizeT="1"', 'SizeT="200000"')
    planes = np.ones((1, SIDE, SIDE), np.uint16)
    path = write_with_ome(tmp_path / "a.tif", planes, f"{sizes}>{blocks}")
    with pytest.raises(ImageReadError, match="again and again"):
        read_image(path, config=ReadConfig(time=0))


def test_an_xml_bomb_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><OME>&b;</OME>'
    tifffile.imwrite(tmp_path / "a.tif", np.ones((SIDE, SIDE), np.uint16), description=bomb,
                     metadata=None)  # fmt: skip
    with pytest.raises(ImageReadError, match="document type or entities"):
        read_image(tmp_path / "a.tif")


# --- damaged files --------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"II", b"not a tiff", b"II*\0\x08\0\0\0", b"\x89PNG"])
def test_empty_and_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=r"a\.tif"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("imagej", [True, False])
def test_truncated_files(
    tmp_path: Path, pixels: np.ndarray, compression: str | None, imagej: bool
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels[0, 0], imagej=imagej, compression=compression,
                     photometric="minisblack", metadata={"axes": "ZYX"})  # fmt: skip
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 50):
        path.write_bytes(whole[:length])
        try:
            image = read_image(path)
        except ImageReadError:
            continue
        # ImageJ keeps what is needed at the beginning; the end may be lost without harm.
        assert imagej
        assert length > len(whole) // 2
        np.testing.assert_array_equal(image.pixels[0].compute(), pixels[0, 0].max(axis=0))


def test_damaged_pixels_show_when_they_are_read(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write_image(pixels[0, :, 0], tmp_path / "a.ome.tif", channel_names="abc")
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    image = read_image(path)
    np.testing.assert_array_equal(image.channel("a"), pixels[0, 0, 0])
    with pytest.raises(ImageReadError, match="damaged"):
        image.channel("b")


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((SIDE, SIDE), np.uint16), compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offsets = [tiff.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength")]
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset : offset + 4] = struct.pack("<I", 100_000)
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match="holds only"):
        read_image(path)


@pytest.mark.parametrize("side", [1, 7])
def test_images_too_small_for_a_cell(tmp_path: Path, side: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((side, side), np.uint16))
    with pytest.raises(ImageReadError, match=f"{side} rows, {side} columns"):
        read_image(tmp_path / "a.tif")


def test_what_tifffile_logs_is_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, SIDE, SIDE), np.uint16), imagej=True)
    path.write_bytes(path.read_bytes().replace(b"images=3", b"images=9"))
    read_image(path).pixels.compute()
    assert capfd.readouterr() == ("", "")
