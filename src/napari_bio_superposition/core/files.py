"""Write files and folders whole or not at all: under a temporary name first, then renamed."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the place of *path* when the block ends well.

    The content is flushed to disk before the rename, so that after a power cut there is the old
    file or the new one. A temporary file is never left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _temporary(path)
    try:
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Give a fresh folder that takes the place of *path* when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _temporary(path)
    part.mkdir()
    try:
        yield part
        if path.exists():
            old = _temporary(path)
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a hidden name beside *path* that nobody else uses; the ending is kept."""
    return path.with_name(f".{uuid.uuid4().hex[:8]}.part.{path.name}")
