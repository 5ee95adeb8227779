"""Many tables on disk into one on disk: never more than a few of them in memory. No computing."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.features.column_statistics import pool_rms
from napari_bio_superposition.features.table import (
    SPARSE_BELOW,
    as_categories,
    check_comparable,
    merge_provenance,
    write_table,
)

_STATISTICS: Final = (Keys.FIRING_RATE, Keys.MEAN_ACTIVATION, Keys.MAX_ACTIVATION)
_JOINABLE: Final = (Keys.SPATIAL, Keys.CNN)
_BLOCK_VALUES: Final = 2**22
"""Activations that are read at once while merging, zeros not counted where they are not stored."""


@dataclass(frozen=True, eq=False)
class TablePart:
    """The table of one image on disk: what its merger needs to know before reading its values."""

    path: Path
    n_patches: int
    n_nonzero: int
    features: tuple[str, ...]
    statistics: npt.NDArray[np.float64]
    """Firing rate, mean and largest activation per feature, ``(3, n_features)``."""
    rms: npt.NDArray[np.float64] | None
    """Root mean square where active, ``(n_features,)``; older tables lack it."""
    arrays: dict[str, int]
    """Name and width of each entry of ``obsm`` that can be joined."""
    provenance: Provenance

    @property
    def shape(self) -> tuple[int, int]:
        """Number of patches and of features."""
        return self.n_patches, len(self.features)


def read_part(path: Path) -> TablePart:
    """Read all of a table but its values and rows; a tenth of the time of reading it whole.

    Raises
    ------
    TableError
        Where the file is damaged or no feature table.
    """
    try:
        with h5py.File(path) as file:
            values, var = file["X"], file["var"]
            is_sparse = isinstance(values, h5py.Group)
            shape = values.attrs["shape"] if is_sparse else values.shape
            obsm = file["obsm"]
            n_nonzero = values["data"].shape[0] if is_sparse else np.count_nonzero(values[:])
            return TablePart(
                path=path,
                n_patches=int(shape[0]),
                n_nonzero=int(n_nonzero),
                features=tuple(var[var.attrs["_index"]].asstr()[:].tolist()),
                statistics=np.stack([var[name][:].astype(float) for name in _STATISTICS]),
                rms=var[Keys.ACTIVE_RMS][:] if Keys.ACTIVE_RMS in var else None,
                arrays={key: obsm[key].shape[1] for key in _JOINABLE if key in obsm},
                provenance=Provenance.from_json(file["uns"][Keys.PROVENANCE].asstr()[()]),
            )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TableError(
            f"{path} cannot be read as a table ({type(error).__name__}: {error}). "
            "Analyse its image again."
        ) from error


def merge_parts(parts: Sequence[TablePart], rows: pd.DataFrame, path: Path) -> Path:
    """Write one table of all patches; equal to `concat_tables`, but for any number of them.

    Parameters
    ----------
    parts
        In the order of their rows.
    rows
        One row per patch, index the patch id: what becomes ``obs``.
    path
        ``.h5ad`` or ``.zarr``; replaced only by a complete table.

    Raises
    ------
    TableError
        Where there is no part, rows and parts do not fit, a patch occurs twice, or the parts were
        made by different models or with different preprocessing.
    """
    _check(parts, rows)
    keys = [key for key in _JOINABLE if all(key in part.arrays for part in parts)]
    table = AnnData(
        X=_lazy_values(parts),
        obs=as_categories(rows),
        var=_pool_statistics(parts),
        obsm={key: _lazy_array(parts, key) for key in keys},
        uns={Keys.PROVENANCE: merge_provenance([part.provenance for part in parts]).to_json()},
    )
    import dask

    # One block at a time, in order: bounded memory and the same bytes. AnnData asks for threads.
    with dask.config.set(scheduler="synchronous", num_workers=1):
        return write_table(table, path)


def _check(parts: Sequence[TablePart], rows: pd.DataFrame) -> None:
    if not parts:
        raise TableError("There is no table to put together. Give at least one.")
    for part in parts[1:]:
        check_comparable(parts[0].provenance, part.provenance)
        if part.features != parts[0].features:
            raise TableError(
                f"{part.path} holds other features than {parts[0].path}. Keep the same in each."
            )
    total = sum(part.n_patches for part in parts)
    if total != len(rows):
        raise TableError(f"There are {total} patches in the tables and {len(rows)} rows for them.")
    if not rows.index.is_unique:
        raise TableError(
            f"Patch {rows.index[rows.index.duplicated()][0]} occurs in more than one table. "
            "Leave one of them out, or give the images different acquisition ids."
        )


def _lazy_values(parts: Sequence[TablePart]) -> Any:
    """Return the activations of all patches as a dask array of one block per part."""
    import dask.array as da
    from dask.delayed import delayed

    n_values = sum(part.n_patches for part in parts) * len(parts[0].features)
    as_sparse = n_values > 0 and sum(p.n_nonzero for p in parts) < SPARSE_BELOW * n_values
    empty = np.empty((0, 0), np.float32)
    meta = sparse.csr_matrix(empty) if as_sparse else empty
    blocks = [
        da.from_delayed(  # type: ignore[no-untyped-call]
            delayed(_read_block)([part.path for part in block], as_sparse),
            shape=(sum(part.n_patches for part in block), len(parts[0].features)),
            dtype=np.float32,
            meta=meta,
        )
        for block in _in_blocks(parts, as_sparse=as_sparse)
    ]
    if not blocks:
        return empty.reshape(0, len(parts[0].features))
    return da.concatenate(blocks)  # type: ignore[no-untyped-call]


def _in_blocks(parts: Sequence[TablePart], *, as_sparse: bool) -> Iterator[list[TablePart]]:
    """Yield neighbours that are read at once.

    Every block costs a round of the scheduler, which goes over all of them: the fewer the better.
    """
    block: list[TablePart] = []
    n_values = 0
    for part in parts:
        n_own = part.n_nonzero if as_sparse else math.prod(part.shape)
        n_values += n_own
        if block and n_values > _BLOCK_VALUES:
            yield block
            block, n_values = [], n_own
        block += [part] if part.n_patches else []
    if block:
        yield block


def _read_block(paths: Sequence[Path], as_sparse: bool) -> Any:
    values = [_read_values(path, as_sparse) for path in paths]
    return sparse.vstack(values, format="csr") if as_sparse else np.concatenate(values)


def read_values(part: TablePart) -> Any:
    """Return the activations of one part, ``(n_patches, n_features)``, dense or sparse."""
    return _read_values(part.path, part.n_nonzero < SPARSE_BELOW * math.prod(part.shape))


def _read_values(path: Path, as_sparse: bool) -> Any:
    with h5py.File(path) as file:
        values = file["X"]
        if isinstance(values, h5py.Dataset):
            return sparse.csr_matrix(values[:]) if as_sparse else values[:]
        stored = sparse.csr_matrix(
            # Whole numbers of 64 bits: their sum over all parts may need them.
            (values["data"][:], values["indices"][:], values["indptr"][:].astype(np.int64)),
            shape=tuple(values.attrs["shape"]),
        )
    return stored if as_sparse else stored.toarray()


def _lazy_array(parts: Sequence[TablePart], key: str) -> Any:
    import dask.array as da
    from dask.delayed import delayed

    width = parts[0].arrays[key]
    dtype = np.float64 if key == Keys.SPATIAL else np.float32
    blocks = [
        da.from_delayed(  # type: ignore[no-untyped-call]
            delayed(_read_arrays)([part.path for part in block], key),
            shape=(sum(part.n_patches for part in block), width),
            dtype=dtype,
        )
        for block in _in_blocks(parts, as_sparse=False)
    ]
    if not blocks:
        return np.zeros((0, width), dtype)
    return da.concatenate(blocks)  # type: ignore[no-untyped-call]


def _read_arrays(paths: Sequence[Path], key: str) -> npt.NDArray[Any]:
    arrays = []
    for path in paths:
        with h5py.File(path) as file:
            arrays.append(file["obsm"][key][:])
    return np.concatenate(arrays)


def _pool_statistics(parts: Sequence[TablePart]) -> pd.DataFrame:
    """Return firing rate and mean, weighted by patches, and the largest activation."""
    n_patches = np.array([part.n_patches for part in parts], dtype=float)
    weights = n_patches / max(n_patches.sum(), 1.0)
    pooled = np.zeros_like(parts[0].statistics)
    for weight, part in zip(weights, parts, strict=True):
        pooled[:2] += weight * part.statistics[:2]
        np.maximum(pooled[2], part.statistics[2], out=pooled[2])
    columns = dict(zip(_STATISTICS, pooled, strict=True))
    rms = [part.rms for part in parts if part.rms is not None]
    if len(rms) == len(parts):
        rates = np.stack([part.statistics[0] for part in parts])
        columns[Keys.ACTIVE_RMS] = pool_rms(weights @ (rates * np.stack(rms) ** 2), pooled[0])
    return pd.DataFrame(columns, index=pd.Index(parts[0].features))
