"""Tables that do not fit into memory: rows and embeddings in memory, features one at a time.

Reads any ``.h5ad`` or ``.zarr``, also those of other programs. No plots, no computing.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anndata
import numpy as np
import numpy.typing as npt
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.features.table import write_table

IN_MEMORY_BYTES: Final = 2**30
"""A table whose arrays are smaller than this in total, X if dense, is read as a whole."""
WIDEST_EMBEDDING: Final = 128
"""Arrays of obsm with more columns are features rather than places; of a large table they stay."""
_BLOCK_BYTES: Final = 2**21
"""Read in one go: h5py keeps the interpreter while it reads, and a window has to answer."""
_CHUNKED_ROWS: Final = 2**15


def open_table(path: str | Path, *, in_memory_bytes: int = IN_MEMORY_BYTES) -> Job[AnnData]:
    """Open a table; the features of a large one stay on disk.

    Parameters
    ----------
    path
        A ``.h5ad`` file or a ``.zarr`` folder of any origin.
    in_memory_bytes
        Total size of all arrays, ``X`` as if dense, up to which everything is read.

    Returns
    -------
    AnnData
        Complete where it is small. Of a large one ``obs``, ``var``, ``uns`` and the embeddings
        are in memory, ``X`` stays on disk (see `is_on_disk`, `read_feature`), and ``layers``,
        ``obsp`` and ``raw`` are left out. Names of rows are unique.

    Raises
    ------
    TableError
        Where it is missing, damaged, or no table.
    """
    path = Path(path)
    yield Progress("Opening the table")
    try:
        store = _open_store(path)
        n_bytes = _count_bytes(store)
        if n_bytes <= in_memory_bytes:
            adata = _read_whole(path, store)
        else:
            adata = yield from _open_lazily(store)
    except TableError:
        raise
    except Exception as error:  # h5py, zarr and anndata raise whatever a damaged byte leads to
        raise TableError(
            f"{path.name} cannot be read as a table ({type(error).__name__}: {error}). "
            "Choose a .h5ad or .zarr that anndata or scanpy wrote."
        ) from error
    if not adata.obs_names.is_unique:
        adata.obs_names_make_unique()
    return adata


def is_on_disk(adata: AnnData) -> bool:
    """Whether the features of a table are read from a file when they are asked for."""
    values = adata.X
    return values is not None and not isinstance(values, np.ndarray) and not sparse.issparse(values)


def read_feature(adata: AnnData, feature: str) -> Job[FloatArray]:
    """Return one feature of all rows, float32 ``(n,)``, in bounded memory.

    Parameters
    ----------
    adata
        A table in memory, or one of `open_table`.
    feature
        Name of a column.

    Raises
    ------
    TableError
        Where there is no such feature.

    Notes
    -----
    What a feature on disk costs depends on how the file lies: by columns (CSC) one short read, in
    chunks those that hold the column, by rows a pass over the whole file.
    """
    if feature not in adata.var_names:
        known = list_choices(adata.var_names[:5])
        raise TableError(f"There is no feature {feature!r}. The table has {known} and so on.")
    column = int(adata.var_names.get_loc(feature))
    step = f"Reading {feature}"
    yield Progress(step, 0, adata.n_obs, "rows")
    values = np.zeros(adata.n_obs, np.float32)
    for first, part in _blocks_of(adata.X, column):
        values[first : first + len(part)] = part
        yield Progress(step, first + len(part), adata.n_obs, "rows")
    return values


def save_table(adata: AnnData, path: str | Path) -> Job[Path]:
    """Write a table with its groups and layouts, whole or not at all.

    Features that are on disk stay in the file they came from: the copy then holds rows, columns
    and layouts only, joined to that file by the names of its rows, and a notice says so.

    Raises
    ------
    TableError
        Where the name ends in neither ``.h5ad`` nor ``.zarr``.
    OutputError
        Where it cannot be written.
    """
    notice = ""
    if is_on_disk(adata):
        notice = "Features stay in the file they came from; the copy holds rows and layouts."
        adata = AnnData(obs=adata.obs, var=adata.var, uns=adata.uns, obsm=dict(adata.obsm))
    yield Progress("Saving the table", notice=notice)
    return write_table(adata, path)


# --- opening -------------------------------------------------------------------------------------


def _open_store(path: Path) -> Any:
    if not path.exists():
        raise TableError(f"There is no table {path.name} in {path.parent}. Choose another one.")
    if path.suffix == ".h5ad":
        import h5py

        return h5py.File(path, "r")
    if path.suffix == ".zarr":
        import zarr

        return zarr.open_group(path, mode="r")
    raise TableError(f"{path.name} is no name of a table. Choose a .h5ad or .zarr.")


def _count_bytes(store: Any) -> int:
    """Return the size of all arrays of a table, uncompressed; layouts need a sparse X dense."""
    return sum(  # a group of zarr is no mapping
        _size_dense(store[name]) if name == "X" else _size_below(store[name]) for name in store
    )


def _size_dense(values: Any) -> int:
    if "shape" not in values.attrs:
        return _size_below(values)
    n_values = int(np.prod(values.attrs["shape"], dtype=np.int64))
    return n_values * int(values["data"].dtype.itemsize)


def _size_below(part: Any) -> int:
    if hasattr(part, "keys"):
        return sum(_size_below(part[name]) for name in part)
    return _size(part)


def _size(array: Any) -> int:
    if array.shape is None:  # HDF5's empty value, which stands for None
        return 0
    return int(np.prod(array.shape, dtype=np.int64)) * int(getattr(array.dtype, "itemsize", 8))


def _read_whole(path: Path, store: Any) -> AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other programs' files: names repeat, formats are older
        if path.suffix == ".zarr":
            return anndata.read_zarr(path)
        store.close()
        return anndata.read_h5ad(path)


def _open_lazily(store: Any) -> Job[AnnData]:
    parts: dict[str, Any] = {}
    for name in ("obs", "var", "uns"):
        yield Progress("Opening the table")
        if name in store:
            parts[name] = read_elem(store[name])
    places = {}
    left_out = [name for name in ("layers", "obsp", "raw") if _count_members(store, name)]
    for name in store.get("obsm", ()):
        yield Progress("Opening the table")
        array = store["obsm"][name]
        if len(getattr(array, "shape", ())) == 2 and array.shape[1] <= WIDEST_EMBEDDING:
            places[name] = read_elem(array)
        else:
            left_out.append(f"obsm/{name}")
    values = store.get("X")
    if hasattr(values, "keys"):
        values = sparse_dataset(values)
    if left_out:
        what = list_choices(left_out)
        yield Progress("Opening the table", notice=f"The table is large; left on disk: {what}.")
    return AnnData(X=values, obsm=places, **parts)


def _count_members(store: Any, name: str) -> int:
    """Return how many members a group has; none where it is absent or null."""
    part = store.get(name)
    return sum(1 for _ in part) if hasattr(part, "keys") else 0


# --- one column ----------------------------------------------------------------------------------


def _blocks_of(values: Any, column: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield the first row and the values of consecutive blocks of one column."""
    kind = getattr(values, "format", "")
    if isinstance(values, np.ndarray):
        yield 0, values[:, column]
    elif sparse.issparse(values):
        yield 0, np.asarray(values[:, [column]].todense()).ravel()
    elif kind == "csc":
        yield 0, np.asarray(values[:, column : column + 1].todense()).ravel()
    elif kind == "csr":
        yield from _blocks_of_rows(values.group, column, values.shape[0])
    else:
        yield from _blocks_of_dense(values, column)


def _blocks_of_rows(group: Any, column: int, n_rows: int) -> Iterator[tuple[int, FloatArray]]:
    """Yield one column of a matrix that lies by rows (CSR), from blocks of its entries."""
    starts = np.asarray(group["indptr"][:], np.int64)
    n_entries = _BLOCK_BYTES // 16
    first = 0
    while first < n_rows:
        last = int(np.searchsorted(starts, starts[first] + n_entries, side="right")) - 1
        last = min(max(last, first + 1), n_rows)
        low, high = int(starts[first]), int(starts[last])
        hits = np.flatnonzero(np.asarray(group["indices"][low:high]) == column)
        part = np.zeros(last - first, np.float32)
        if hits.size:
            rows = np.searchsorted(starts, hits + low, side="right") - 1
            part[rows - first] = np.asarray(group["data"][low:high])[hits]
        yield first, part
        first = last


def _blocks_of_dense(array: Any, column: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield one column of an array on disk."""
    n_rows, n_columns = array.shape
    if getattr(array, "chunks", None) is not None:
        # Of chunks only those that hold the column are read, and each of them as a whole.
        height, width = array.chunks
        chunk_bytes = height * min(width, n_columns) * array.dtype.itemsize
        n_chunks = min(_CHUNKED_ROWS // height, _BLOCK_BYTES // chunk_bytes)
        rows = max(1, n_chunks) * height
        for first in range(0, n_rows, rows):
            yield first, np.asarray(array[first : first + rows, column])
        return
    rows = max(1, _BLOCK_BYTES // (n_columns * array.dtype.itemsize))
    for first in range(0, n_rows, rows):
        yield first, np.asarray(array[first : first + rows])[:, column]
