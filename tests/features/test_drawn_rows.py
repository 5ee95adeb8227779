"""Rows are drawn evenly, and read alike from every layout on disk."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.features import drawn_rows
from napari_bio_superposition.features.drawn_rows import draw_rows, read_rows
from napari_bio_superposition.features.lazy_table import is_on_disk, open_table

_LAYOUTS = {
    "dense": np.asarray,
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
}


def test_every_stratum_gives_as_many_until_it_has_no_more(rng: np.random.Generator) -> None:
    strata = rng.permutation(["large"] * 80 + ["middle"] * 30 + ["small"] * 4)
    rows = draw_rows(strata, 44, rng=rng)
    names, counts = np.unique(strata[rows], return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"large": 20, "middle": 20, "small": 4}
    assert (np.diff(rows) > 0).all()
    assert len(np.unique(np.concatenate([rows, draw_rows(strata, 44, rng=rng)]))) > 50
    np.testing.assert_array_equal(draw_rows(strata, 500, rng=rng), np.arange(114))


def test_preferred_rows_of_a_stratum_come_first(rng: np.random.Generator) -> None:
    preferred = np.arange(20) % 4 == 0
    rows = draw_rows(np.repeat(["a", "b"], 10), 8, preferred=preferred, rng=rng)
    assert set(np.flatnonzero(preferred)) <= set(rows.tolist())
    assert (rows < 10).sum() == 4


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize(
    ("name", "compression"), [("a.h5ad", None), ("b.h5ad", "gzip"), ("c.zarr", None)]
)
def test_rows_on_disk_are_those_in_memory(
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    name: str,
    compression: str | None,
) -> None:
    values = np.round(rng.random((90, 7)) * (rng.random((90, 7)) < 0.4), 3).astype(np.float32)
    obs = pd.DataFrame({"n": np.arange(90)}, index=[f"cell{i}" for i in range(90)])
    table = AnnData(_LAYOUTS[layout](values), obs=obs, obsm={"X_umap": values[:, :2]})
    path = tmp_path / name
    if name.endswith("zarr"):
        with pytest.warns(UserWarning, match="zarr"):
            table.write_zarr(path)
    else:
        table.write_h5ad(path, compression=compression)
    monkeypatch.setattr(drawn_rows, "_BLOCK_BYTES", 500)  # many blocks, some without a chosen row
    opened = run(open_table(path, in_memory_bytes=0))
    assert is_on_disk(opened)
    rows = np.array([0, 3, 4, 60, 61, 89])
    read = run(read_rows(opened, rows))
    dense = read.X.toarray() if sparse.issparse(read.X) else read.X
    np.testing.assert_array_equal(dense, values[rows])
    np.testing.assert_array_equal(read.obs["n"], rows)
    np.testing.assert_array_equal(read.obsm["X_umap"], values[rows, :2])
