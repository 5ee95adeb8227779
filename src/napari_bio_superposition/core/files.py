"""Write files and folders whole or not at all: under a temporary name first, then renamed."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Container, Iterator
from pathlib import Path

from napari_bio_superposition.core.errors import OutputError


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the place of *path* when the block ends well.

    The content is flushed to disk before the rename, so that after a power cut there is the old
    file or the new one. A temporary file is never left behind.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    part = _temporary(path)
    try:
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # where the folder itself cannot be made
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Give a fresh folder that takes the place of *path* when the block ends well.

    All its files are flushed to disk before the rename.

    Raises
    ------
    OutputError
        Where the folder cannot be written.
    """
    part = _temporary(path)
    try:
        with _explained(path):
            part.mkdir(parents=True)
            yield part
            _flush(part)
            if path.exists():
                old = _temporary(path)
                path.rename(old)
                part.rename(path)
                shutil.rmtree(old)
            else:
                part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_leftovers(folder: Path, names: Container[str]) -> None:
    """Remove what killed processes left of their attempts to write *names* in *folder*.

    Only for callers who know that nobody else is writing them.
    """
    for part in folder.glob(".*.part.*"):
        if part.name.split(".part.", 1)[1] not in names:
            continue
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make a folder with its parents where it does not exist, and return its path.

    Raises
    ------
    OutputError
        Where a file is in the way, or the place cannot be written.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def add_line(path: Path, line: str) -> None:
    """Add a line to a text file, in one piece also where other processes add to it.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    with _explained(path), path.open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the system's refusal into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. "
            "Choose a folder with free space that you may write to."
        ) from error


def _flush(folder: Path) -> None:
    """Have the system write all files below *folder* to disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())


def _temporary(path: Path) -> Path:
    """Return a hidden name beside *path* that nobody else uses; the ending is kept."""
    return path.with_name(f".{uuid.uuid4().hex[:8]}.part.{path.name}")
