"""Neighbours found once: the same graph as scanpy's, and the same kernel as PHATE's."""

import warnings

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.manifold import neighbors as module
from napari_bio_superposition.manifold.neighbors import (
    Neighbors,
    add_graph,
    decaying_kernel,
    find_neighbors,
)


def make_rows(rng: np.random.Generator, n: int = 150) -> FloatArray:
    return rng.normal(size=(n, 6)).astype(np.float32)


def test_neighbors_by_hand() -> None:
    """Points 0, 1, 3, 7 on a line."""
    found = find_neighbors(np.array([[0.0], [1], [3], [7]], np.float32), 2)
    assert found.indices.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert found.distances.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]


@pytest.mark.parametrize("method", ["umap", "gauss"])
def test_the_graph_is_scanpys(method: str, rng: np.random.Generator) -> None:
    rows = make_rows(rng)
    ours, theirs = (AnnData(np.zeros((150, 1)), obsm={"X_pca": rows}) for _ in range(2))
    add_graph(ours, find_neighbors(rows, 40), 12, method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(theirs, n_neighbors=12, use_rep="X_pca", method=method)
    for key in ("distances", "connectivities"):
        assert abs(ours.obsp[key] - theirs.obsp[key]).max() < 1e-6
    assert ours.uns["neighbors"] == theirs.uns["neighbors"]
    known = Neighbors.of_table(theirs)
    assert known.k == 11
    np.testing.assert_array_equal(known.indices, find_neighbors(rows, 11).indices)


@pytest.mark.parametrize(("k", "decay"), [(30, 40.0), (6, 40.0), (6, 5.0)])
def test_the_kernel_is_phates_also_where_it_reaches_beyond_the_known(
    k: int, decay: float, rng: np.random.Generator
) -> None:
    graphtools = pytest.importorskip("graphtools")
    rows = make_rows(rng)
    graph = graphtools.Graph(rows, n_pca=None, knn=5, decay=decay, thresh=1e-4, verbose=0)
    kernel = decaying_kernel(find_neighbors(rows, k), rows, knn=5, decay=decay)
    symmetric = (kernel + kernel.T) / 2
    assert kernel.nnz > 150
    np.testing.assert_allclose(symmetric.toarray(), graph.kernel.toarray(), atol=1e-4)


@pytest.mark.slow  # numba compiles the search
def test_the_approximate_search_finds_most(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(rng)
    exact = find_neighbors(rows, 8)
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near = find_neighbors(rows, 8)
    assert near.indices.shape == (150, 8)
    assert not (near.indices == np.arange(150)[:, np.newaxis]).any()
    shared = [len(set(a) & set(b)) / 8 for a, b in zip(near.indices, exact.indices, strict=True)]
    assert np.mean(shared) > 0.9


def test_a_table_without_a_usable_graph_is_refused(rng: np.random.Generator) -> None:
    adata = AnnData(np.zeros((4, 1)))
    with pytest.raises(TableError, match="Run `embed`"):
        Neighbors.of_table(adata)
    adata.uns["neighbors"] = {"distances_key": "distances"}
    adata.obsp["distances"] = sparse.csr_matrix(np.triu(np.ones((4, 4)), 1))
    with pytest.raises(TableError, match="between 0 and 3"):
        Neighbors.of_table(adata)
