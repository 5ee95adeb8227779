"""Ranking: effect sizes and p-values by hand, wells as the unit, a planted feature on top."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.features.rank_sum import rank_sum_p
from napari_bio_superposition.features.ranking import (
    rank_by_activation,
    rank_class_features,
    top_patches,
)


def make_table(
    values: npt.NDArray[Any], genotypes: list[str], wells: list[str], **obs: Any
) -> AnnData:
    n, n_latents = values.shape
    rows = {Keys.GENOTYPE: pd.Categorical(genotypes), Keys.GROUP: pd.Categorical(wells)}
    place = {Keys.IMAGE: "a", Keys.Y: np.arange(n), Keys.X: 0}
    adata = AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame(rows | place | obs, index=[f"patch{i}" for i in range(n)]),
        var=pd.DataFrame(index=[feature_name(k) for k in range(n_latents)]),
    )
    adata.var[Keys.FIRING_RATE] = (values > 0).mean(axis=0)
    return adata


def make_study(rng: np.random.Generator, n_wells: int = 4, n_patches: int = 20) -> AnnData:
    """Two classes; feature 3 is planted in SNCA, feature 5 differs between wells only."""
    wells = [f"P1/{row}{column:02}" for row in "AB" for column in range(n_wells)]
    of_patch = np.repeat(np.arange(2 * n_wells), n_patches)
    values = rng.gamma(1.0, size=(len(of_patch), 10))
    values[:, 3] += 1.5 * (of_patch >= n_wells)
    values[:, 5] += 3 * rng.uniform(size=2 * n_wells)[of_patch]
    genotypes = np.where(of_patch < n_wells, "Control", "SNCA").tolist()
    return make_table(values, genotypes, [wells[w] for w in of_patch])


# --- by activation -------------------------------------------------------------------------------


def test_features_are_ranked_over_the_chosen_patches() -> None:
    values = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [4.0, 1.0, 0.0]])
    adata = make_table(values, ["a"] * 3, ["w"] * 3)
    ranked = rank_by_activation(adata)
    assert ranked["latent"].tolist() == [0, 1, 2]
    assert ranked["mean_activation"].tolist() == pytest.approx([4 / 3, 1, 0])
    assert ranked["active_patches"].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    chosen = rank_by_activation(adata, np.array([True, True, False]), n_top=2)
    assert chosen["feature"].tolist() == ["latent_00001", "latent_00000"]
    assert chosen["enrichment"].tolist() == [1, 0]
    assert np.isnan(ranked["enrichment"].iloc[2])


def test_sparse_tables_rank_alike(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    adata.X[adata.X < 1] = 0
    dense = rank_class_features(adata, reference="Control")
    by_activation = rank_by_activation(adata)
    adata.X = sparse.csr_matrix(adata.X)
    pd.testing.assert_frame_equal(rank_class_features(adata, reference="Control"), dense, rtol=1e-4)
    pd.testing.assert_frame_equal(rank_by_activation(adata), by_activation, rtol=1e-4)


def test_the_strongest_patches_of_a_feature() -> None:
    values = np.array([[1.0], [3.0], [2.0]])
    adata = make_table(values, ["a"] * 3, ["w"] * 3)
    top = top_patches(adata, "latent_00000", n_top=2)
    assert top.index.tolist() == ["patch1", "patch2"]
    assert top["activation"].tolist() == [3, 2]
    adata.X = sparse.csr_matrix(adata.X)
    assert top_patches(adata, "latent_00000")["activation"].tolist() == [3, 2, 1]
    with pytest.raises(TableError, match="latent_00000"):
        top_patches(adata, "latent_7")


# --- by class ------------------------------------------------------------------------------------


def test_effects_by_hand() -> None:
    """SNCA {3, 1} against Control {2, 1}: of four pairs 2.5 are won; means 2 and 1.5."""
    values = np.array([[3.0], [1.0], [2.0], [1.0]])
    adata = make_table(values, ["SNCA", "SNCA", "Control", "Control"], ["a", "b", "c", "d"])
    row = rank_class_features(adata, reference="Control", pseudocount=0.5).iloc[0]
    assert row["auroc"] == 2.5 / 4
    assert row["log2_fold_change"] == pytest.approx(np.log2(2.5 / 2.0))
    assert (row["mean_class"], row["mean_reference"]) == (2.0, 1.5)
    assert (row["class"], row["reference"]) == ("SNCA", "Control")
    assert (row["n_wells"], row["n_wells_reference"], row["n_patches"]) == (2, 2, 2)


def test_a_planted_feature_is_found(rng: np.random.Generator) -> None:
    ranking = rank_class_features(make_study(rng, n_wells=6), reference="Control")
    assert ranking["latent"].iloc[0] == 3
    assert ranking["auroc"].iloc[0] > 0.75
    assert ranking["q_value"].iloc[0] < 0.05
    assert (ranking["q_value"].iloc[1:] > 0.05).all()
    assert ranking["p_value"].iloc[0] == pytest.approx(2 / 924)


def test_patches_of_a_well_are_one_observation(rng: np.random.Generator) -> None:
    """Ten times the patches do not make a difference between wells more significant."""
    few = rank_class_features(make_study(rng, n_wells=3), reference="Control")
    many = rank_class_features(make_study(rng, n_wells=3, n_patches=200), reference="Control")
    assert few["p_value"].min() >= 0.1 - 1e-12
    assert many["p_value"].min() >= 0.1 - 1e-12
    assert "no p-value can be below 0.1" in many["warning"].iloc[0]


def test_a_single_well_gives_no_p_value(rng: np.random.Generator) -> None:
    ranking = rank_class_features(make_study(rng, n_wells=1), reference="Control")
    assert ranking["p_value"].isna().all()
    assert ranking["q_value"].isna().all()
    assert "without a second well" in ranking["warning"].iloc[0]
    assert ranking["latent"].iloc[0] in (3, 5)


def test_every_class_is_compared_with_the_rest(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    ranking = rank_class_features(adata)
    assert ranking["class"].unique().tolist() == ["Control", "SNCA"]
    assert set(ranking["reference"]) == {"rest"}
    up, down = (
        ranking[(ranking["class"] == name) & (ranking["latent"] == 3)]["auroc"].item()
        for name in ("SNCA", "Control")
    )
    assert up == pytest.approx(1 - down)


def test_patches_without_a_class_and_dead_features_are_left_out(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    unknown = np.where(np.arange(adata.n_obs) % 5 == 0, "", adata.obs[Keys.GENOTYPE].astype(str))
    adata.obs[Keys.GENOTYPE] = pd.Categorical(unknown)
    adata.var.loc[feature_name(0), Keys.FIRING_RATE] = 0
    ranking = rank_class_features(adata, reference="Control")
    assert ranking["n_patches"].iloc[0] + ranking["n_patches_reference"].iloc[0] == 128
    assert 0 not in ranking["latent"].tolist()
    assert len(ranking) == 9


def test_nearly_silent_features_do_not_top_the_fold_changes(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    adata.X[:, 7] = 0
    adata.X[-1, 7] = 1e-6  # a thousandfold of nothing
    ranking = rank_class_features(adata, reference="Control").set_index("latent")
    assert abs(ranking.loc[7, "log2_fold_change"]) < 1e-3
    assert ranking.loc[3, "log2_fold_change"] > 0.5


def test_wells_with_both_classes_are_pointed_out(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    adata.obs["half"] = np.tile(["x", "y"], adata.n_obs // 2)
    warning = rank_class_features(adata, "half")["warning"].iloc[0]
    assert "Some wells hold both classes" in warning


def test_columns_and_classes_that_are_missing_are_named(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    with pytest.raises(TableError, match="no column 'line'"):
        rank_class_features(adata, Keys.LINE)
    with pytest.raises(TableError, match="Control, SNCA"):
        rank_class_features(adata, reference="GBA")
    with pytest.raises(TableError, match="no two classes"):
        rank_class_features(adata[adata.obs[Keys.GENOTYPE] == "SNCA"])


# --- the test itself -----------------------------------------------------------------------------


def test_exact_p_by_hand() -> None:
    """Two against two, fully apart: one arrangement of six on each side."""
    first, second = np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])
    assert rank_sum_p(first, second).tolist() == pytest.approx([2 / 6])
    assert rank_sum_p(first, first).tolist() == [1.0]


@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_without_ties_p_is_that_of_scipy(n_first: int, n_second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(n_first, 3)), rng.normal(size=(n_second, 3))
    expected = stats.mannwhitneyu(first, second, axis=0, method="exact").pvalue
    np.testing.assert_allclose(rank_sum_p(first, second), expected)


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_with_ties_all_arrangements_are_tried(values: list[int]) -> None:
    column = np.array(values, dtype=float)
    ranks = stats.rankdata(column)
    away = [abs(sum(ranks[list(c)]) - 10.5) for c in itertools.combinations(range(6), 3)]
    observed = abs(ranks[:3].sum() - 10.5)
    expected = np.mean([distance >= observed - 1e-9 for distance in away])
    p_value = rank_sum_p(column[:3, np.newaxis], column[3:, np.newaxis])
    assert p_value[0] == pytest.approx(expected)


def test_many_wells_use_the_normal_law(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=(12, 4)), rng.normal(size=(12, 4))
    second[:, 1] = first[:, 1] = 2.0
    p_value = rank_sum_p(first, second)
    expected = stats.mannwhitneyu(first[:, 0], second[:, 0], method="exact").pvalue
    assert p_value[0] == pytest.approx(expected, abs=0.02)
    assert p_value[1] == 1.0
