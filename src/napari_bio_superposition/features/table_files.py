"""A table into one file or folder, as AnnData writes it. Nothing is built or replaced here."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import h5py
from anndata import AnnData
from typing_extensions import override


class _PatientFile(io.FileIO):
    """A file that takes whatever HDF5 writes; the disk's refusal waits for the owner to ask.

    HDF5 that is refused a write cannot close its file, and crashes the process later. From the
    first refusal on, what is written stays in memory, and reading finds it there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._refusal: BaseException | None = None
        self._kept: list[tuple[int, bytes]] = []

    def refuse(self, reason: BaseException) -> None:
        """Write no further byte to the disk."""
        self._refusal = self._refusal or reason

    def check(self, *_: object) -> None:
        """Raise why nothing is written any more.

        dask's list of callbacks is the process's: one that another thread's computing puts back
        after we took it away must not harm later tables.
        """
        if self._refusal is not None and not self.closed:
            raise self._refusal

    @override
    def write(self, data: Any, /) -> int:
        place, rest = self.tell(), memoryview(data)
        try:
            while rest and self._refusal is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.refuse(error)
        if rest:
            self._kept.append((place, bytes(data)))
        self.seek(place + len(data))
        return len(data)

    @override
    def readinto(self, buffer: Any, /) -> int:
        start, view = self.tell(), memoryview(buffer)
        found = super().readinto(buffer)
        for place, data in self._kept:
            first, last = max(place, start), min(place + len(data), start + len(view))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
                found = max(found, last - start)
        return found

    @override
    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.refuse(error)
            return size or 0


def write_h5ad(adata: AnnData, path: Path) -> None:
    """Write a table; where it is lazy, one block of it is in memory.

    Raises
    ------
    OSError
        Where the disk is full; HDF5 has closed the file by then.
    """
    adata.strings_to_categoricals()
    stream = _PatientFile(path)
    # In a thread, since Ctrl-C must not be raised inside HDF5 either.
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(_write_elements, adata, stream).result()
        except BaseException as error:
            stream.refuse(error)
            raise


def _write_elements(adata: AnnData, stream: _PatientFile) -> None:
    from dask.callbacks import Callback

    with stream:
        with h5py.File(stream, "w") as file, Callback(pretask=stream.check):  # type: ignore[no-untyped-call]
            anndata.io.write_elem(file, "/", adata, dataset_kwargs={"compression": "gzip"})
            if adata.raw is None:
                file.pop("raw", None)  # AnnData's own file leaves it out, and so do older readers
        stream.check()


def write_zarr(adata: AnnData, path: Path) -> None:
    """Write a table as a folder of Zarr version 2.

    On purpose: AnnData's consolidated metadata is no part of version 3 yet.
    """
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=2):
        warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
        adata.write_zarr(path)
