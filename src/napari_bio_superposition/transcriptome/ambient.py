"""Ambient RNA taken out by DecontX (extra `decontx`, pydecontx). Imported only when used."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from napari_bio_superposition.core.errors import MissingExtraError
from napari_bio_superposition.core.progress import Job, Progress

if TYPE_CHECKING:
    import anndata

CONTAMINATION = "contamination"
_COMPONENTS = 20
_CELLS_PER_CLUSTER, _FEWEST_CLUSTERS, _MOST_CLUSTERS = 40, 2, 15
_FEWEST_CELLS = 50


def remove_ambient(
    table: "anndata.AnnData", *, sample_key: str, rng: np.random.Generator
) -> Job[list[str]]:
    """Subtract what DecontX takes for ambient RNA from the counts, sample by sample; return notes.

    The ambient profile is estimated from the cells, which have to be of more than one kind. Counts
    are rounded again; ``obs["contamination"]`` holds the share that was taken from each cell.

    Parameters
    ----------
    table
        Counts in X, ``(n, genes)``; changed in place.
    sample_key
        Column of obs with the sample of each cell.
    rng
        Seeds the clusters that DecontX starts from.

    Raises
    ------
    MissingExtraError
        Where pydecontx is not installed.
    """
    try:
        import pydecontx
    except ImportError as error:
        raise MissingExtraError("pydecontx", "decontx", "Removing ambient RNA") from error
    counts = sparse.csr_matrix(table.X, dtype=np.float64)
    share, notes = np.zeros(table.n_obs), []
    samples = table.obs[sample_key].astype(str).to_numpy(dtype=str)
    parts: list[Any] = [None] * table.n_obs
    for done, name in enumerate(names := np.unique(samples)):
        yield Progress("Removing ambient RNA", done, len(names), "samples")
        rows = np.flatnonzero(samples == name)
        cleaned = counts[rows]
        if len(rows) < _FEWEST_CELLS:
            notes.append(f"{name}: {len(rows)} cells are too few for DecontX; left as they are.")
        else:
            seed = int(rng.integers(2**31 - 1))
            labels = cluster_coarsely(cleaned, seed).astype(str)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its own remarks on sparse matrices
                found = pydecontx.decontx(cleaned.T.tocsr(), z=labels, seed=seed)
            cleaned = sparse.csr_matrix(found.decontx_counts).T.tocsr()
            cleaned.data = np.round(cleaned.data)
            share[rows] = np.asarray(found.contamination).ravel()
            notes.append(f"{name}: DecontX took {np.median(share[rows]):.1%} for ambient (median).")
        for place, row in enumerate(rows):
            parts[row] = cleaned[place]
    corrected = sparse.vstack(parts, format="csr").astype(np.float32)
    corrected.eliminate_zeros()
    table.X = corrected
    table.obs[CONTAMINATION] = share
    return notes


def cluster_coarsely(counts: sparse.csr_matrix, seed: int) -> Any:
    """Return a few clusters of cells by k-means on principal components of log counts, ``(n,)``."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD

    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0)
    logs = sparse.csr_matrix(sparse.diags_array(1e4 / total) @ counts)
    logs.data = np.log1p(logs.data)
    n_components = min(_COMPONENTS, min(logs.shape) - 1)
    scores = TruncatedSVD(n_components, random_state=seed).fit_transform(logs)
    wanted = int(np.clip(counts.shape[0] // _CELLS_PER_CLUSTER, _FEWEST_CLUSTERS, _MOST_CLUSTERS))
    return KMeans(wanted, n_init=3, random_state=seed).fit_predict(scores)
