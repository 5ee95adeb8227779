"""Files of microscope makers: real files where a library can write them, and clear errors."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_bio_superposition.core.errors import ImageReadError, MissingExtraError
from napari_bio_superposition.imaging.fields import open_fields
from napari_bio_superposition.imaging.read import read_image
from napari_bio_superposition.imaging.read_config import ReadConfig

SHAPE = (2, 3, 24, 32)
"""Channels, planes, height, width."""


def make_pixels() -> np.ndarray:
    """Return counts in which every channel, plane and place differs."""
    return np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)


def write_czi(path: Path, n_scenes: int = 1) -> Path:
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(path)) as writer:
        for scene in range(n_scenes):
            for channel, planes in enumerate(make_pixels()):
                for plane, pixels in enumerate(planes):
                    writer.write(
                        np.ascontiguousarray(pixels[..., None] + np.uint16(scene)),
                        plane={"C": channel, "Z": plane, "T": 0},
                        location=(100 * scene, 0),
                        scene=scene,
                    )
        writer.write_metadata(
            document_name="cells",
            channel_names={0: "DAPI", 1: "TMRM"},
            scale_x=0.325e-6,
            scale_y=0.325e-6,
        )
    return path


def write_lif(path: Path) -> Path:
    """Write a Leica file of one image by the layout of the format: XML, then a block of memory."""
    pixels = make_pixels()
    n_channels, n_planes, height, width = SHAPE
    axes = [
        (1, width, 2, 0.5e-6),
        (2, height, 2 * width, 0.5e-6),
        (3, n_planes, 2 * width * height, 1e-6),
    ]
    plane_bytes = 2 * width * height * n_planes
    channels = "".join(
        '<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" '
        'Min="0" Max="65535" Unit="" LUTName="Green" IsLUTInverted="0" '
        f'BytesInc="{n * plane_bytes}" BitInc="0"></ChannelDescription>'
        for n in range(n_channels)
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{axis}" NumberOfElements="{n}" Origin="0" '
        f'Length="{step * (n - 1)}" Unit="m" BitInc="0" BytesInc="{bytes_}"></DimensionDescription>'
        for axis, n, bytes_, step in axes
    )
    size = n_channels * plane_bytes
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="cells.lif" Visibility="1" UniqueID="a">'
        '<Data><Experiment Path="" IsSavedFlag="1"></Experiment></Data><Memory Size="0" '
        'MemoryBlockID="MemBlock_0"/><Children><Element Name="field 1" Visibility="1" UniqueID="b">'
        f'<Data><Image TextDescription=""><ImageDescription><Channels>{channels}</Channels>'
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="{size}" MemoryBlockID="MemBlock_1"/><Children/></Element></Children>'
        "</Element></LMSDataContainerHeader>"
    )
    text, block = xml.encode("utf-16-le"), "MemBlock_1".encode("utf-16-le")
    head = struct.pack("<iibi", 0x70, 5 + len(text), 0x2A, len(xml)) + text
    description = struct.pack("<bqbi", 0x2A, size, 0x2A, len("MemBlock_1")) + block
    body = struct.pack("<ii", 0x70, len(description)) + description + pixels.tobytes()
    path.write_bytes(head + body)
    return path


def test_czi(tmp_path: Path) -> None:
    image = read_image(write_czi(tmp_path / "P1_A01_s1.czi"))
    assert image.channel_names == ("DAPI", "TMRM")
    assert dict(image.roles) == {"nuclei": "DAPI", "mitochondria": "TMRM"}
    assert image.pixel_size_um == pytest.approx(0.325)
    np.testing.assert_array_equal(image.pixels.compute(), make_pixels().max(axis=1))


def test_scenes_of_a_czi_are_fields(tmp_path: Path) -> None:
    path = write_czi(tmp_path / "cells.czi", n_scenes=2)
    assert [field.field for field in open_fields(path)] == ["0", "1"]
    with pytest.raises(ImageReadError, match="2 images; choose one with `series`"):
        read_image(path)
    second = read_image(path, config=ReadConfig(series="1"))
    np.testing.assert_array_equal(second.pixels.compute(), make_pixels().max(axis=1) + 1)


def test_lif(tmp_path: Path) -> None:
    pytest.importorskip("liffile")
    image = read_image(write_lif(tmp_path / "cells.lif"))
    assert image.shape == SHAPE[2:]
    assert image.pixel_size_um == pytest.approx(0.5)
    np.testing.assert_array_equal(image.pixels.compute(), make_pixels().max(axis=1))


@pytest.mark.parametrize(
    ("ending", "library"), [("nd2", "nd2"), ("lif", "liffile"), ("czi", "pylibCZIrw.czi")]
)
def test_damaged_and_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, library: str
) -> None:
    path = tmp_path / f"cells.{ending}"
    path.write_bytes(b"not a microscope's file" * 40)
    pytest.importorskip(library)
    with pytest.raises(ImageReadError, match=f"cells.{ending}"):
        read_image(path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"napari-bio-superposition\[{ending}\]"):
        read_image(path)
    assert len(open_fields(tmp_path)) == 1


def test_dv_by_bioio(tmp_path: Path) -> None:
    pytest.importorskip("bioio_dv")
    mrc = pytest.importorskip("mrc")
    path = tmp_path / "P1_A01_s1.dv"
    # Its header counts in int16, and holds micrometres along x, y, z.
    header = {"d": (0.25, 0.25, 1.0)}
    mrc.save(make_pixels().astype(np.int16), str(path), zAxisOrder="wz", metadata=header)
    image = read_image(path)
    assert len(open_fields(tmp_path)) == 1
    assert image.acquisition.well == "A01"
    assert image.pixel_size_um == pytest.approx(0.25)
    np.testing.assert_array_equal(image.pixels.compute(), make_pixels().max(axis=1))


def test_endings_of_bioio_name_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cells.vsi"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "bioio", None)
    with pytest.raises(MissingExtraError, match=r"\.vsi files .*napari-bio-superposition\[bioio\]"):
        read_image(path)


def test_a_format_without_a_reader_of_bioio(tmp_path: Path) -> None:
    pytest.importorskip("bioio")
    path = tmp_path / "cells.vsi"
    path.write_bytes(b"not a microscope's file")
    with pytest.raises(ImageReadError, match="No installed reader of bioio takes cells"):
        read_image(path)
