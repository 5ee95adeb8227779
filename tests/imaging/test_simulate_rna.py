"""Simulated counts: planted modules come back, unlinked ones do not."""

import anndata
import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from napari_bio_superposition.imaging.simulate import (
    FACTORS,
    GENOTYPES,
    RnaConfig,
    sample_states,
    simulate_rna,
    simulate_rna_of,
)

CONFIG = RnaConfig(n_cells=800, n_genes=600)


@pytest.fixture(scope="module")
def rna() -> anndata.AnnData:
    return simulate_rna(CONFIG, rng=np.random.default_rng(5))


@pytest.fixture(scope="module")
def correlations(rna: anndata.AnnData) -> dict[str, np.ndarray]:
    """Return for each factor the correlation with each gene's normalised log expression."""
    counts = rna.X.toarray().astype(float)
    expression = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    values = rna.obs[[*FACTORS, "progression", "clock", "layer"]]
    rho = spearmanr(np.hstack([values.to_numpy(), expression]))[0]
    k = values.shape[1]
    return {name: rho[i, k:] for i, name in enumerate(values.columns)}


def test_the_table_is_what_scanpy_expects(rna: anndata.AnnData) -> None:
    assert rna.shape == (800, 600)
    assert sparse.isspmatrix_csr(rna.X)
    assert rna.X.dtype == np.int32
    assert rna.X.min() == 0
    assert rna.var_names.is_unique
    assert rna.var_names.str.startswith("SIM-").all()
    assert rna.obs["genotype"].value_counts().to_dict() == dict.fromkeys(GENOTYPES, 200)
    assert rna.obs.groupby("sample", observed=True)["genotype"].nunique().eq(1).all()
    assert rna.obs["sample"].nunique() == 12


def test_genes_follow_the_latent_of_their_module(
    rna: anndata.AnnData, correlations: dict[str, np.ndarray]
) -> None:
    for latent in ("fragmentation", "depolarization", "lysosome_size", "perinuclear", "layer"):
        genes = (rna.var["latent"] == latent).to_numpy()
        signed = correlations[latent][genes] * np.sign(rna.var["loading"].to_numpy()[genes])
        assert np.median(signed) > 0.35, latent
        assert (signed > 0).mean() > 0.95, latent


def test_unlinked_and_housekeeping_genes_know_nothing_of_the_image(
    rna: anndata.AnnData, correlations: dict[str, np.ndarray]
) -> None:
    unlinked = ~rna.var["linked"].to_numpy()
    strongest = np.max([np.abs(correlations[name][unlinked]) for name in FACTORS], axis=0)
    assert np.median(strongest) < 0.12  # the largest of seven chance correlations of 800 cells
    linked = np.max([np.abs(correlations[name][~unlinked]) for name in FACTORS], axis=0)
    assert np.median(linked) > 0.35


def test_class_modules_mark_their_class(rna: anndata.AnnData) -> None:
    counts = rna.X.toarray()
    genes = ((rna.var["module"] == "GBA") & (rna.var["loading"] > 0)).to_numpy()
    share = counts[:, genes].sum(axis=1) / counts.sum(axis=1)
    means = {name: share[rna.obs["genotype"] == name].mean() for name in GENOTYPES}
    assert max(means, key=means.__getitem__) == "GBA"
    assert means["GBA"] > 1.5 * means["Control"]


def test_counts_have_the_asked_size_and_overdispersion() -> None:
    flat = RnaConfig(
        n_cells=1000, n_genes=300, effect_size=0.0, batch_effect=0.0, dropout=0.0, dispersion=0.5
    )
    counts = simulate_rna(flat, rng=np.random.default_rng(1)).X.toarray().astype(float)
    totals = counts.sum(axis=1)
    assert np.median(totals) == pytest.approx(5000, rel=0.05)
    share = counts / totals[:, None] * totals.mean()
    mean, variance = share.mean(axis=0), share.var(axis=0)
    common = mean > 20
    fitted = np.median((variance - mean)[common] / mean[common] ** 2)
    assert fitted == pytest.approx(0.5, abs=0.08)


def test_dropout_removes_its_share_of_counts() -> None:
    kept = [
        simulate_rna(
            RnaConfig(n_cells=200, n_genes=200, dropout=dropout), rng=np.random.default_rng(2)
        ).X.sum()
        for dropout in (0.0, 0.5)
    ]
    assert kept[1] / kept[0] == pytest.approx(0.5, abs=0.05)


def test_paired_rna_keeps_the_cells_of_the_image() -> None:
    rng = np.random.default_rng(9)
    states = sample_states(np.repeat([3, 0], 150), rng=rng)
    paired = simulate_rna_of(states, CONFIG, rng=rng)
    np.testing.assert_array_equal(paired.obs["progression"], states.progression)
    assert paired.obs["genotype"].tolist() == ["LRRK2"] * 150 + ["Control"] * 150
    counts = paired.X.toarray().astype(float)
    genes = ((paired.var["latent"] == "perinuclear") & (paired.var["loading"] > 0)).to_numpy()
    score = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))[:, genes].mean(axis=1)
    assert spearmanr(score, states.perinuclear)[0] > 0.85


def test_a_single_cell_and_a_constant_state_are_fine() -> None:
    states = sample_states(np.array([1]), rng=np.random.default_rng(0))
    assert simulate_rna_of(states, CONFIG, rng=np.random.default_rng(0)).shape == (1, 600)
