"""The grid of settings: one row each, a planted order found in all of them."""

import numpy as np
import pytest
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.robustness import sweep
from napari_bio_superposition.manifold.trajectory_config import TrajectoryConfig


def test_every_cell_of_the_grid_follows_the_planted_order(rng: np.random.Generator) -> None:
    time = np.sort(rng.uniform(size=150))
    scores = np.stack([np.cos(2 * time), np.sin(2 * time), *0.02 * rng.normal(size=(4, 150))], 1)
    adata = AnnData(np.zeros((150, 1)), obsm={"X_pca": scores.astype(np.float32)})
    outcome = -time
    outcome[100] = np.nan
    tested = time > 0.2
    found = run(
        sweep(
            adata,
            outcome,
            tested,
            TrajectoryConfig(root="0"),
            grid=((10, 15), (3, 6, 50)),
        )
    )
    assert found["n_pcs"].tolist() == [3, 3, 6, 6]  # there are six components, not fifty
    assert found["n_neighbors"].tolist() == [10, 15, 10, 15]
    assert (found["spearman"] < -0.95).all()
    assert (found["n_patches"] == tested.sum() - 1).all()
    assert list(adata.uns) == []


def test_components_are_needed() -> None:
    with pytest.raises(TableError, match="Run `embed` first"):
        run(sweep(AnnData(np.ones((3, 1))), np.ones(3), np.ones(3, bool), TrajectoryConfig()))
