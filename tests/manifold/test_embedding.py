"""Embeddings: a planted structure is kept, seeds decide, names are scanpy's, small tables work."""

import importlib.util
import json
import sys

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.stats import spearmanr

from napari_bio_superposition.core.errors import ConfigError, MissingExtraError, TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.core.progress import Progress, run
from napari_bio_superposition.manifold.embedding import describe_embedding, embed, lay_out_phate
from napari_bio_superposition.manifold.embedding_config import (
    PRESETS,
    EmbeddingConfig,
    choose_preset,
)

PCA_ONLY = EmbeddingConfig(umap=False, phate="never")
NEEDS_PHATE = pytest.mark.skipif(
    importlib.util.find_spec("phate") is None, reason="the extra phate is not installed"
)


def make_table(rng: np.random.Generator, n: int = 90, n_latents: int = 40) -> AnnData:
    """Three classes, each with its own active features."""
    label = np.arange(n) % 3
    values = rng.gamma(1.0, 0.2, size=(n, n_latents))
    for kind in range(3):
        values[np.ix_(label == kind, np.arange(kind * 5, kind * 5 + 5))] += 2
    adata = AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame({"label": label}, index=[f"patch{i}" for i in range(n)]),
        var=pd.DataFrame(index=[feature_name(k) for k in range(n_latents)]),
    )
    adata.var[Keys.FIRING_RATE] = np.where(np.arange(n_latents) < 38, 0.1, 0.0)
    adata.obsm[Keys.CNN] = rng.normal(size=(n, 8)).astype(np.float32)
    return adata


def nearest(points: np.ndarray) -> np.ndarray:
    """Return the nearest neighbour of each point."""
    distance = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    np.fill_diagonal(distance, np.inf)
    return distance.argmin(axis=1)


def purity(points: np.ndarray, label: np.ndarray) -> float:
    """Return the share of nearest neighbours that have the same label."""
    return float((label[nearest(points)] == label).mean())


def test_principal_components_are_scanpys(rng: np.random.Generator) -> None:
    adata = make_table(rng)
    result = run(embed(adata, PCA_ONLY, rng=rng))
    assert result.obsm[Keys.PCA].shape == (90, 38)  # 38 features are alive
    assert set(result.uns["pca"]) == {"variance", "variance_ratio", "params"}
    assert result.varm["PCs"].shape == (40, 38)
    assert not result.varm["PCs"][38:].any()
    assert result.uns["pca"]["variance_ratio"][0] > 0.1
    assert purity(result.obsm[Keys.PCA][:, :2], adata.obs["label"].to_numpy()) > 0.95
    assert Keys.PCA not in adata.obsm


def test_how_it_was_made_is_written_down(rng: np.random.Generator) -> None:
    described = describe_embedding(run(embed(make_table(rng), PCA_ONLY, rng=rng)))
    assert described["n_features"] == 38
    assert described["skipped"] == {"umap": "not asked for", "phate": "not asked for"}
    assert described["config"]["log"] == "median"
    with pytest.raises(TableError, match="Run `embed` first"):
        describe_embedding(make_table(rng))


def test_progress_is_reported_and_closing_leaves_the_table_alone(
    rng: np.random.Generator,
) -> None:
    adata = make_table(rng)
    reports: list[Progress] = []
    run(embed(adata, PCA_ONLY, rng=rng), reports.append)
    assert [report.done for report in reports] == [0, 1, 2, 3, 4, 5]
    job = embed(adata, PCA_ONLY, rng=rng)
    next(job)
    job.close()
    assert list(adata.obsm) == [Keys.CNN]


@pytest.mark.parametrize("n", [3, 4])
def test_tiny_tables_have_few_components(n: int, rng: np.random.Generator) -> None:
    result = run(embed(make_table(rng, n=n), PCA_ONLY, rng=rng))
    assert result.obsm[Keys.PCA].shape == (n, n - 1)


def test_two_patches_are_too_few(rng: np.random.Generator) -> None:
    with pytest.raises(TableError, match="at least 3"):
        run(embed(make_table(rng, n=2), PCA_ONLY, rng=rng))


def test_patches_that_are_all_alike_do_not_break_it(rng: np.random.Generator) -> None:
    adata = make_table(rng, n=5)
    adata.X[:] = 1.0
    result = run(embed(adata, PCA_ONLY, rng=rng))
    assert not result.obsm[Keys.PCA].any()
    assert np.isfinite(result.uns["pca"]["variance_ratio"]).all()


def test_cnn_and_features_stand_side_by_side(rng: np.random.Generator) -> None:
    result = run(embed(make_table(rng), PCA_ONLY, rng=rng))
    cnn = EmbeddingConfig(source="cnn", umap=False, phate="never")
    result = run(embed(result, cnn, rng=rng))
    assert result.obsm["X_pca"].shape == (90, 38)
    assert result.obsm["X_pca_cnn"].shape == (90, 8)
    assert describe_embedding(result, "cnn")["n_features"] == 8


def test_a_missing_phate_is_named_with_its_extra(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "phate", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    skipping = EmbeddingConfig(umap=False)
    result = run(embed(make_table(rng), skipping, rng=rng))
    assert "napari-bio-superposition[phate]" in describe_embedding(result)["skipped"]["phate"]
    assert Keys.PHATE not in result.obsm
    asked_for = EmbeddingConfig(umap=False, phate="always")
    with pytest.raises(MissingExtraError, match="phate"):
        run(embed(make_table(rng), asked_for, rng=rng))
    with pytest.raises(MissingExtraError, match="phate"):
        lay_out_phate(np.zeros((5, 2), np.float32), asked_for, 0)


def test_presets_go_by_name() -> None:
    assert choose_preset("paper").phate_t == 20
    with pytest.raises(ConfigError, match="default, paper"):
        choose_preset("best")
    json.dumps(sorted(PRESETS))


@NEEDS_PHATE
def test_phate_follows_a_planted_progression(rng: np.random.Generator) -> None:
    stage = np.sort(rng.uniform(size=120))
    scores = np.stack([10 * stage, rng.normal(size=120) * 0.2], axis=1)
    layout = lay_out_phate(scores.astype(np.float32), EmbeddingConfig(), seed=0)
    assert layout.shape == (120, 2)
    assert spearmanr(stage[nearest(layout)], stage)[0] > 0.95  # PHATE bends a line, and keeps it


@NEEDS_PHATE
@pytest.mark.parametrize("n", [3, 10])
def test_phate_lays_out_a_few_patches(n: int, rng: np.random.Generator) -> None:
    scores = rng.normal(size=(n, 2)).astype(np.float32)
    assert np.isfinite(lay_out_phate(scores, EmbeddingConfig(), seed=0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("preset", list(PRESETS))
def test_classes_stay_apart_and_the_seed_decides(preset: str, rng: np.random.Generator) -> None:
    adata = make_table(rng)
    first, again, other = (
        run(embed(adata, PRESETS[preset], rng=np.random.default_rng(seed))) for seed in (1, 1, 2)
    )
    assert purity(first.obsm[Keys.UMAP], adata.obs["label"].to_numpy()) > 0.95
    np.testing.assert_array_equal(first.obsm[Keys.UMAP], again.obsm[Keys.UMAP])
    assert not np.array_equal(first.obsm[Keys.UMAP], other.obsm[Keys.UMAP])
    sc.tl.diffmap(first, n_comps=3)  # scanpy goes on from the neighbours
    assert first.obsm["X_diffmap"].shape == (90, 3)


@pytest.mark.slow
def test_umap_of_few_patches_and_of_the_cnn(rng: np.random.Generator) -> None:
    few = run(embed(make_table(rng, n=4), rng=rng))
    assert np.isfinite(few.obsm[Keys.UMAP]).all()
    cnn = run(embed(make_table(rng), EmbeddingConfig(source="cnn", phate="never"), rng=rng))
    assert cnn.obsm["X_umap_cnn"].shape == (90, 2)
    assert "neighbors_cnn" in cnn.uns
