"""What the Explore dock does with a table whose features stay on disk, without a window."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.features.lazy_table import is_on_disk, open_table
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig
from napari_bio_superposition.manifold.trajectory_config import TrajectoryConfig
from napari_bio_superposition.widgets import explore_controller
from napari_bio_superposition.widgets.explore_controller import ExploreController
from napari_bio_superposition.widgets.study import Study
from napari_bio_superposition.workflows import embed_study
from napari_bio_superposition.workflows.embed_config import EmbedConfig

_N = 400


@pytest.fixture
def on_disk(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ExploreController]:
    """Return the controller of a study whose features are on disk; feature 3 tells the groups."""
    genotype = np.where(np.arange(_N) % 2 == 0, "Control", "GBA")
    values = rng.random((_N, 8)).astype(np.float32)
    values[:, 3] += genotype == "GBA"
    obs = pd.DataFrame(
        {
            Keys.GENOTYPE: pd.Categorical(genotype),
            Keys.GROUP: pd.Categorical([f"W{i % 8}" for i in range(_N)]),
        },
        index=[f"p/{i}" for i in range(_N)],
    )
    var = pd.DataFrame({Keys.FIRING_RATE: 0.5}, index=[f"latent_{k:05d}" for k in range(8)])
    AnnData(values, obs=obs, var=var).write_h5ad(tmp_path / "large.h5ad")
    monkeypatch.setattr(explore_controller, "COMPARED_PATCHES", 80)
    monkeypatch.setattr(embed_study, "FROM_DISK", 120)
    study = Study()
    study.set_table(run(open_table(tmp_path / "large.h5ad", in_memory_bytes=0)))
    assert is_on_disk(study.table)
    yield ExploreController(study)
    study.table.X.file.close()


def test_groups_on_disk_are_compared_by_drawn_patches(on_disk: ExploreController) -> None:
    is_gba = (on_disk.table.obs[Keys.GENOTYPE] == "GBA").to_numpy()
    found, note = run(on_disk.compare(is_gba, None))
    assert "160 drawn patches of 400" in note
    assert found["feature"][0] == "latent_00003"
    assert found["auroc"][0] > 0.95
    assert found["n_patches"][0] == found["n_patches_second"][0] == 80
    assert (found["n_wells"] == 4).all()


def test_a_table_on_disk_is_laid_out_by_drawn_patches(on_disk: ExploreController) -> None:
    settings = EmbedConfig(
        embedding=EmbeddingConfig(umap=False, phate="never", n_pcs=4),
        trajectory=TrajectoryConfig(n_roots=0),
    )
    embedded = run(on_disk.embed(settings))
    result = embedded.result
    assert any("120 of 400 patches" in notice for notice in result.notices)
    assert (result.table.obs[Keys.GROUP].value_counts() == 15).all()
    on_disk.take_result(embedded)
    table = on_disk.table
    drawn = np.isfinite(table.obsm[Keys.PCA]).all(axis=1)
    assert drawn.sum() == 120
    assert list(table.obs_names[drawn]) == list(result.table.obs_names)
    assert "neighbors" not in table.uns  # a graph of some rows is none of all
    assert is_on_disk(table)
    known = table.obs[Keys.PSEUDOTIME].notna().to_numpy()
    np.testing.assert_array_equal(known, drawn)
    assert on_disk.read_graph(Keys.GENOTYPE).sizes.sum() == 120
    trend = run(on_disk.follow_feature("latent_00003", "GBA"))
    assert len(trend.values) == 400
    assert trend.curve.n_patches > 50
