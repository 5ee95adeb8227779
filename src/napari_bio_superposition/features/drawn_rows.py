"""Some rows of a table, drawn evenly, and brought from disk into memory in blocks. No computing."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, IntArray

_BLOCK_BYTES: Final = 2**22
"""Read in one go: h5py keeps the interpreter while it reads, and a window has to answer."""
_SPARSE_ENTRY_BYTES: Final = 12


def draw_rows(
    strata: npt.NDArray[Any],
    n_rows: int,
    *,
    preferred: BoolArray | None = None,
    rng: np.random.Generator,
) -> IntArray:
    """Draw rows so that every stratum gives as many as every other, as far as it has them.

    Parameters
    ----------
    strata
        Number or name of each row's stratum, for instance its well, ``(n,)``.
    n_rows
        How many are drawn; all where there are no more.
    preferred
        Rows that are drawn before the others of their stratum.
    rng
        Draws.

    Returns
    -------
    IntArray
        Positions, ascending.
    """
    _, codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    if n_rows >= len(codes):
        return np.arange(len(codes))
    rank = rng.permutation(len(codes))
    if preferred is not None:
        rank = rank + len(codes) * ~preferred
    order = np.lexsort((rank, codes))
    place = np.empty(len(codes), np.int64)  # how many of the same stratum come before a row
    place[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # The first of every stratum, then the second of every one that has two, and so on.
    return np.sort(np.lexsort((rank, place))[:n_rows])


def number_strata(obs: pd.DataFrame, *columns: str) -> IntArray:
    """Return the number of each row's combination of those *columns* that there are."""
    known = [name for name in columns if name in obs]
    if not known:
        return np.zeros(len(obs), np.int64)
    numbers: IntArray = obs.groupby(known, observed=True, dropna=False).ngroup().to_numpy(np.int64)
    return numbers


def read_rows(adata: AnnData, rows: IntArray) -> Job[AnnData]:
    """Return a table in memory with some rows of one that may be on disk.

    Parameters
    ----------
    adata
        A table in memory, or one of `features.lazy_table.open_table`; not changed.
    rows
        Positions, ascending.

    Returns
    -------
    AnnData
        With ``obs``, ``var``, ``uns`` and ``obsm`` of those rows; graphs between rows are left out.
    """
    parts = []
    for first, last, block in _row_blocks(adata.X):
        inside = rows[(rows >= first) & (rows < last)] - first
        if inside.size:
            parts.append(block()[inside])
        yield Progress("Reading features", last, adata.n_obs, "rows")
    is_sparse = sparse.issparse(parts[0])
    values: Any = sparse.vstack(parts, format="csr") if is_sparse else np.concatenate(parts)
    return AnnData(
        values,
        obs=adata.obs.iloc[rows].copy(),
        var=adata.var.copy(),
        uns=dict(adata.uns),
        obsm={key: np.asarray(places)[rows] for key, places in adata.obsm.items()},
    )


def _row_blocks(values: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield first row, end, and a function that reads them, of consecutive blocks of rows."""
    n_rows, n_columns = values.shape
    kind = getattr(values, "format", "")
    if isinstance(values, np.ndarray) or sparse.issparse(values):
        kept = values.tocsr() if sparse.issparse(values) else values
        yield 0, n_rows, lambda: kept
        return
    if kind == "csc":  # its rows lie all over the file
        yield 0, n_rows, lambda: values.to_memory().tocsr()
        return
    size = n_columns * (_SPARSE_ENTRY_BYTES if kind else values.dtype.itemsize)
    chunks = getattr(values, "chunks", None)
    height = 1 if kind or chunks is None else chunks[0]
    step = max(1, _BLOCK_BYTES // (size * height)) * height
    for first in range(0, n_rows, step):
        last = min(first + step, n_rows)
        yield first, last, lambda first=first, last=last: values[first:last]
