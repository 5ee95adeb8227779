"""Features along pseudotime: bins by hand, planted waves in their order, patches of each end."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.dynamics import follow_features, follow_one
from napari_bio_superposition.manifold.trajectory_config import DynamicsConfig

RAW = DynamicsConfig(n_bins=3, smoothing=0.0)


def test_bins_and_standardising_by_hand() -> None:
    """Ten patches in three bins of 3, 3 and 4: means 2, 5, 8.5 of the rising feature."""
    time = np.arange(10.0)[::-1]
    values = np.stack([10 - np.arange(10.0), np.ones(10), np.arange(10.0)], axis=1)
    adata = AnnData(values, var=pd.DataFrame(index=["rising", "flat", "falling"]))
    found = run(follow_features(adata, time, RAW))
    assert [rows.tolist() for rows in found.bins] == [[9, 8, 7], [6, 5, 4], [3, 2, 1, 0]]
    assert found.features == ("falling", "rising")
    assert found.flat == ("flat",)
    assert found.peaks.tolist() == [0, 2]
    means = np.array([2, 5, 8.5])
    np.testing.assert_allclose(found.profiles[1], (means - means.mean()) / means.std(), rtol=1e-6)
    np.testing.assert_allclose(found.pseudotime, [1, 4, 7.5])
    assert found.patches("early", 2).tolist() == [9, 8]
    assert found.patches("late", 2).tolist() == [1, 0]
    assert found.patches("middle", 2).tolist() == [5, 4]
    with pytest.raises(TableError, match="early, middle, late"):
        found.patches("never")


def test_planted_waves_come_in_order(rng: np.random.Generator) -> None:
    time = rng.uniform(size=600)
    peak = rng.permutation(np.repeat([0.1, 0.5, 0.9], 20))
    values = np.exp(-((time[:, np.newaxis] - peak) ** 2) / 0.05) + 0.2 * rng.normal(size=(600, 60))
    names = [f"latent_{place:05d}" for place in range(60)]
    adata = AnnData(sparse.csr_matrix(values), var=pd.DataFrame(index=names))
    time[:5] = np.inf  # patches that the root does not reach
    found = run(follow_features(adata, time, DynamicsConfig(n_bins=50)))
    assert found.profiles.shape == (60, 50)
    assert sum(map(len, found.bins)) == 595
    true = pd.Series(peak, names)[list(found.features)].to_numpy()
    assert (np.diff(true) >= 0).all()
    assert np.unique(found.clusters).tolist() == [0, 1, 2]
    table = found.as_table()
    assert table.shape == (60, 52)
    assert table["peak"].corr(pd.Series(true, table.index)) > 0.98


def test_the_trend_of_one_feature(rng: np.random.Generator) -> None:
    time = rng.uniform(size=600)
    adata = AnnData(sparse.csr_matrix(np.stack([time**2, 1 - time], axis=1)))
    wells = np.repeat([f"w{place}" for place in range(10)], 60)
    curve = run(follow_one(adata, "0", time, wells, n_draws=5, rng=rng))
    assert np.abs(curve.y - curve.x**2).max() < 0.05
    assert curve.n_splines == 10
    with pytest.raises(TableError, match="no feature 'nothing'"):
        run(follow_one(adata, "nothing", time, wells, rng=rng))


def test_too_few_patches_or_nothing_that_varies_is_told() -> None:
    with pytest.raises(TableError, match="9 are needed"):
        run(follow_features(AnnData(np.ones((8, 2))), np.arange(8.0), RAW))
    with pytest.raises(TableError, match="No feature varies"):
        run(follow_features(AnnData(np.ones((12, 2))), np.arange(12.0), RAW))
