"""The nearest neighbours of patches, found once and shared by every graph. No layout here."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import FloatArray, IntArray

EXACT_UP_TO: Final = 100_000
"""Patches up to which all distances are looked at; beyond, pynndescent's search is approximate."""
_PHATE_FLOOR: Final = 1e-4
"""PHATE drops weights below this."""
_ROWS_AT_ONCE: Final = 512


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest other patches of each patch, nearest first.

    Parameters
    ----------
    indices, distances
        ``(n, k)``; a patch is not its own neighbour.
    """

    indices: IntArray
    distances: FloatArray

    @property
    def k(self) -> int:
        """Neighbours of each patch, itself not counted."""
        return int(self.indices.shape[1])

    @classmethod
    def of_table(cls, adata: AnnData, key: str = "neighbors") -> Self:
        """Read the neighbours that scanpy (or this program) left in a table.

        Raises
        ------
        TableError
            Where there are none, or their number differs from row to row.
        """
        if key not in adata.uns:
            raise TableError(
                f"The table has no graph {key!r}. Run `embed` or scanpy.pp.neighbors first."
            )
        graph = sparse.csr_matrix(adata.obsp[adata.uns[key]["distances_key"]])
        sizes = np.diff(graph.indptr)
        if not len(sizes) or sizes.min() != sizes.max():
            raise TableError(
                f"The graph {key!r} has between {sizes.min(initial=0)} and "
                f"{sizes.max(initial=0)} neighbours a row. Compute it again with `embed`."
            )
        indices = graph.indices.reshape(len(sizes), -1)
        distances = graph.data.reshape(len(sizes), -1)
        order = np.argsort(distances, axis=1, kind="stable")
        return cls(
            np.take_along_axis(indices, order, axis=1).astype(np.int64),
            np.take_along_axis(distances, order, axis=1).astype(np.float32),
        )

    def as_matrix(self, k: int) -> sparse.csr_matrix:
        """Return the distances to the nearest *k* others, ``(n, n)``."""
        n = len(self.indices)
        columns = self.indices[:, :k]
        ends = np.arange(0, columns.size + 1, columns.shape[1])
        return sparse.csr_matrix(
            (self.distances[:, :k].ravel(), columns.ravel(), ends), shape=(n, n)
        )


def find_neighbors(
    rows: FloatArray, k: int, *, metric: str = "euclidean", seed: int = 0
) -> Neighbors:
    """Find the nearest *k* other rows of each row.

    Parameters
    ----------
    rows
        ``(n, n_dimensions)``, more than one row.
    k
        Neighbours; fewer where there are fewer rows.
    metric
        ``"euclidean"`` or ``"cosine"``.
    seed
        Used by the approximate search beyond `EXACT_UP_TO` rows only.

    Notes
    -----
    Up to `EXACT_UP_TO` rows this equals ``scanpy.pp.neighbors(transformer="sklearn")``, which is
    scanpy's own default up to 8191 rows.
    """
    k = min(k, len(rows) - 1)
    if len(rows) > EXACT_UP_TO:
        return _search(rows, k, metric, seed)
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=metric).fit(rows)
    distances, indices = search.kneighbors()  # without an argument: a row is not its own neighbour
    return Neighbors(indices.astype(np.int64), distances.astype(np.float32))


def _search(rows: FloatArray, k: int, metric: str, seed: int) -> Neighbors:
    from pynndescent import NNDescent

    index = NNDescent(rows, metric=metric, n_neighbors=k + 1, random_state=seed)
    indices, distances = index.neighbor_graph
    others = indices != np.arange(len(rows))[:, np.newaxis]
    others[others.all(axis=1), -1] = False  # a row that did not find itself loses its farthest
    shape = (len(rows), k)
    return Neighbors(
        indices[others].reshape(shape).astype(np.int64),
        distances[others].reshape(shape).astype(np.float32),
    )


class _Known:
    """Neighbours in the shape in which scanpy asks for them: a transformer that has the answer."""

    def __init__(self, matrix: sparse.csr_matrix, n_neighbors: int) -> None:
        self._matrix = matrix
        self._n_neighbors = n_neighbors

    def fit_transform(self, x: Any, y: None = None) -> sparse.csr_matrix:
        """Return the distances; *x* was seen before."""
        return self._matrix.copy()

    def get_params(self, *, deep: bool = True) -> dict[str, Any]:
        """Return the one setting that scanpy asks for."""
        return {"n_neighbors": self._n_neighbors}


def add_graph(  # noqa: PLR0913 (scanpy's own names, written down by it)
    adata: AnnData,
    neighbors: Neighbors,
    n_neighbors: int,
    *,
    method: str = "umap",
    key: str = "neighbors",
    use_rep: str = "X_pca",
    seed: int = 0,
) -> None:
    """Add scanpy's neighbourhood graph from neighbours that are known already.

    Parameters
    ----------
    adata
        Gets ``uns[key]`` and ``obsp`` ``distances`` and ``connectivities``, as scanpy writes them.
    neighbors
        At least ``n_neighbors - 1`` of each patch.
    n_neighbors
        As scanpy counts: the patch itself is one of them.
    method
        Weights of the edges: ``"umap"`` or ``"gauss"``.
    key
        Name of the graph.
    use_rep
        What the neighbours were found in; must be in ``obsm``.
    seed
        Written down as scanpy does.
    """
    import scanpy

    scanpy.pp.neighbors(
        adata,
        n_neighbors=n_neighbors,
        use_rep=use_rep,
        method=method,
        random_state=seed,
        transformer=_Known(neighbors.as_matrix(n_neighbors - 1), n_neighbors),
        key_added=None if key == "neighbors" else key,
    )


def decaying_kernel(
    neighbors: Neighbors, rows: FloatArray, *, knn: int, decay: float
) -> sparse.csr_matrix:
    """Return PHATE's kernel from neighbours that are known already.

    Parameters
    ----------
    neighbors
        At least *knn* of each patch.
    rows
        What they were found in, ``(n, n_dimensions)``: rows whose kernel reaches beyond the known
        neighbours are looked up again, so that the result is exact.
    knn
        The distance to this neighbour is the width of a row.
    decay
        Exponent alpha.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``(n, n)``, not yet symmetric: ``exp(-(d / width)**decay)``, 1 on the diagonal.

    Notes
    -----
    Moon et al., Nature Biotechnology 37, 1482 (2019), equation 3, one half of it.
    """
    n = len(rows)
    width = np.maximum(neighbors.distances[:, knn - 1].astype(np.float64), np.finfo(float).eps)
    reach = width * (-np.log(_PHATE_FLOOR)) ** (1 / decay)
    short = neighbors.distances[:, -1] < reach
    if neighbors.k == n - 1:
        short[:] = False
    full = np.flatnonzero(~short)
    near = [
        (
            np.repeat(full, neighbors.k),
            neighbors.indices[full].ravel(),
            neighbors.distances[full].ravel().astype(np.float64),
        ),
        (np.arange(n), np.arange(n), np.zeros(n)),
        *_look_again(rows, np.flatnonzero(short), reach),
    ]
    row, column, distance = (np.concatenate(part) for part in zip(*near, strict=True))
    weight = np.exp(-((distance / width[row]) ** decay))
    kept = weight >= _PHATE_FLOOR
    return sparse.csr_matrix((weight[kept], (row[kept], column[kept])), shape=(n, n))


Edges = tuple[IntArray, IntArray, npt.NDArray[np.float64]]


def _look_again(rows: FloatArray, short: IntArray, reach: npt.NDArray[np.float64]) -> list[Edges]:
    """Return all others within reach of some rows: row, column, distance."""
    from sklearn.metrics import pairwise_distances

    found = []
    for start in range(0, len(short), _ROWS_AT_ONCE):
        chosen = short[start : start + _ROWS_AT_ONCE]
        distance = pairwise_distances(rows[chosen], rows).astype(np.float64)
        distance[np.arange(len(chosen)), chosen] = np.inf
        row, column = np.nonzero(distance <= reach[chosen, np.newaxis])
        found.append((chosen[row], column, distance[row, column]))
    return found
