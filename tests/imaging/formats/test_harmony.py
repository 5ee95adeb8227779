"""Harmony exports: all versions of the index, where the files lie, and what can be wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.harmony import find_index, list_entries
from napari_bio_superposition.imaging.read import open_fields, read_field, read_image
from napari_bio_superposition.imaging.read_config import ReadConfig

Write = Callable[..., Path]
FIELD = ReadConfig(series="r02c03f02")


def replace_in_index(folder: Path, old: str, new: str) -> Path:
    index = find_index(folder)
    assert index is not None
    text = index.read_text("utf-8")
    assert old in text
    index.write_text(text.replace(old, new), "utf-8")
    return folder


def test_the_real_export(shared_data: Path) -> None:
    fields = open_fields(shared_data / "operetta" / "plate")
    assert [field.id for field in fields] == [
        "Test_Sample_BALL-6f2adb32_r03c03f01",
        "Test_Sample_BALL-6f2adb32_r03c03f02",
    ]
    left, right = (read_field(field) for field in fields)
    assert left.channel_names == ("Fluorescein (FITC)",)
    assert left.shape == (1080, 1080)
    assert left.pixel_size_um == pytest.approx(1.19595216)
    assert left.acquisition.well == "r03c03"
    assert left.acquisition.plate == "Test_Sample_BALL"
    assert left.acquisition.field == "1"
    # Both fields lie side by side: one field apart, less the overlap of one pixel.
    assert right.translate_um[0] == left.translate_um[0]
    assert right.translate_um[1] - left.translate_um[1] == pytest.approx(2 * 645.814)
    assert left.translate_um[0] == pytest.approx(-645.814 - 539.5 * 1.19595216)
    stored = tifffile.imread(shared_data / "operetta/plate/Images/r03c03f01p01-ch1sk1fk1fl1.tiff")
    np.testing.assert_array_equal(left.pixels[0].compute(), stored)


@pytest.mark.parametrize("version", ["V5", "V6", "V7"])
@pytest.mark.parametrize("above", [False, True])
def test_versions_and_places_of_the_index(write_harmony: Write, version: str, above: bool) -> None:
    image = read_image(write_harmony(version, above=above), config=FIELD)
    assert image.channel_names == ("HOECHST 33342", "TMRM")
    assert dict(image.roles) == {"nuclei": "HOECHST 33342", "mitochondria": "TMRM"}
    assert image.pixel_size_um == 0.25
    assert image.id == "P_1-1234abcd_r02c03f02"
    assert image.acquisition.plate == "P 1"
    # Position (20, 20) um, y up; half of 15 and of 19 pixel distances of 0.25 um.
    assert image.translate_um == pytest.approx((-20 - 1.875, 20 - 2.375))
    np.testing.assert_array_equal(image.pixels.compute()[:, 0, 0], [2130, 2230])


def test_all_paths_to_an_export_are_the_same_export(write_harmony: Write) -> None:
    folder = write_harmony()
    paths = [folder, folder / "Images", folder / "Images" / "Index.idx.xml"]
    assert [len(open_fields(path)) for path in paths] == [2, 2, 2]
    assert len(open_fields(paths)) == 2


def test_another_name_of_the_index_is_found_by_its_content(write_harmony: Write) -> None:
    folder = write_harmony()
    (folder / "Images" / "Index.idx.xml").rename(folder / "Images" / "ABC_V5.xml")
    (folder / "Images" / "A.xml").write_text("<other/>")
    (folder / "Images" / "Index.ref.xml").write_text("<EvaluationInputData/>")
    assert len(list_entries(folder)) == 2


def test_fields_are_listed_by_well(write_harmony: Write) -> None:
    folder = write_harmony(wells=((2, 10), (2, 3)))
    keys = [entry.key for entry in list_entries(folder)]
    assert keys == ["r02c03f01", "r02c03f02", "r02c10f01", "r02c10f02"]
    with pytest.raises(ImageReadError, match="4 images; choose one with `series`: r02c03f01"):
        read_image(folder)


def test_two_measurements_of_one_plate_stay_apart(write_harmony: Write) -> None:
    first, second = write_harmony(folder="one"), write_harmony(folder="two")
    replace_in_index(second, "1234abcd", "9999ffff")
    ids = [field.id for field in open_fields([first, second])]
    assert ids[0] == "P_1-1234abcd_r02c03f01"
    assert ids[2] == "P_1-9999ffff_r02c03f01"


def test_copies_of_one_measurement_are_told_apart_by_their_folders(write_harmony: Write) -> None:
    ids = [field.id for field in open_fields([write_harmony(folder=f) for f in ("x", "y")])]
    assert ids[0] == "P_1-1234abcd_r02c03f01-x"
    assert len(set(ids)) == 4


def test_missing_planes_are_reported(write_harmony: Write) -> None:
    folder = write_harmony()
    (folder / "Images" / "r02c03f02p03-ch1sk1fk1fl1.tiff").unlink()
    image = read_image(folder, config=FIELD)
    assert image.warnings == ("1 of 6 planes are missing; the others were projected.",)
    np.testing.assert_array_equal(image.pixels.compute()[:, 0, 0], [2120, 2230])


def test_a_missing_channel_is_refused(write_harmony: Write) -> None:
    folder = write_harmony()
    for file in folder.glob("Images/*f02*ch2*"):
        file.unlink()
    with pytest.raises(ImageReadError, match="no plane of the channel TMRM"):
        read_image(folder, config=FIELD)
    for file in folder.glob("Images/*f02*"):
        file.unlink()
    with pytest.raises(ImageReadError, match="none of its files exists"):
        read_image(folder, config=FIELD)


def test_an_image_that_failed_on_the_microscope_counts_as_missing(write_harmony: Write) -> None:
    folder = replace_in_index(
        write_harmony(),
        "<State>Ok</State><URL>r02c03f02p03-ch1",
        "<State>Failed</State><URL>r02c03f02p03-ch1",
    )
    assert "1 of 6 planes are missing" in read_image(folder, config=FIELD).warnings[0]


def test_time_points_have_to_be_chosen(write_harmony: Write) -> None:
    folder = write_harmony(n_times=2)
    with pytest.raises(ImageReadError, match="2 time points"):
        read_image(folder, config=FIELD)
    image = read_image(folder, config=ReadConfig(series="r02c03f02", time=1))
    np.testing.assert_array_equal(image.pixels.compute()[:, 0, 0], [2131, 2231])


@pytest.mark.parametrize(
    "url",
    [
        "../../secret.tiff",
        "/etc/passwd",
        "C:\\a.tiff",
        "..\\a.tiff",
        "file:///a.tiff",
        "http://a/b",
    ],
)
def test_urls_that_leave_the_export_are_refused(write_harmony: Write, url: str) -> None:
    folder = replace_in_index(write_harmony(), "r02c03f01p01-ch1sk1fk1fl1.tiff", url)
    with pytest.raises(ImageReadError, match="outside the export"):
        read_image(folder, config=FIELD)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</Images>", "", "damaged XML"),
        ("<Row>2</Row>", "<Row>-2</Row>", "Row is '-2'"),
        ("<ChannelID>1</ChannelID>", "", "ChannelID is ''"),
        ("<PlaneID>2<", "<PlaneID>1<", "lists two files for channel 1, plane 1"),
        ("<State>Ok</State>", "<State>Failed</State>", "lists no image"),
        ("<EvaluationInputData ", "<!DOCTYPE x []><EvaluationInputData ", "document type"),
    ],
)
def test_damaged_indexes(write_harmony: Write, old: str, new: str, message: str) -> None:
    folder = replace_in_index(write_harmony(), old, new)
    with pytest.raises(ImageReadError, match=message):
        read_image(folder, config=FIELD)


def test_an_xml_bomb_is_refused(write_harmony: Write) -> None:
    folder = write_harmony()
    bomb = '<!DOCTYPE b [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><EvaluationInputData>&b;'
    (folder / "Images" / "Index.idx.xml").write_text(bomb)
    with pytest.raises(ImageReadError, match="document type or entities"):
        read_image(folder)


def test_an_index_of_ten_thousand_images_is_read(write_harmony: Write) -> None:
    index = write_harmony("V5") / "Images" / "Index.idx.xml"
    text = index.read_text("utf-8")
    image = text[text.index("<Image><State>") : text.index("</Image>\n") + 9]
    more = [image.replace("<FieldID>1<", f"<FieldID>{n}<") for n in range(3, 10_003)]
    index.write_text(text.replace(image, image + "".join(more), 1), "utf-8")
    assert len(list_entries(index.parent)) == 10_002


def test_deep_nesting_is_refused(write_harmony: Write) -> None:
    folder = write_harmony()
    (folder / "Images" / "Index.idx.xml").write_text("<a>" * 5000)
    with pytest.raises(ImageReadError, match="more than 100 deep"):
        read_image(folder)


def test_planes_that_differ_are_refused_when_they_are_read(write_harmony: Write) -> None:
    folder = write_harmony()
    other = np.zeros((16, 21), np.uint16)
    tifffile.imwrite(folder / "Images" / "r02c03f02p03-ch2sk1fk1fl1.tiff", other)
    image = read_image(folder, config=FIELD)
    assert int(image.pixels[0].max()) == 2130
    with pytest.raises(ImageReadError, match="have to be alike"):
        image.pixels[1].compute()


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"no index.*Index\.idx\.xml"):
        list_entries(tmp_path)
