"""Graphs and path lengths on points whose geometry is known."""

import numpy as np
import pytest
from scipy.sparse.csgraph import dijkstra

from napari_bio_superposition.alignment.geodesics import (
    build_graph,
    farthest_landmarks,
    find_neighbours,
    geodesic_distances,
    prepare_points,
)
from napari_bio_superposition.core.errors import TableError


def _graph(points, k, weights="distance", cells=None):
    points = np.asarray(points, dtype=float).reshape(len(points), -1)
    return build_graph(find_neighbours(points, 30), k=k, weights=weights, cells=cells)


def test_paths_along_a_line_are_its_length() -> None:
    positions = np.array([0.0, 1.0, 3.0, 6.0])
    graph = _graph(positions, k=1)
    expected = np.abs(positions[:, None] - positions[None, :])
    np.testing.assert_allclose(geodesic_distances(graph), expected)


def test_paths_follow_a_ring() -> None:
    angle = np.arange(12) * np.pi / 6
    graph = _graph(np.c_[np.cos(angle), np.sin(angle)], k=2, weights="connectivity")
    steps = np.abs(np.arange(12)[:, None] - np.arange(12)[None, :])
    np.testing.assert_array_equal(geodesic_distances(graph), np.minimum(steps, 12 - steps))


def test_hops_of_all_sources_are_those_of_dijkstra(rng: np.random.Generator) -> None:
    graph = _graph(rng.normal(size=(150, 3)), k=5, weights="connectivity")
    sources = rng.permutation(150)[:70]
    expected = dijkstra(graph.edges, directed=False, indices=sources)
    np.testing.assert_array_equal(geodesic_distances(graph, sources), expected)


@pytest.mark.parametrize("weights", ["connectivity", "distance"])
def test_components_are_joined_by_the_shortest_edge(weights) -> None:
    graph = _graph([0.0, 1.0, 2.0, 10.0, 11.0, 50.0, 51.0], k=1, weights=weights)
    assert graph.component_sizes == (3, 2, 2)
    distances = geodesic_distances(graph)
    assert np.isfinite(distances).all()
    assert distances[0, 6] == (6 if weights == "connectivity" else 51)


def test_equal_cells_stay_connected() -> None:
    graph = _graph([0.0] * 10 + [1.0] * 10, k=3)
    distances = geodesic_distances(graph)
    assert np.isfinite(distances).all()
    assert distances[0, 1] < 0.01 < distances[0, 19]


def test_a_subset_uses_its_own_neighbours() -> None:
    graph = _graph(np.arange(10.0), k=1, cells=np.array([0, 2, 4, 6]))
    np.testing.assert_allclose(geodesic_distances(graph)[0], [0, 2, 4, 6])


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(TableError, match="5 neighbours cannot be found among 4 cells"):
        _graph(np.arange(4.0), k=5)


def test_a_flat_row_is_as_far_as_an_uncorrelated_one() -> None:
    points = prepare_points([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [3.0, 2.0, 1.0]], "correlation")
    np.testing.assert_allclose(np.linalg.norm(points - points[1], axis=1), [1, 0, 1])
    np.testing.assert_allclose(np.linalg.norm(points[0] - points[2]), 2)


def test_landmarks_cover_the_line(rng: np.random.Generator) -> None:
    graph = _graph(np.arange(41.0), k=2)
    landmarks = farthest_landmarks(graph, 5, rng=rng)
    gaps = np.abs(np.arange(41)[:, None] - landmarks[None, :]).min(axis=1)
    assert gaps.max() <= 10
    assert {0, 40} & set(landmarks.tolist())  # the second one is an end
