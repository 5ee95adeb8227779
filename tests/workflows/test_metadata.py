"""Tables with what file names do not say."""

from pathlib import Path

import numpy as np
import pytest

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.workflows.metadata import Metadata, read_metadata


def _image(acquisition: Acquisition) -> MultichannelImage:
    return MultichannelImage(
        pixels=np.zeros((1, 2, 2), np.uint16),
        channel_names=("DAPI",),
        roles={},
        full_scale=65535.0,
        pixel_size_um=None,
        acquisition=acquisition,
    )


def _write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_per_image_is_found_by_file_name_or_id(tmp_path: Path) -> None:
    path = _write(tmp_path, "image,genotype,note\nscans/a.ome.tif,SNCA,x\nb,GBA,y\n")
    metadata = read_metadata(path)
    assert metadata.complete(_image(Acquisition("a"))).acquisition.genotype == "SNCA"
    assert metadata.complete(_image(Acquisition("b"))).acquisition.genotype == "GBA"


def test_a_row_per_well_serves_all_its_fields_and_empty_cells_change_nothing(
    tmp_path: Path,
) -> None:
    path = _write(tmp_path, "plate,well,genotype,line\np1,A01,SNCA,\n")
    image = _image(Acquisition("x", plate="p1", well="A01", field="2", line="L1"))
    completed = read_metadata(path).complete(image).acquisition
    assert (completed.genotype, completed.line, completed.field) == ("SNCA", "L1", "2")


@pytest.mark.parametrize("well", ["B03", "B3", "r02c03"])
def test_a_well_is_the_same_however_it_is_written(tmp_path: Path, well: str) -> None:
    metadata = read_metadata(_write(tmp_path, "plate,well,genotype\np1,B03,SNCA\np1,C03,GBA\n"))
    found = metadata.describe(Acquisition("x", plate="p1", well=well))
    assert (found.well, found.genotype) == ("B03", "SNCA")


def test_an_image_that_is_not_in_the_table_stays_as_it_is(tmp_path: Path) -> None:
    path = _write(tmp_path, "image,genotype\na,SNCA\n")
    assert read_metadata(path).complete(_image(Acquisition("z"))).acquisition == Acquisition("z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,genotype\na,SNCA\n", "needs a column image.*has name, genotype"),
        ("image,genotype\na,SNCA\na.tif,GBA\n", "names a more than once"),
        ("plate,well\np,A\np,A\n", "more than once"),
        ("", "cannot be read"),
        ("image,genotype\n", "has no rows"),
    ],
)
def test_tables_that_cannot_serve_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_metadata(_write(tmp_path, text))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"absent\.csv"):
        read_metadata(tmp_path / "absent.csv")


def test_a_file_name_that_is_cleaned_for_an_id_is_cleaned_in_the_table_too(tmp_path: Path) -> None:
    names = {"scan 1.TIF": "scan_1", "b.png": "b", "C:\\x\\d.ome.zarr": "d", "e.lsm": "e.lsm"}
    rows = "".join(f"{name},SNCA\n" for name in names)
    metadata = read_metadata(_write(tmp_path, f"image,genotype\n{rows}"))
    for image_id in names.values():
        assert metadata.complete(_image(Acquisition(image_id))).acquisition.genotype == "SNCA"


def test_images_without_a_row_are_named(tmp_path: Path) -> None:
    fields = [
        FieldReference(name, tmp_path / f"{name}.tif", "", Acquisition(name, plate="p", well=well))
        for name, well in (("a", "A01"), ("z", "B02"))
    ]
    by_image = read_metadata(_write(tmp_path, "image,genotype\na.tif,SNCA\n"))
    by_well = read_metadata(_write(tmp_path, "plate,well,genotype\np,A01,SNCA\n"))
    for metadata in (by_image, by_well):
        (warning,) = metadata.explain_gaps(fields)
        assert "no row for 1 images (z)" in warning
        assert not metadata.explain_gaps(fields[:1])
    assert not Metadata().explain_gaps(fields)
