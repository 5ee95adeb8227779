"""Geodesic costs: nearest-neighbour graph, joined components, shortest paths. No transport."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from sklearn.neighbors import NearestNeighbors

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import FloatArray, IntArray

Matrix = npt.NDArray[np.float64]
Metric = Literal["correlation", "euclidean"]
METRICS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "both": ("correlation", "euclidean"),
    "correlation": ("correlation",),
    "euclidean": ("euclidean",),
}
"""Setting of the coupling to the metrics whose graphs are averaged."""
EdgeWeights = Literal["connectivity", "distance"]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of every cell, nearest first, the cell itself left out.

    Parameters
    ----------
    points
        ``(n, d)``, see `prepare_points`.
    indices, lengths
        ``(n, k_max)``.
    """

    points: Matrix
    indices: IntArray
    lengths: Matrix

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """A connected neighbour graph of one modality and what was done to connect it.

    Parameters
    ----------
    edges
        Symmetric ``(n, n)`` sparse matrix of edge lengths.
    weights
        What the lengths are.
    component_sizes
        Cells per component before they were joined, largest first; one entry where the graph was
        connected.
    """

    edges: Any
    weights: EdgeWeights
    component_sizes: tuple[int, ...]

    def __len__(self) -> int:
        return int(self.edges.shape[0])


def prepare_points(features: npt.ArrayLike, metric: Metric) -> Matrix:
    """Return points whose Euclidean distances order cells as *metric* does.

    For ``correlation`` the rows are centred and scaled to unit length: then the squared Euclidean
    distance is twice the correlation distance, and neighbours come from a tree or from products.
    A row of one repeated value has no correlation; it is put at the origin, where it is as far from
    every other row as an uncorrelated row is.
    """
    points = np.asarray(features, dtype=np.float64)
    if metric == "euclidean":
        return points
    centred = points - points.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = length <= 1e-12 * np.abs(points).max(axis=1, keepdims=True)
    return np.asarray(np.where(flat, 0.0, centred / np.where(flat, 1.0, length)))


def find_neighbours(points: Matrix, k_max: int) -> Neighbours:
    """Find the *k_max* nearest neighbours of every cell (fewer where there are fewer cells)."""
    k_max = min(k_max, len(points) - 1)
    # Asked without points, so that of several equal cells none counts itself as a neighbour.
    lengths, indices = NearestNeighbors(n_neighbors=k_max).fit(points).kneighbors()
    return Neighbours(points, indices, lengths)


def build_graph(
    neighbours: Neighbours, *, k: int, weights: EdgeWeights, cells: IntArray | None = None
) -> NeighbourGraph:
    """Return the union-symmetrised graph of the *k* nearest neighbours, made connected.

    Components are joined by the shortest edges between them, as in a minimum spanning tree.

    Parameters
    ----------
    neighbours
        Of all cells; with some to spare where *cells* is given.
    k
        Neighbours per cell, the cell itself not counted.
    weights
        Whether an edge counts 1 (``connectivity``) or its length (``distance``).
    cells
        Cells to build the graph of, in order; all where not given.

    Raises
    ------
    TableError
        Where there are too few cells for *k*.
    """
    cells = np.arange(len(neighbours)) if cells is None else cells
    if not 0 < k < len(cells):
        raise TableError(
            f"{k} neighbours cannot be found among {len(cells)} cells. Choose fewer neighbours "
            "(--neighbours), or give more cells."
        )
    position = np.full(len(neighbours), -1)
    position[cells] = np.arange(len(cells))
    targets = position[neighbours.indices[cells]]
    present = targets >= 0
    kept = present & (np.cumsum(present, axis=1) <= k)
    rows = np.nonzero(kept)[0]
    # A zero length (two equal cells) would vanish from a sparse matrix, and with it the edge.
    lengths = np.maximum(neighbours.lengths[cells][kept], _shortest(neighbours.lengths))
    edges = sparse.csr_matrix((lengths, (rows, targets[kept])), shape=(len(cells), len(cells)))
    edges, sizes = _join_components(neighbours.points[cells], edges.maximum(edges.T).tocsr())
    if weights == "connectivity":
        edges.data = np.ones_like(edges.data)
    return NeighbourGraph(edges=edges, weights=weights, component_sizes=sizes)


def _shortest(lengths: Matrix) -> float:
    """Return a length well below any other one, for edges between equal cells."""
    positive = lengths[lengths > 0]
    return float(positive.min()) * 1e-3 if len(positive) else 1.0


def _join_components(points: Matrix, edges: Any) -> tuple[Any, tuple[int, ...]]:
    """Join each component to its nearest other one until there is one."""
    n_components, labels = connected_components(edges, directed=False)
    sizes = tuple(sorted(np.bincount(labels).tolist(), reverse=True))
    while n_components > 1:
        rows, columns, lengths = _bridges(points, labels)
        bridge = sparse.csr_matrix((lengths, (rows, columns)), shape=edges.shape)
        edges = edges.maximum(bridge).maximum(bridge.T).tocsr()
        n_components, labels = connected_components(edges, directed=False)
    return edges, sizes


def _bridges(points: Matrix, labels: npt.NDArray[Any]) -> tuple[Any, Any, Matrix]:
    """Return the shortest edge from each component but the largest to any other one."""
    largest = np.bincount(labels).argmax()
    rows, columns, lengths = [], [], []
    for label in np.unique(labels):
        if label == largest:
            continue
        inside, outside = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        distance, index = (
            NearestNeighbors(n_neighbors=1).fit(points[outside]).kneighbors(points[inside])
        )
        best = int(distance[:, 0].argmin())
        rows.append(inside[best])
        columns.append(outside[index[best, 0]])
        lengths.append(max(float(distance[best, 0]), np.finfo(float).tiny))
    return np.array(rows), np.array(columns), np.array(lengths)


def geodesic_distances(graph: NeighbourGraph, sources: IntArray | None = None) -> FloatArray:
    """Return the length of the shortest path from each source to every cell.

    Returns
    -------
    numpy.ndarray
        ``(n_sources, n)`` float32, in units of the edges; all cells are sources where not given.
    """
    sources = np.arange(len(graph)) if sources is None else sources
    if graph.weights == "connectivity":
        return _count_hops(graph.edges, sources)
    return np.asarray(dijkstra(graph.edges, directed=False, indices=sources), dtype=np.float32)


def _count_hops(edges: Any, sources: IntArray) -> FloatArray:
    """Count steps from all sources at once: one bit per source, one sweep of the edges per step.

    Five to ten times faster than one search per source, because 64 of them share each visit of an
    edge.
    """
    n, n_words = edges.shape[0], -(-len(sources) // 64)
    hops = np.zeros((n, n_words * 64), dtype=np.float32)
    reached = np.zeros((n, n_words), dtype=np.uint64)
    number = np.arange(len(sources), dtype=np.uint64)
    np.bitwise_or.at(
        reached, (sources, (number // 64).astype(np.int64)), np.uint64(1) << (number % 64)
    )
    everything = np.bitwise_or.reduce(reached, axis=0)
    while not np.array_equal(np.bitwise_and.reduce(reached, axis=0), everything):
        missing = ~np.unpackbits(reached.view(np.uint8), axis=1, bitorder="little").view(bool)
        hops += missing  # one step more for whoever is not reached yet
        # Every cell of a connected graph has a neighbour, so that no segment is empty.
        reached |= np.bitwise_or.reduceat(reached[edges.indices], edges.indptr[:-1], axis=0)
    return np.ascontiguousarray(hops[:, : len(sources)].T)


def farthest_landmarks(
    graph: NeighbourGraph, n_landmarks: int, *, rng: np.random.Generator
) -> IntArray:
    """Choose cells that cover the graph: each is the farthest from those chosen before it.

    Parameters
    ----------
    graph
        A connected graph.
    n_landmarks
        Number of cells to choose; all cells where there are not more.
    rng
        Draws the first one.

    Returns
    -------
    numpy.ndarray
        Indices of cells, ``(n_landmarks,)``.
    """
    n = len(graph)
    if n_landmarks >= n:
        return np.arange(n)
    landmarks = np.empty(n_landmarks, dtype=np.int64)
    nearest = np.full(n, np.inf, dtype=np.float32)
    chosen = int(rng.integers(n))
    for index in range(n_landmarks):
        landmarks[index] = chosen
        distance = dijkstra(graph.edges, directed=False, indices=chosen)
        np.minimum(nearest, distance.astype(np.float32), out=nearest)
        chosen = int(nearest.argmax())
    return landmarks
