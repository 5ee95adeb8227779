"""Latent spaces, batches, clusters and lineages, on cells with planted types."""

import json
import threading
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.transcriptome.batches import choose_batch
from napari_bio_superposition.transcriptome.clusters import choose_lineages, cluster_cells
from napari_bio_superposition.transcriptome.config import ClusterConfig, LatentConfig
from napari_bio_superposition.transcriptome.latent import add_latent
from napari_bio_superposition.transcriptome.markers import read_markers

EXCITATORY = ["SLC17A7", "CAMK2A", "SATB2", "NEUROD6"]
GLIA = ["GFAP", "AQP4", "S100B", "ALDH1L1"]


def make_cells(n: int = 120, n_genes: int = 300) -> anndata.AnnData:
    """Return counts of excitatory cells and astrocytes, half and half, in two samples."""
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 2
    genes = [*EXCITATORY, *GLIA, *(f"G{i}" for i in range(n_genes - 8))]
    rate = np.tile(np.exp(rng.normal(0, 0.7, n_genes)), (n, 1))
    rate[:, :4] += 8 * (kind == 0)[:, None]
    rate[:, 4:8] += 8 * (kind == 1)[:, None]
    rate[:, 8:30] += 3 * (kind == 1)[:, None]
    obs = pd.DataFrame(
        {"kind": kind, "sample": np.where(np.arange(n) < n // 2, "s1", "s2")},
        index=[f"c{i}" for i in range(n)],
    )
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes))


@pytest.fixture(scope="module")
def prepared() -> anndata.AnnData:
    """Return cells with components of the 60 most variable genes, and clusters."""
    rng = np.random.default_rng(0)
    table = run(add_latent(make_cells(), LatentConfig(n_latent=5, n_top_genes=60), rng=rng))
    table.uns["clusters"] = run(
        cluster_cells(table, ClusterConfig(resolution=0.3), use_rep="X_pca", rng=rng)
    )
    return table


def test_counts_are_kept_beside_their_logarithms(prepared: anndata.AnnData) -> None:
    counts = prepared.layers["counts"].toarray()
    expected = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    np.testing.assert_allclose(prepared.X.toarray(), expected, rtol=1e-5)
    assert prepared.obsm["X_pca"].shape == (120, 5)
    assert prepared.var["highly_variable"].sum() == 60
    assert prepared.var["highly_variable"][:8].all()


def test_planted_types_are_clustered_and_named(prepared: anndata.AnnData) -> None:
    assert adjusted_rand_score(prepared.obs["kind"], prepared.obs["leiden"]) > 0.9
    lineages = pd.crosstab(prepared.obs["kind"], prepared.obs["lineage"])
    assert lineages.loc[0, "Mature excitatory"] > 55
    assert lineages.loc[1, "Astrocyte"] > 55
    clusters = prepared.uns["clusters"]
    excitatory = clusters[clusters["lineage"] == "Mature excitatory"]
    assert set(EXCITATORY) <= set(excitatory["markers"].iloc[0].split(", "))


def test_lineages_and_clusters_are_chosen(prepared: anndata.AnnData) -> None:
    kept = choose_lineages(prepared, ClusterConfig(lineages=("Astrocyte",)))
    assert set(kept.obs["kind"]) == {1}
    cluster = prepared.obs["leiden"].iloc[0]
    assert choose_lineages(prepared, ClusterConfig(clusters=(cluster,))).n_obs < 120
    assert choose_lineages(prepared).n_obs == 120
    with pytest.raises(TableError, match=r"lineage Neuron; there are Astrocyte"):
        choose_lineages(prepared, ClusterConfig(lineages=("Neuron",)))


def test_the_default_batch_does_not_give_the_genotype_away() -> None:
    table = make_cells(80)
    table.obs["genotype"] = np.where(table.obs["sample"] == "s1", "Control", "SNCA")
    table.obs["flow_cell"] = np.where(np.arange(80) % 4 < 2, "f1", "f2")
    batch = choose_batch(table, LatentConfig())
    assert batch.columns == ("flow_cell",)
    assert "sample is not removed" in batch.note
    del table.obs["flow_cell"]
    assert choose_batch(table, LatentConfig()).values is None
    paper = choose_batch(table, LatentConfig(batch="paper"))
    assert set(paper.values) == {"Control x s1", "SNCA x s2"}
    assert "as in the paper" in paper.note
    del table.obs["genotype"]
    assert choose_batch(table, LatentConfig()).columns == ("sample",)
    with pytest.raises(TableError, match="needs the column genotype"):
        choose_batch(table, LatentConfig(batch="paper"))


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(TableError, match="too few for a latent space"):
        run(add_latent(make_cells(2), LatentConfig(), rng=np.random.default_rng(0)))
    alike = make_cells(30)
    alike.X = sparse.csr_matrix(np.ones(alike.shape, dtype=np.float32))
    with pytest.raises(TableError, match="All 30 cells have the same expression"):
        run(add_latent(alike, LatentConfig(), rng=np.random.default_rng(0)))
    with pytest.raises(ConfigError, match="n_latent"):
        LatentConfig(n_latent=1)


def test_marker_lists_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "markers.json"
    path.write_text(json.dumps({"Neuron": ["RBFOX3"]}))
    assert read_markers(str(path)) == {"Neuron": ("RBFOX3",)}
    path.write_text('{"Neuron": "RBFOX3"}')
    with pytest.raises(TableError, match="has to be of the form"):
        read_markers(str(path))


@pytest.mark.slow
def test_scvi_tells_planted_types_apart() -> None:
    pytest.importorskip("scvi")
    config = LatentConfig(method="scvi", n_latent=4, max_epochs=100, n_posterior=2, n_hidden=32)
    table = run(add_latent(make_cells(), config, rng=np.random.default_rng(0)))
    again = run(add_latent(make_cells(), config, rng=np.random.default_rng(0)))
    np.testing.assert_array_equal(table.obsm["X_scVI"], again.obsm["X_scVI"])
    assert table.obsm["X_scVI"].shape == (120, 4)
    assert table.obsm["denoised"].shape == (120, 300)
    expression = table.obsm["denoised"]["GFAP"].to_numpy()
    assert np.corrcoef(expression, table.obs["kind"])[0, 1] > 0.5


@pytest.mark.slow
def test_scvi_tells_epochs_and_can_be_cancelled() -> None:
    pytest.importorskip("scvi")
    config = LatentConfig(method="scvi", n_latent=4, max_epochs=5000, n_hidden=16)
    before, epochs = threading.active_count(), set()
    job = add_latent(make_cells(), config, rng=np.random.default_rng(0))
    for progress in job:
        if progress.step == "Training scVI":
            epochs.add(progress.done)
        if progress.step == "Training scVI" and progress.done > 3:
            job.close()
    assert len(epochs) > 1
    assert max(epochs) < 100
    assert threading.active_count() == before
