"""Files and folders are replaced whole or not at all."""

from pathlib import Path

import pytest

from napari_bio_superposition.core.errors import OutputError
from napari_bio_superposition.core.files import (
    make_folder,
    remove_leftovers,
    replaced_file,
    replaced_folder,
)


def test_a_file_appears_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    with replaced_file(target) as part:
        part.write_text("a")
        assert not target.exists()
    assert target.read_text() == "a"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        _write_half(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_with_all_its_content(tmp_path: Path) -> None:
    target = tmp_path / "image"
    for content in ("first", "second"):
        with replaced_folder(target) as part:
            (part / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_keeps_the_old_folder_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "image"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError):
        _fill_half(target)
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written.*Choose a folder"):
        _write_half(tmp_path / "file" / "table.csv")
    with pytest.raises(OutputError, match=r"cannot be written.*Choose a folder"):
        _fill_half(tmp_path / "file" / "image")


def test_leftovers_of_a_killed_attempt_go_and_nothing_else(tmp_path: Path) -> None:
    for name in ("P1_[a]", "P1_[a]_s2"):
        part = replaced_folder(tmp_path / name)
        (part.__enter__() / "half").touch()  # never left, as if killed
    (tmp_path / "P1_[a]").mkdir()
    remove_leftovers(tmp_path, {"P1_[a]"})
    names = sorted(path.name.split(".part.")[-1] for path in tmp_path.iterdir())
    assert names == ["P1_[a]", "P1_[a]_s2"]
    assert (tmp_path / "P1_[a]").is_dir()


def _write_half(target: Path) -> None:
    with replaced_file(target) as part:
        part.write_text("half")
        raise RuntimeError


def _fill_half(target: Path) -> None:
    with replaced_folder(target) as part:
        (part / "new").touch()
        raise RuntimeError


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for blocked in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(OutputError, match=r"cannot be written.*Choose a folder"):
            make_folder(blocked)
