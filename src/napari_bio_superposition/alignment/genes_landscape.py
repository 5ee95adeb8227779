"""Genes on the plane of two classes' z: neighbours, clusters, flows, module networks. No files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from napari_bio_superposition.alignment.genes_landscape_config import LandscapeConfig
from napari_bio_superposition.core.errors import MissingExtraError, TableError

Matrix = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Landscape:
    """Genes on the plane, their clusters, and how clusters flow from level to level.

    Parameters
    ----------
    genes
        One row per gene: ``x``, ``y`` (z of the two classes), one column ``leiden_R`` per
        resolution.
    top
        The same for the genes of highest ``y``.
    flows, top_flows
        Data of a Sankey diagram: ``from_level``, ``from_cluster``, ``to_level``, ``to_cluster``,
        ``genes``.
    """

    genes: pd.DataFrame
    top: pd.DataFrame
    flows: pd.DataFrame
    top_flows: pd.DataFrame


def build_landscape(
    x: Mapping[str, float] | pd.Series,
    y: Mapping[str, float] | pd.Series,
    config: LandscapeConfig | None = None,
    *,
    rng: np.random.Generator,
) -> Landscape:
    """Lay genes out by the z of two classes and cluster them at several resolutions.

    Genes of like predictability come together, which is no proof that they are regulated together
    (method specification, section 16.9).

    Parameters
    ----------
    x, y
        Gene to z in the first class (control) and in the second; genes without both are left out.
    config
        Settings; the defaults where omitted.
    rng
        Seeds the clustering.

    Raises
    ------
    TableError
        Where fewer than ten genes have both.
    MissingExtraError
        Where igraph is not installed.
    """
    config = config or LandscapeConfig()
    plane = pd.DataFrame({"x": pd.Series(x), "y": pd.Series(y)}, dtype=float)
    plane = plane[np.isfinite(plane).all(axis=1)]
    if len(plane) < 10:
        raise TableError(f"{len(plane)} genes have a z in both classes; a landscape needs ten.")
    genes = _cluster(plane, config.resolutions, config.neighbours, rng)
    top = plane.nlargest(config.n_top, "y")
    top = _cluster(top, config.top_resolutions, config.neighbours, rng)
    return Landscape(genes, top, count_flows(genes), count_flows(top))


def _cluster(
    plane: pd.DataFrame,
    resolutions: Sequence[float],
    n_neighbours: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    spread = plane.std(ddof=0).replace(0.0, 1.0)
    points = ((plane - plane.mean()) / spread).to_numpy()
    graph = _build_graph(points, min(n_neighbours, len(points) - 1))
    result = plane.copy()
    for resolution in resolutions:
        labels = _run_leiden(graph, resolution, int(rng.integers(2**31 - 1)))
        result[f"leiden_{resolution:g}"] = labels
    return result


def _build_graph(points: Matrix, k: int) -> Any:
    try:
        import igraph
    except ImportError as error:
        raise MissingExtraError("igraph", "leiden", "Clustering genes by Leiden") from error
    neighbours = NearestNeighbors(n_neighbors=k).fit(points).kneighbors_graph()
    symmetric = sparse.triu(neighbours.maximum(neighbours.T)).tocoo()
    edges = np.stack([symmetric.row, symmetric.col], axis=1)
    return igraph.Graph(n=len(points), edges=edges.tolist())


def _run_leiden(graph: Any, resolution: float, seed: int) -> npt.NDArray[np.int64]:
    """Return the cluster of each vertex, the largest one first."""
    import random

    import igraph

    igraph.set_random_number_generator(random.Random(seed))
    try:
        found = graph.community_leiden(
            objective_function="modularity", resolution=resolution, n_iterations=-1
        )
    finally:
        igraph.set_random_number_generator(random)
    labels = np.asarray(found.membership)
    order = np.argsort(np.argsort(-np.bincount(labels), kind="stable"))
    return np.asarray(order[labels], dtype=np.int64)


def count_flows(clusters: pd.DataFrame) -> pd.DataFrame:
    """Return how many genes go from each cluster of a level to each of the next, for a Sankey."""
    levels = [name for name in clusters if str(name).startswith("leiden_")]
    parts = []
    for first, second in pairwise(levels):
        counts = clusters.groupby([first, second], observed=True).size().reset_index(name="genes")
        counts.columns = pd.Index(["from_cluster", "to_cluster", "genes"])
        counts.insert(0, "from_level", first)
        counts.insert(2, "to_level", second)
        parts.append(counts)
    columns = ["from_level", "from_cluster", "to_level", "to_cluster", "genes"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def build_network(
    expression: Matrix,
    genes: Sequence[str],
    config: LandscapeConfig | None = None,
    *,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lay the genes of a module out by force, joined to their most correlated partners.

    Parameters
    ----------
    expression
        Of these genes in the RNA cells, ``(m, n_genes)``.
    genes
        Names.
    config
        Partners per gene.
    rng
        Seeds the layout.

    Returns
    -------
    nodes
        ``gene``, ``x``, ``y``, ``degree``.
    edges
        ``source``, ``target``, ``correlation``; negative correlations are no edges.
    """
    import networkx as nx

    config = config or LandscapeConfig()
    varying = expression.std(axis=0) > 0
    names = [gene for gene, keep in zip(genes, varying, strict=True) if keep]
    if len(names) < 2:
        raise TableError(f"{len(names)} genes of the module vary; a network needs two.")
    correlation = np.corrcoef(expression[:, varying].T)
    np.fill_diagonal(correlation, 0.0)
    graph = nx.Graph()
    graph.add_nodes_from(names)
    k = min(config.network_neighbours, len(names) - 1)
    for row, strengths in enumerate(correlation):
        for column in np.argpartition(-strengths, k - 1)[:k]:
            if strengths[column] > 0:
                graph.add_edge(names[row], names[column], weight=float(strengths[column]))
    layout = nx.spring_layout(graph, weight="weight", seed=int(rng.integers(2**31 - 1)))
    nodes = pd.DataFrame(
        [(name, *layout[name], graph.degree[name]) for name in names],
        columns=["gene", "x", "y", "degree"],
    )
    edges = pd.DataFrame(
        [(a, b, data["weight"]) for a, b, data in graph.edges(data=True)],
        columns=["source", "target", "correlation"],
    )
    return nodes, edges
