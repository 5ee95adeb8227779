"""A table into one file or folder, as AnnData writes it. Nothing is built or replaced here."""

import warnings
from pathlib import Path
from typing import Final

import anndata
import h5py
import numpy as np
from anndata import AnnData
from scipy import sparse

_IN_MEMORY_BYTES: Final = 2**28
"""Features up to this size are packed in memory first."""


def write_h5ad(adata: AnnData, path: Path) -> None:
    """Write a table of moderate size by way of memory.

    HDF5 that meets a full disk keeps the file open and crashes the process later.
    """
    values = adata.X.data if sparse.issparse(adata.X) else adata.X
    if not isinstance(values, np.ndarray) or values.nbytes > _IN_MEMORY_BYTES:
        adata.write_h5ad(path, compression="gzip")
        return
    adata.strings_to_categoricals()
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        anndata.io.write_elem(file, "/", adata, dataset_kwargs={"compression": "gzip"})
        if adata.raw is None:
            file.pop("raw", None)  # AnnData's own file leaves it out, and so do older readers
        file.flush()
        content = file.id.get_file_image()
    path.write_bytes(content)


def write_zarr(adata: AnnData, path: Path) -> None:
    """Write a table as a folder of Zarr version 2.

    On purpose: AnnData's consolidated metadata is no part of version 3 yet.
    """
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=2):
        warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
        adata.write_zarr(path)
