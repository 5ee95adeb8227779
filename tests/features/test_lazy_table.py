"""Tables on disk: the same values as in memory, from every layout, and only what is asked for."""

import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Progress, run
from napari_bio_superposition.features import lazy_table
from napari_bio_superposition.features.lazy_table import (
    is_on_disk,
    open_table,
    read_feature,
    save_table,
)

_LAYOUTS = {
    "dense": lambda values: values,
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
}


def _make_table(rng: np.random.Generator, layout: str = "dense") -> AnnData:
    values = rng.random((300, 6)).astype(np.float32) * (rng.random((300, 6)) < 0.3)
    obs = pd.DataFrame(
        {"well": ["A01", "B02", "C03"] * 100}, index=[f"cell{i}" for i in range(300)]
    )
    return AnnData(
        X=_LAYOUTS[layout](values),
        obs=obs,
        var=pd.DataFrame(index=[f"gene{i}" for i in range(6)]),
        obsm={"X_umap": values[:, :2], "X_wide": np.zeros((300, 500), np.float32)},
        layers={"counts": values},
    )


def _write(adata: AnnData, path: Path, **options: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".zarr":
            adata.write_zarr(path)
        else:
            adata.write_h5ad(path, **options)
    return path


@pytest.mark.parametrize("layout", ["dense", "csr", "csc"])
@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_a_feature_on_disk_is_the_feature_in_memory(
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    name: str,
) -> None:
    adata = _make_table(rng, layout)
    monkeypatch.setattr(lazy_table, "_BLOCK_BYTES", 2000)  # many blocks
    monkeypatch.setattr(lazy_table, "_CHUNKED_ROWS", 64)
    path = _write(adata, tmp_path / name)
    opened = run(open_table(path, in_memory_bytes=0))
    assert is_on_disk(opened)
    for feature in ("gene0", "gene5"):
        reports: list[Progress] = []
        values = run(read_feature(opened, feature), reports.append)
        expected = run(read_feature(adata, feature))
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == np.float32
        assert reports[-1].fraction == 1.0
    assert expected.max() > 0
    np.testing.assert_array_equal(opened.obsm["X_umap"], adata.obsm["X_umap"])
    assert list(opened.obs["well"]) == list(adata.obs["well"])


def test_compressed_chunks_are_read_as_well(tmp_path: Path, rng: np.random.Generator) -> None:
    adata = _make_table(rng)
    path = _write(adata, tmp_path / "a.h5ad", compression="gzip")
    opened = run(open_table(path, in_memory_bytes=0))
    assert opened.X.chunks is not None
    np.testing.assert_array_equal(run(read_feature(opened, "gene3")), adata.X[:, 3])


def test_large_tables_leave_layers_and_wide_arrays_and_say_so(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = _write(_make_table(rng), tmp_path / "a.h5ad")
    reports: list[Progress] = []
    opened = run(open_table(path, in_memory_bytes=0), reports.append)
    assert set(opened.obsm) == {"X_umap"}
    assert not opened.layers
    notice = next(report.notice for report in reports if report.notice)
    assert "layers" in notice
    assert "obsm/X_wide" in notice


def test_small_tables_are_read_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    path = _write(_make_table(rng, "csr"), tmp_path / "a.h5ad")
    opened = run(open_table(path))
    assert not is_on_disk(opened)
    assert set(opened.obsm) == {"X_umap", "X_wide"}
    assert "counts" in opened.layers
    with h5py.File(path, "r+"):  # not held open
        pass


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_a_sparse_table_counts_as_the_dense_one_that_layouts_need(
    tmp_path: Path, name: str
) -> None:
    empty = AnnData(sparse.csr_matrix((1000, 100), dtype=np.float32))
    empty.obsp["connectivities"] = sparse.identity(1000, format="csr")  # 8 MB if it were dense
    path = _write(empty, tmp_path / name)
    assert is_on_disk(run(open_table(path, in_memory_bytes=300_000)))
    assert not is_on_disk(run(open_table(path, in_memory_bytes=500_000)))


@pytest.mark.parametrize("in_memory_bytes", [0, 2**30])
def test_groups_and_layouts_are_saved_and_features_on_disk_stay_there(
    tmp_path: Path, rng: np.random.Generator, in_memory_bytes: int
) -> None:
    path = _write(_make_table(rng), tmp_path / "a.h5ad")
    opened = run(open_table(path, in_memory_bytes=in_memory_bytes))
    opened.obs["group_mine"] = np.arange(300) < 7
    reports: list[Progress] = []
    saved = run(open_table(run(save_table(opened, tmp_path / "b.h5ad"), reports.append)))
    assert saved.obs["group_mine"].sum() == 7
    np.testing.assert_array_equal(saved.obsm["X_umap"], opened.obsm["X_umap"])
    assert list(saved.var_names) == list(opened.var_names)
    assert (saved.X is None) == (in_memory_bytes == 0) == bool(reports[0].notice)


def test_repeated_names_of_rows_become_unique(tmp_path: Path, rng: np.random.Generator) -> None:
    adata = _make_table(rng)
    adata.obs_names = ["same"] * 300
    path = _write(adata, tmp_path / "a.h5ad")
    assert run(open_table(path)).obs_names.is_unique


def test_what_is_no_table_is_told(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "broken.h5ad").write_bytes(b"not hdf5")
    (tmp_path / "notes.txt").write_text("hello")
    for name, words in (
        ("missing.h5ad", "no table"), ("broken.h5ad", "cannot be read"), ("notes.txt", ".h5ad"),
    ):  # fmt: skip
        with pytest.raises(TableError, match=words):
            run(open_table(tmp_path / name))
    with pytest.raises(TableError, match="gene0, gene1"):
        run(read_feature(_make_table(rng), "no such gene"))


def test_chunks_are_read_in_blocks_that_leave_a_window_time_to_answer(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of 20 rows by 4 columns has 320 bytes; three of them fit into 1000."""
    values = rng.random((300, 6)).astype(np.float32)
    monkeypatch.setattr(lazy_table, "_BLOCK_BYTES", 1000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        chunked = file.create_dataset("X", data=values, chunks=(20, 4), compression="gzip")
        adata = AnnData(X=chunked, var=pd.DataFrame(index=[f"gene{i}" for i in range(6)]))
        reports: list[Progress] = []
        found = run(read_feature(adata, "gene5"), reports.append)
    np.testing.assert_array_equal(found, values[:, 5])
    assert [report.done for report in reports] == [0, 60, 120, 180, 240, 300]
