"""Pseudotime and graph abstraction of an embedded table, under scanpy's names. No statistics."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, IntArray
from napari_bio_superposition.manifold.neighbors import Neighbors, add_graph, find_neighbors
from napari_bio_superposition.manifold.trajectory_config import TrajectoryConfig

Numbers = npt.NDArray[np.float64]
_STEPS: Final = 5
_LEAST_PATCHES: Final = 10
_PAGA_GRAPH: Final = "paga_neighbors"
_NEAREST_SHARE: Final = 0.1


@dataclass(frozen=True, eq=False)
class RootedTime:
    """Pseudotime from several roots.

    Parameters
    ----------
    roots
        Rows where pseudotime starts, ``(n_roots,)``.
    pseudotime
        ``(n_roots, n)``; infinite where a patch cannot be reached.
    """

    roots: IntArray
    pseudotime: Numbers


@dataclass(frozen=True, eq=False)
class PagaGraph:
    """Clusters of patches as a graph that can be drawn.

    Parameters
    ----------
    names
        Clusters, ``(n_clusters,)`` texts.
    positions
        Where they are drawn, ``(n_clusters, 2)``: the medians of their patches in the layout.
    connectivities
        How strongly two clusters are connected beyond chance, ``(n_clusters, n_clusters)`` in
        ``[0, 1]``; entries below the threshold are 0.
    sizes
        Patches of each cluster.
    composition
        Rows are clusters, columns are groups (genotypes), values are numbers of patches.
    layout
        The key of ``obsm`` that the positions come from.
    """

    names: tuple[str, ...]
    positions: Numbers
    connectivities: Numbers
    sizes: IntArray
    composition: pd.DataFrame
    layout: str

    def edges(self) -> list[tuple[int, int, float]]:
        """Return the drawn edges: first cluster, second cluster, weight."""
        first, second = np.nonzero(np.triu(self.connectivities, 1))
        return [
            (int(a), int(b), float(self.connectivities[a, b]))
            for a, b in zip(first, second, strict=True)
        ]


def add_trajectory(
    adata: AnnData,
    config: TrajectoryConfig | None = None,
    *,
    reference: BoolArray | None = None,
    n_neighbors: int = 15,
    seed: int = 0,
) -> Job[AnnData]:
    """Add diffusion map, pseudotime, Leiden clusters and PAGA to an embedded table.

    Parameters
    ----------
    adata
        A table with ``X_pca``; its graph is used where it has one. Not changed.
    config
        Settings.
    reference
        Which rows are the reference (control); needed where the root is not named.
    n_neighbors
        Of the graph, where the table has none yet; as scanpy counts.
    seed
        Of the clusters and the eigenvectors.

    Returns
    -------
    AnnData
        A copy with scanpy's ``X_diffmap``, ``diffmap_evals``, ``iroot``, ``dpt_pseudotime``
        (infinite where the root cannot be reached), ``leiden``, ``paga``.

    Raises
    ------
    TableError
        Where there are no principal components, too few patches, or no root.
    """
    config = config or TrajectoryConfig()
    if Keys.PCA not in adata.obsm:
        raise TableError("The table has no principal components yet. Run `embed` first.")
    if adata.n_obs < _LEAST_PATCHES:
        raise TableError(
            f"There are {adata.n_obs} patches, and a trajectory needs at least {_LEAST_PATCHES}. "
            "Analyse more images, or leave the trajectory out."
        )
    result = adata.copy()
    yield Progress("Neighbours", 0, _STEPS, "steps")
    _ensure_graph(result, config, n_neighbors, seed)
    yield Progress("Diffusion map", 1, _STEPS, "steps")
    add_diffusion(result, config, seed=seed)
    yield Progress("Pseudotime", 2, _STEPS, "steps")
    add_pseudotime(result, choose_root(result, config, reference), n_dcs=_usable(result, config))
    yield Progress("Clusters", 3, _STEPS, "steps")
    _add_clusters(result, config, seed)
    yield Progress("Graph abstraction", 4, _STEPS, "steps")
    _add_paga(result, config)
    yield Progress("Graph abstraction", _STEPS, _STEPS, "steps")
    return result


def _ensure_graph(adata: AnnData, config: TrajectoryConfig, n_neighbors: int, seed: int) -> None:
    """Use the graph of the table; add one if it has none.

    A graph with another kernel keeps the neighbours and gets new weights.
    """
    if "neighbors" not in adata.uns:
        n_neighbors = min(n_neighbors, adata.n_obs - 1)
        neighbors = find_neighbors(adata.obsm[Keys.PCA], n_neighbors - 1, seed=seed)
        method = config.kernel
    else:
        params = adata.uns["neighbors"].get("params", {})
        if params.get("method", "umap") == config.kernel:
            return
        neighbors = Neighbors.of_table(adata)
        n_neighbors, method = neighbors.k + 1, config.kernel
    with quiet():
        add_graph(adata, neighbors, n_neighbors, method=method, seed=seed)


def add_diffusion(adata: AnnData, config: TrajectoryConfig, *, seed: int) -> None:
    """Add scanpy's diffusion map of the graph to the table itself."""
    with quiet():
        import scanpy

        n_components = min(config.n_diffusion, adata.n_obs - 2)
        scanpy.tl.diffmap(adata, n_comps=n_components, random_state=seed)


def add_pseudotime(adata: AnnData, root: int, *, n_dcs: int) -> None:
    """Add scanpy's diffusion pseudotime from a root to the table itself."""
    with quiet():
        import scanpy

        adata.uns["iroot"] = root
        scanpy.tl.dpt(adata, n_dcs=n_dcs)


def _usable(adata: AnnData, config: TrajectoryConfig) -> int:
    return min(config.n_dcs, int(adata.obsm[Keys.DIFFMAP].shape[1]))


def choose_root(
    adata: AnnData, config: TrajectoryConfig, reference: BoolArray | None = None
) -> int:
    """Return the row where pseudotime starts.

    Raises
    ------
    TableError
        Where the named patch is not there, or there is neither a name nor a reference.

    Notes
    -----
    Section 14 of the method specification: the reference row closest to the mean of the reference
    in diffusion coordinates, the constant first component included.
    """
    if config.root:
        if config.root not in adata.obs_names:
            raise TableError(
                f"The root {config.root!r} is not among the {adata.n_obs} patches. "
                f"Give the name of a row, for instance {adata.obs_names[0]!r}."
            )
        return int(adata.obs_names.get_loc(config.root))
    root: int = _by_centrality(adata, reference)[0].item()
    return root


def _by_centrality(adata: AnnData, reference: BoolArray | None) -> IntArray:
    """Return the rows of the reference, nearest its centre in diffusion space first."""
    if reference is None or not reference.any():
        raise TableError(
            "No patch belongs to the reference, so there is nowhere to start pseudotime. "
            "Name the reference group, or the root patch."
        )
    points = adata.obsm[Keys.DIFFMAP][reference]
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    order: IntArray = np.flatnonzero(reference)[np.argsort(distance, kind="stable")]
    return order


def perturb_root(
    adata: AnnData,
    config: TrajectoryConfig,
    *,
    reference: BoolArray | None,
    rng: np.random.Generator,
) -> Job[RootedTime]:
    """Start pseudotime again from other reference patches.

    Parameters
    ----------
    adata
        A table with a trajectory; not changed.
    config
        How many roots, and which.
    reference
        Which rows are the reference.
    rng
        Draws the roots where they are random.
    """
    if config.n_roots == 0 or reference is None or not reference.any():
        return RootedTime(np.empty(0, np.int64), np.empty((0, adata.n_obs)))
    candidates = _by_centrality(adata, reference)
    n_roots = min(config.n_roots, len(candidates))
    if config.root_choice == "random":
        near = max(n_roots, int(_NEAREST_SHARE * len(candidates)))
        roots = rng.choice(candidates[:near], n_roots, replace=False)
    else:
        roots = candidates[:n_roots]
    work = AnnData(
        obs=adata.obs[[]],
        obsm={Keys.DIFFMAP: adata.obsm[Keys.DIFFMAP]},
        obsp={key: adata.obsp[key] for key in ("connectivities", "distances")},
        uns={key: adata.uns[key] for key in ("neighbors", "diffmap_evals")},
    )
    times = np.empty((n_roots, adata.n_obs))
    for place, root in enumerate(roots):
        yield Progress("Other roots", place, n_roots, "roots")
        add_pseudotime(work, int(root), n_dcs=_usable(adata, config))
        times[place] = work.obs[Keys.PSEUDOTIME]
    return RootedTime(np.asarray(roots, np.int64), times)


def _add_clusters(adata: AnnData, config: TrajectoryConfig, seed: int) -> None:
    """Add Leiden clusters on the shared graph, or on that of fewer of the same neighbours."""
    known = Neighbors.of_table(adata)
    with quiet():
        import scanpy

        graph = "neighbors"
        if config.paga_neighbors < known.k + 1:
            graph = _PAGA_GRAPH
            add_graph(adata, known, config.paga_neighbors, key=graph, seed=seed)
        scanpy.tl.leiden(
            adata,
            resolution=config.leiden_resolution,
            neighbors_key=graph,
            flavor="igraph",
            n_iterations=2,
            directed=False,
            random_state=seed,
        )


def _add_paga(adata: AnnData, config: TrajectoryConfig) -> None:
    with quiet():
        import scanpy

        graph = _PAGA_GRAPH if _PAGA_GRAPH in adata.uns else "neighbors"
        scanpy.tl.paga(adata, groups=Keys.LEIDEN, neighbors_key=graph)
    adata.uns["paga"]["pos"] = _positions(adata)[0]


def _positions(adata: AnnData) -> tuple[Numbers, str]:
    layout = next(key for key in (Keys.PHATE, Keys.UMAP, Keys.PCA) if key in adata.obsm)
    points = pd.DataFrame(np.asarray(adata.obsm[layout])[:, :2], index=adata.obs_names)
    medians = points.groupby(adata.obs[Keys.LEIDEN], observed=False).median()
    return medians.to_numpy(np.float64), layout


def read_paga(adata: AnnData, *, group: str = "", threshold: float = 0.1) -> PagaGraph:
    """Return the graph of clusters of a table, ready to be drawn.

    Parameters
    ----------
    adata
        A table with a trajectory, also one that scanpy made.
    group
        Column of obs whose mix colours the clusters; may be missing.
    threshold
        Edges below this are left out.

    Raises
    ------
    TableError
        Where the table has no such graph.
    """
    if "paga" not in adata.uns:
        raise TableError("The table has no graph of clusters yet. Run the trajectory first.")
    clusters = adata.obs[str(adata.uns["paga"]["groups"])].astype("category")
    weights = adata.uns["paga"]["connectivities"].toarray()
    weights = np.maximum(weights, weights.T)
    mix = adata.obs[group].astype(str) if group in adata.obs else pd.Series("all", adata.obs_names)
    composition = pd.crosstab(clusters, mix, dropna=False)
    layout = next((key for key in (Keys.PHATE, Keys.UMAP, Keys.PCA) if key in adata.obsm), "")
    if "pos" in adata.uns["paga"]:
        positions = np.asarray(adata.uns["paga"]["pos"], np.float64)
    else:
        points = pd.DataFrame(np.asarray(adata.obsm[layout])[:, :2], index=adata.obs_names)
        positions = points.groupby(clusters, observed=False).median().to_numpy(np.float64)
    return PagaGraph(
        names=tuple(map(str, clusters.cat.categories)),
        positions=positions,
        connectivities=np.where(weights >= threshold, weights, 0.0),
        sizes=clusters.value_counts(sort=False).to_numpy(np.int64),
        composition=composition,
        layout=layout,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what scanpy has to say about its own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
