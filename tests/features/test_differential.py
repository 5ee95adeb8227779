"""Comparison of two groups: as scipy says column by column, and a planted feature on top."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse, stats

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.features.differential import (
    DifferentialConfig,
    compare_groups,
    volcano,
)
from napari_bio_superposition.features.rank_sum import rank_sums


def make_table(values: np.ndarray, wells: list[str]) -> AnnData:
    adata = AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame({Keys.GROUP: wells}, index=[f"p{i}" for i in range(len(values))]),
        var=pd.DataFrame(index=[feature_name(k) for k in range(values.shape[1])]),
    )
    adata.var[Keys.FIRING_RATE] = (values > 0).mean(axis=0)
    return adata


def make_study(rng: np.random.Generator) -> tuple[AnnData, np.ndarray]:
    """Eight wells of 20 patches; feature 2 is planted in the first four wells."""
    of_patch = np.repeat(np.arange(8), 20)
    values = rng.gamma(1.0, size=(160, 6))
    values[:, 2] += 3.0 * (of_patch < 4)
    values[:, 4] = 0
    return make_table(values, [f"P1/A{w}" for w in of_patch]), of_patch < 4


def test_ranks_and_p_values_are_those_of_scipy(rng: np.random.Generator) -> None:
    values = np.round(rng.gamma(1.0, size=(300, 5)), 1)  # many ties
    values[:, 0][rng.random(300) < 0.7] = 0
    values[:, 4] = 2.0
    is_first = rng.random(300) < 0.3
    found = rank_sums(values, is_first)
    for column in range(4):
        expected = stats.mannwhitneyu(
            values[is_first, column], values[~is_first, column], method="asymptotic"
        )
        n_pairs = is_first.sum() * (~is_first).sum()
        assert found.auroc[column] == pytest.approx(expected.statistic / n_pairs)
        assert found.p_value[column] == pytest.approx(expected.pvalue)
    assert (found.auroc[4], found.p_value[4]) == (0.5, 1.0)
    in_csr = rank_sums(sparse.csr_matrix(values), is_first)
    np.testing.assert_allclose(in_csr.p_value, found.p_value)


def test_a_planted_feature_is_found_in_wells_and_patches(rng: np.random.Generator) -> None:
    adata, first = make_study(rng)
    table = compare_groups(adata, first)
    best = table.iloc[0]
    assert best["latent"] == 2
    assert best["auroc"] > 0.9
    assert best["p_well"] == pytest.approx(2 / 70)  # the smallest with 4 and 4 wells
    assert best["q_patch"] < 1e-10
    assert 4 not in table["latent"].tolist()  # never fires
    assert not table["significant"].any()  # 2/70 times five features is above 0.05
    patch = compare_groups(adata, first, config=DifferentialConfig(level="patch"))
    assert patch.loc[patch["significant"], "latent"].tolist() == [2]


def test_swapping_the_groups_mirrors_the_result(rng: np.random.Generator) -> None:
    adata, first = make_study(rng)
    one = compare_groups(adata, first).sort_values("latent")
    other = compare_groups(adata, ~first, first).sort_values("latent")
    np.testing.assert_allclose(one["auroc"], 1 - other["auroc"])
    np.testing.assert_allclose(one["log2_fold_change"], -other["log2_fold_change"])
    np.testing.assert_allclose(one["p_well"], other["p_well"])


def test_cnn_channels_are_compared_alike_by_their_absolute_values(
    rng: np.random.Generator,
) -> None:
    adata, first = make_study(rng)
    cnn = rng.normal(size=(160, 3))
    cnn[first, 1] = -5.0  # far from zero, on the negative side
    adata.obsm[Keys.CNN] = cnn
    table = compare_groups(adata, first, config=DifferentialConfig(values="cnn"))
    assert table["feature"].iloc[0] == "channel_00001"
    assert table["latent"].iloc[0] == 1
    assert table["log2_fold_change"].iloc[0] > 1
    del adata.obsm[Keys.CNN]
    with pytest.raises(TableError, match="no CNN channels"):
        compare_groups(adata, first, config=DifferentialConfig(values="cnn"))


def test_the_volcano_is_capped_and_knows_no_p_value_as_zero(rng: np.random.Generator) -> None:
    adata, first = make_study(rng)
    table = compare_groups(adata, first)
    table.loc[0, "p_well"], table.loc[1, "p_well"] = 1e-300, np.nan
    points = volcano(table)
    assert points["y"].tolist()[:2] == [50.0, 0.0]
    assert points["x"].tolist() == table["log2_fold_change"].tolist()
    with pytest.raises(TableError, match="well, patch"):
        volcano(table, "plate")  # type: ignore[arg-type]


def test_groups_that_cannot_be_compared_are_refused(rng: np.random.Generator) -> None:
    adata, first = make_study(rng)
    nothing = np.zeros(160, bool)
    with pytest.raises(TableError, match="first group holds no patch"):
        compare_groups(adata, nothing)
    with pytest.raises(TableError, match="second group holds no patch"):
        compare_groups(adata, ~nothing)
    with pytest.raises(TableError, match="80 patches are in both groups"):
        compare_groups(adata, first, first)
    with pytest.raises(TableError, match="160 patches"):
        compare_groups(adata, first[:10])
    with pytest.raises(TableError, match="no column 'plate'"):
        compare_groups(adata, first, config=DifferentialConfig(unit="plate"))


def test_one_well_a_side_gives_no_p_value_of_wells(rng: np.random.Generator) -> None:
    adata = make_table(rng.gamma(1.0, size=(20, 3)), ["w1"] * 10 + ["w2"] * 10)
    table = compare_groups(adata, np.arange(20) < 10)
    assert table["p_well"].isna().all()
    assert "without a second well" in table["warning"].iloc[0]
