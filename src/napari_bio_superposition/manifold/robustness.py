"""How much a trajectory's correlation depends on neighbours and principal components."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.manifold.neighbors import add_graph, find_neighbors
from napari_bio_superposition.manifold.statistics import spearman
from napari_bio_superposition.manifold.trajectory import (
    add_diffusion,
    add_pseudotime,
    choose_root,
    quiet,
)
from napari_bio_superposition.manifold.trajectory_config import TrajectoryConfig

_LEAST_PATCHES: Final = 3


def sweep(  # noqa: PLR0913 (what is repeated, and over what)
    adata: AnnData,
    outcome: npt.NDArray[np.float64],
    tested: BoolArray,
    config: TrajectoryConfig,
    *,
    grid: tuple[Sequence[int], Sequence[int]] = ((15, 20, 25, 30, 35), (30, 40, 50)),
    reference: BoolArray | None = None,
    seed: int = 0,
) -> Job[pd.DataFrame]:
    """Repeat pseudotime over a grid, and correlate it with an outcome each time.

    Parameters
    ----------
    adata
        A table with ``X_pca``; not changed. Its first components are used, so nothing is fitted
        again, and the neighbours are found once for each number of components.
    outcome
        One value per patch.
    tested
        The patches that are correlated; the others only shape the graph.
    config
        Diffusion map, pseudotime, root.
    grid
        Numbers of neighbours, and of principal components.
    reference
        Which rows are the reference.
    seed
        Of the eigenvectors.

    Returns
    -------
    pandas.DataFrame
        One row per cell of the grid: ``n_neighbors``, ``n_pcs``, ``spearman``, ``n_patches``
        (those reached from the root). ``pivot`` makes the heat map.

    Raises
    ------
    TableError
        Where the table has no principal components.
    """
    if Keys.PCA not in adata.obsm:
        raise TableError("The table has no principal components yet. Run `embed` first.")
    scores = adata.obsm[Keys.PCA]
    dimensions = sorted({min(n, scores.shape[1]) for n in grid[1]})
    sizes = sorted({min(k, adata.n_obs - 1) for k in grid[0]})
    rows: list[tuple[int, int, float, int]] = []
    for n_pcs in dimensions:
        used = np.ascontiguousarray(scores[:, :n_pcs])
        neighbors = find_neighbors(used, max(sizes) - 1, seed=seed)
        for k in sizes:
            yield Progress("Grid", len(rows), len(dimensions) * len(sizes), "settings")
            work = AnnData(obs=adata.obs[[]], obsm={Keys.PCA: used})
            with quiet():
                add_graph(work, neighbors, k, method=config.kernel, seed=seed)
            add_diffusion(work, config, seed=seed)
            n_dcs = min(config.n_dcs, work.obsm[Keys.DIFFMAP].shape[1])
            add_pseudotime(work, choose_root(work, config, reference), n_dcs=n_dcs)
            time = work.obs[Keys.PSEUDOTIME].to_numpy(np.float64)
            known = tested & np.isfinite(time) & np.isfinite(outcome)
            rho = np.nan
            if known.sum() >= _LEAST_PATCHES:
                rho = spearman(time[known], outcome[known])
            rows.append((k, n_pcs, rho, int(known.sum())))
    return pd.DataFrame(rows, columns=["n_neighbors", "n_pcs", "spearman", "n_patches"])
