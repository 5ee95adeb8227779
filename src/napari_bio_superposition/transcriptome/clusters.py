"""Leiden clusters, marker scores, and the choice of lineages. No latent spaces, no files."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import MissingExtraError, TableError, list_choices
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.transcriptome.config import ClusterConfig
from napari_bio_superposition.transcriptome.markers import read_markers
from napari_bio_superposition.transcriptome.reading import genes_of

if TYPE_CHECKING:
    import anndata

CLUSTER = "leiden"
LINEAGE = "lineage"
UNASSIGNED = "unassigned"
_N_MARKERS = 10


def cluster_cells(
    table: "anndata.AnnData",
    config: ClusterConfig | None = None,
    *,
    use_rep: str,
    rng: np.random.Generator,
) -> Job[pd.DataFrame]:
    """Cluster cells on their latent space and name the clusters by marker lists.

    Parameters
    ----------
    table
        Log counts in ``X``; ``obs["leiden"]``, ``obs["lineage"]``, ``obsm["X_umap"]`` and the graph
        are added.
    config
        Settings; the defaults where omitted.
    use_rep
        Key of obsm.
    rng
        Seeds the clustering and the map.

    Returns
    -------
    pandas.DataFrame
        One row per cluster: ``cells``, ``lineage``, one column of mean marker score per lineage
        (nan where no marker is among the genes), ``markers`` (rank-sum, the strongest ten).

    Raises
    ------
    MissingExtraError
        Where igraph is not installed.
    """
    import scanpy

    config = config or ClusterConfig()
    lists = read_markers(config.markers)
    seed = int(rng.integers(2**31 - 1))
    yield Progress("Finding neighbours of cells")
    neighbours = min(config.neighbours, table.n_obs - 1)
    scanpy.pp.neighbors(table, n_neighbors=neighbours, use_rep=use_rep, random_state=seed)
    yield Progress("Clustering cells")
    _run_leiden(table, config.resolution, seed)
    yield Progress("Mapping cells")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap announces that a seed means one thread
        scanpy.tl.umap(table, random_state=seed)
    yield Progress("Scoring markers")
    clusters = score_clusters(table, lists, seed)
    clusters.insert(1, LINEAGE, name_clusters(clusters[list(lists)], config.min_score))
    clusters["markers"] = _rank_markers(table)
    names = clusters[LINEAGE].loc[table.obs[CLUSTER].astype(str)].to_numpy()
    table.obs[LINEAGE] = pd.Categorical(names)
    return clusters


def _run_leiden(table: "anndata.AnnData", resolution: float, seed: int) -> None:
    import scanpy

    try:
        scanpy.tl.leiden(
            table,
            resolution=resolution,
            flavor="igraph",
            n_iterations=2,
            directed=False,
            random_state=seed,
        )
    except ImportError as error:
        raise MissingExtraError("igraph", "leiden", "Clustering by Leiden") from error


def score_clusters(
    table: "anndata.AnnData", lists: Mapping[str, Sequence[str]], seed: int
) -> pd.DataFrame:
    """Return the mean marker score of every cluster, ``obs["leiden"]``, for every lineage.

    The score of a cell is the mean of its markers less that of genes of like expression.
    """
    import scanpy

    cluster = table.obs[CLUSTER].astype(str)
    sizes = cluster.value_counts().sort_index(key=lambda names: names.astype(int))
    result = pd.DataFrame({"cells": sizes})
    result.index.name = "cluster"
    names = dict(zip(genes_of(table), table.var_names, strict=True))
    scored = table.copy()
    for lineage, genes in lists.items():
        found = [names[gene.upper()] for gene in genes if gene.upper() in names]
        if not found:
            result[lineage] = np.nan
            continue
        scanpy.tl.score_genes(
            scored, found, ctrl_size=max(len(found), 25), random_state=seed, score_name="_score"
        )
        result[lineage] = scored.obs["_score"].groupby(cluster.to_numpy()).mean()
    return result


def name_clusters(scores: pd.DataFrame, min_score: float) -> list[str]:
    """Return the lineage of each cluster: that of its best score, unless it is too low."""
    names = []
    for _, row in scores.iterrows():
        known = row.dropna()
        is_clear = len(known) > 0 and known.max() >= min_score
        names.append(str(known.idxmax()) if is_clear else UNASSIGNED)
    return names


def choose_lineages(
    table: "anndata.AnnData", config: ClusterConfig | None = None
) -> "anndata.AnnData":
    """Return the cells of the chosen lineages and clusters; all of them where none is chosen.

    Raises
    ------
    TableError
        Where a lineage or cluster does not exist, or none of its cells is left.
    """
    config = config or ClusterConfig()
    keep = np.ones(table.n_obs, dtype=bool)
    for column, wanted in ((LINEAGE, config.lineages), (CLUSTER, config.clusters)):
        if not wanted:
            continue
        there = table.obs[column].astype(str)
        unknown = [name for name in wanted if name not in set(there)]
        if unknown:
            raise TableError(
                f"No cell has the {column} {list_choices(unknown)}; there are "
                f"{list_choices(sorted(set(there)))}. Choose among these."
            )
        keep &= there.isin(wanted).to_numpy()
    if not keep.any():
        raise TableError("No cell is of a chosen lineage and of a chosen cluster. Choose fewer.")
    return table if keep.all() else table[keep].copy()


def _rank_markers(table: "anndata.AnnData") -> list[str]:
    """Return the strongest genes of each cluster by rank-sum test, in the order of clusters."""
    import scanpy

    counts = table.obs[CLUSTER].value_counts()
    clusters = sorted(counts.index.astype(str), key=int)
    usable = [name for name in clusters if counts[name] > 1]
    if len(usable) < 2:
        return [""] * len(clusters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fragmented frames within scanpy
        scanpy.tl.rank_genes_groups(
            table, CLUSTER, groups=usable, method="wilcoxon", n_genes=_N_MARKERS
        )
    ranked = table.uns.pop("rank_genes_groups")["names"]
    return [", ".join(ranked[name]) if name in usable else "" for name in clusters]
