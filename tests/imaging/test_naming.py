"""File names: what they tell, and ids that stay apart."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.imaging.naming import (
    clean_id,
    natural_key,
    parse_filename,
    separate_ids,
    stem_of,
)


@pytest.mark.parametrize(
    ("stem", "plate", "well", "field"),
    [
        ("plate1_A14_site1_5ch", "plate1", "A14", "1"),
        ("r03c03f01p01-ch1sk1fk1fl1", "", "r03c03", "1"),
        ("003001_r06c02f01_Composite_RGB", "003001", "r06c02", "1"),
        ("003001_r06c02f12_MIP_ch2_Cytox", "003001", "r06c02", "12"),
        ("exp 3_B02_s4", "exp 3", "B02", "4"),
        ("A14_f03", "", "A14", "3"),
        ("B2-field-10", "", "B2", "10"),
        ("my_plate_C07", "my_plate", "C07", ""),
        ("neuron-4Ch", "", "", ""),
        ("mouse_A1_slide", "", "", ""),
        ("A25", "", "", ""),
        ("IMG_0001", "", "", ""),
        ("", "", "", ""),
    ],
)
def test_default_patterns(stem: str, plate: str, well: str, field: str) -> None:
    expected = {"plate": plate, "well": well, "field": field}
    assert parse_filename(stem) == {key: text for key, text in expected.items() if text}


def test_own_pattern_replaces_the_defaults() -> None:
    pattern = r"(?P<line>[A-Z]+)-(?P<genotype>\w+?)_(?P<well>\d+)"
    assert parse_filename("SNCA-triplication_007_x", pattern) == {
        "line": "SNCA",
        "genotype": "triplication",
        "well": "007",
    }
    assert parse_filename("plate1_A14_site1", pattern) == {}


@given(st.text(max_size=60))
def test_any_name_gives_texts(stem: str) -> None:
    assert all(text for text in parse_filename(stem).values())


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.ome.tif", "a"),
        ("a.OME.TIFF", "a"),
        ("a.b.tif", "a.b"),
        ("a.ome.zarr", "a"),
        ("a.zarr", "a"),
        ("a.png", "a"),
        ("folder", "folder"),
        (".tif", ".tif"),
    ],
)
def test_stem(name: str, stem: str) -> None:
    assert stem_of(PurePosixPath(name)) == stem


def test_ids_hold_nothing_that_separates() -> None:
    assert clean_id("a b/c:d\\e\tf") == "a_b_c_d_e_f"
    assert clean_id(" / ") == clean_id("..") == "image"
    assert clean_id("µ-Platte.1") == "µ-Platte.1"


def test_natural_order() -> None:
    names = ["s10.tif", "s2.tif", "S1.tif", "s02.tif"]
    ordered = sorted(map(PurePosixPath, names), key=natural_key)
    assert [path.name for path in ordered] == ["S1.tif", "s02.tif", "s2.tif", "s10.tif"]


def test_unique_ids_stay_as_they_are() -> None:
    assert separate_ids(["a", "b"], [Path("x/a.tif"), Path("x/b.tif")]) == ("a", "b")


def test_repeated_ids_are_told_apart_by_the_parent_folder() -> None:
    paths = [Path("/data/p1/a.tif"), Path("/data/p2/a.tif"), Path("/data/p2/b.tif")]
    assert separate_ids(["a", "a", "b"], paths) == ("a-p1", "a-p2", "b")


def test_ids_do_not_depend_on_where_the_data_are() -> None:
    here = [Path("/home/me/p1/x/a.tif"), Path("/home/me/p2/x/a.tif")]
    there = [Path("/mnt/p1/x/a.tif"), Path("/mnt/p2/x/a.tif")]
    assert separate_ids(["a", "a"], here) == separate_ids(["a", "a"], there)
    assert separate_ids(["a", "a"], here) == ("a-p1-x", "a-p2-x")


def test_order_of_the_list_does_not_matter() -> None:
    paths = [Path("p1/a.tif"), Path("p2/a.tif")]
    assert set(separate_ids(["a", "a"], paths)) == set(separate_ids(["a", "a"], paths[::-1]))


def test_files_that_differ_in_their_ending_or_in_nothing() -> None:
    assert separate_ids(["a", "a"], [Path("a.tif"), Path("a.png")]) == ("a-tif", "a-png")
    assert separate_ids(["a", "a"], [Path("a.tif"), Path("a.tif")]) == ("a-tif", "a-tif-2")
    mixed = [Path("/data/x/a.tif"), Path("/data/x/a.png"), Path("/data/y/a.tif")]
    assert separate_ids(["a"] * 3, mixed) == ("a-x-tif", "a-x-png", "a-y")


paths = st.lists(
    st.builds(
        lambda parts, suffix: Path(*parts).with_suffix(suffix),
        st.lists(st.sampled_from(["a", "A", "b", "a-2", "a-b", "p"]), min_size=1, max_size=4),
        st.sampled_from([".tif", ".tiff", ""]),
    ),
    max_size=8,
)


@given(paths)
def test_ids_are_always_unique_even_on_disks_that_ignore_case(given_paths: list[Path]) -> None:
    ids = separate_ids([path.stem for path in given_paths], given_paths)
    assert len({name.casefold() for name in ids}) == len(given_paths)


def test_bytes_that_are_no_text_do_not_stay_in_an_id() -> None:
    name = b"scan\xff.tif".decode("utf-8", "surrogateescape")
    assert clean_id(name) == "scan_.tif"
    clean_id(name).encode("utf-8")
