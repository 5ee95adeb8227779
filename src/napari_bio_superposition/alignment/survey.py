"""One modality as the search sees it: landmarks and scaled distances at every k. No transport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.geodesics import (
    METRICS,
    Neighbours,
    build_graph,
    farthest_landmarks,
    find_neighbours,
    geodesic_distances,
    prepare_points,
)
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray

_SHARE = 0.8
"""Share of the cells in a resampled graph."""
_MANY = 4096
"""Values that describe the distribution of distances."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Landmarks of one modality and their distances to all cells, at every number of neighbours.

    Parameters
    ----------
    neighbours
        Neighbour lists of all cells, one by each metric.
    landmarks
        Indices of cells, ``(n_landmarks,)``; all cells, in order, where they are few.
    nearest
        Landmark that stands for each cell, ``(n,)``, as a position in *landmarks*.
    distances
        k to ``(n_landmarks, n)`` float32 in ``[0, 1]``.
    component_sizes
        k to the cells per component before they were joined, largest first, of the graph that fell
        into most components.
    resamples
        Cells of each resampled graph.
    config
        What it was made with.
    """

    neighbours: tuple[Neighbours, ...]
    landmarks: IntArray
    nearest: IntArray
    distances: Mapping[int, FloatArray]
    component_sizes: Mapping[int, tuple[int, ...]]
    resamples: tuple[IntArray, ...]
    config: CouplingConfig

    def __len__(self) -> int:
        return len(self.nearest)

    @property
    def masses(self) -> FloatArray:
        """Share of the cells that each landmark stands for, ``(n_landmarks,)``."""
        counts = np.bincount(self.nearest, minlength=len(self.landmarks))
        return np.asarray(counts / len(self), dtype=np.float64)

    def from_landmarks(self, ks: tuple[int, ...]) -> FloatArray:
        """Return the distances to all cells, averaged over *ks*, ``(n_landmarks, n)``."""
        return average_distances([self.distances[k] for k in ks], self.config)

    def between_landmarks(self, ks: tuple[int, ...]) -> FloatArray:
        """Return the same between landmarks, symmetric, ``(n_landmarks, n_landmarks)``."""
        block = self.from_landmarks(ks)[:, self.landmarks]
        return np.asarray((block + block.T) / 2)


def survey_modality(
    features: npt.ArrayLike, config: CouplingConfig, *, name: str, rng: np.random.Generator
) -> Job[Survey]:
    """Find neighbours, landmarks and distances of one modality.

    Parameters
    ----------
    features
        ``(n, d)``.
    config
        Metric, numbers of neighbours, landmarks and resamples.
    name
        What the modality is called in reports.
    rng
        Draws resamples and the first landmark.
    """
    yield Progress(f"Finding neighbours: {name}")
    k_max = int(np.ceil(max(config.neighbours) / _SHARE**2))
    neighbours = tuple(
        find_neighbours(prepare_points(features, metric), k_max)
        for metric in METRICS[config.metric]
    )
    resamples = _draw_resamples(len(neighbours[0]), config.n_resamples, rng)
    middle = sorted(config.neighbours)[len(config.neighbours) // 2]
    # The landmarks of one graph serve both; the Euclidean one also tells apart levels of cells.
    graph = build_graph(neighbours[-1], k=middle, weights=config.edge_weights)
    landmarks = farthest_landmarks(graph, config.n_landmarks, rng=rng)
    distances, sizes = {}, {}
    for done, k in enumerate(config.neighbours):
        yield Progress(f"Measuring paths: {name}", done, len(config.neighbours), "graphs")
        distances[k], sizes[k] = measure_paths(neighbours, landmarks, k, config, resamples)
    return Survey(
        neighbours=neighbours,
        landmarks=landmarks,
        nearest=_assign(distances[middle], landmarks),
        distances=distances,
        component_sizes=sizes,
        resamples=resamples,
        config=config,
    )


def measure_paths(
    neighbours: Sequence[Neighbours],
    sources: IntArray,
    k: int,
    config: CouplingConfig,
    resamples: tuple[IntArray, ...] = (),
) -> tuple[FloatArray, tuple[int, ...]]:
    """Return scaled distances from *sources* to all cells, averaged over metrics and resamples.

    Parameters
    ----------
    neighbours
        By each metric.
    sources
        Indices of cells.
    k
        Neighbours per cell.
    config
        Edge weights and scale.
    resamples
        Cells of the resampled graphs.

    Returns
    -------
    distances
        ``(n_sources, n)`` float32 in ``[0, 1]``.
    component_sizes
        Of the graph of all cells, by the metric whose graph fell into most components.
    """
    total = np.zeros((len(sources), len(neighbours[0])), dtype=np.float32)
    count = np.full_like(total if resamples else total[:1, :1], len(neighbours))
    sizes: list[tuple[int, ...]] = []
    for by_metric in neighbours:
        graph = build_graph(by_metric, k=k, weights=config.edge_weights)
        sizes.append(graph.component_sizes)
        total += scale_distances(geodesic_distances(graph, sources), config)
        for cells in resamples:
            inside, found = _measure_resample(by_metric, sources, k, config, cells)
            total[np.ix_(inside, cells)] += found
            count[np.ix_(inside, cells)] += 1
    return np.asarray(total / count), max(sizes, key=len)


def _measure_resample(
    neighbours: Neighbours, sources: IntArray, k: int, config: CouplingConfig, cells: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return which sources are among *cells*, and their scaled distances to these."""
    graph = build_graph(
        neighbours, k=min(k, len(cells) - 1), weights=config.edge_weights, cells=cells
    )
    position = np.full(len(neighbours), -1)
    position[cells] = np.arange(len(cells))
    inside = np.flatnonzero(position[sources] >= 0)
    found = geodesic_distances(graph, position[sources[inside]])
    return inside, scale_distances(found, config)


def average_distances(distances: Sequence[FloatArray], config: CouplingConfig) -> FloatArray:
    """Return the mean of scaled distances, scaled again: a mean of ranks is not a rank."""
    if len(distances) == 1:
        return distances[0]
    mean = np.asarray(np.mean(np.stack(distances), axis=0), dtype=np.float32)
    return scale_distances(mean, config)


def scale_distances(distances: FloatArray, config: CouplingConfig) -> FloatArray:
    """Return distances of one modality in ``[0, 1]``, comparable with those of another.

    ``rank`` replaces each by the share of distances below it, equal ones by the middle of their
    ranks, so that the two modalities have the same distribution of distances; ``maximum`` divides
    by the largest one.
    """
    if config.scale == "maximum":
        return np.asarray(distances / (float(distances.max()) or 1.0))
    step = max(1, distances.size // 4_000_000)
    values, counts = np.unique(distances.ravel()[::step], return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    if len(values) > _MANY:
        keep = np.unique(np.linspace(0, len(values) - 1, _MANY).astype(int))
        values, middle = values[keep], middle[keep]
    return np.asarray(np.interp(distances, values, middle), dtype=np.float32)


def _draw_resamples(n: int, wanted: int, rng: np.random.Generator) -> tuple[IntArray, ...]:
    number = min(wanted, 4_000_000 // n**2)
    size = max(2, round(_SHARE * n))
    return tuple(np.sort(rng.choice(n, size, replace=False)) for _ in range(number))


def _assign(distances: FloatArray, landmarks: IntArray) -> IntArray:
    """Return the nearest landmark of each cell; a landmark stands for itself."""
    nearest = distances.argmin(axis=0)
    nearest[landmarks] = np.arange(len(landmarks))
    return np.asarray(nearest)
