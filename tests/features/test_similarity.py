"""Neighbours by direction and by activity as numpy says; a planted twin comes first."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.features.examples import choose_examples
from napari_bio_superposition.features.feature_page import describe_feature
from napari_bio_superposition.features.similarity import (
    correlate_columns,
    nearest_by_activity,
    nearest_by_direction,
)


def make_table(rng: np.random.Generator, n_wells: int = 8) -> AnnData:
    """Two plates of wells with 20 patches each; feature 4 is a twin of feature 1."""
    n = 20 * n_wells
    values = rng.gamma(1.0, size=(n, 6)) * (rng.random((n, 6)) < 0.5)
    values[:, 4] = 0.9 * values[:, 1] + 0.05 * (values[:, 1] > 0)
    values[:, 5] = 0
    well = np.repeat(np.arange(n_wells), 20)
    plate = np.where(well % 2, "P2", "P1")
    values[:, 2] += 2.0 * (plate == "P2")
    values[:, 3] += 2.0 * (well >= n_wells // 2)
    obs = pd.DataFrame(
        {
            Keys.GROUP: [f"{p}/{w}" for p, w in zip(plate, well, strict=True)],
            Keys.PLATE: plate,
            Keys.IMAGE: [f"image{w}" for w in well],
            Keys.GENOTYPE: np.where(well < n_wells // 2, "Control", "SNCA"),
            Keys.Y: 0,
            Keys.X: np.arange(n),
        },
        index=[f"patch{i}" for i in range(n)],
    )
    var = pd.DataFrame(index=[feature_name(k) for k in range(6)])
    return AnnData(values.astype(np.float32), obs=obs, var=var)


def test_the_nearest_direction_is_the_one_at_the_smallest_angle() -> None:
    directions = np.array([[2, 0], [0, 1], [1, 1], [-1, 0]], np.float32)
    near = nearest_by_direction(directions, 0, n_top=2)
    assert near["latent"].tolist() == [2, 1]
    assert near["cosine"].tolist() == pytest.approx([np.sqrt(0.5), 0])
    with pytest.raises(TableError, match="from 0 to 3"):
        nearest_by_direction(directions, 4)


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_correlations_are_those_of_numpy(layout, rng: np.random.Generator) -> None:
    adata = make_table(rng)
    values, target = adata.X.copy(), rng.random(160)
    target[::7] = np.nan
    known = np.isfinite(target)
    expected = [np.corrcoef(values[known, k], target[known])[0, 1] for k in range(5)]
    np.testing.assert_allclose(correlate_columns(layout(values), target)[:5], expected, atol=1e-5)
    assert correlate_columns(layout(values), target)[5] == 0


@pytest.mark.parametrize("measure", ["pearson", "phi", "jaccard"])
def test_a_twin_is_the_nearest_by_activity(measure: str, rng: np.random.Generator) -> None:
    adata = make_table(rng)
    near = nearest_by_activity(adata, "latent_00001", measure=measure)  # type: ignore[arg-type]
    assert near["latent"].iloc[0] == 4
    assert near[measure].iloc[0] > 0.98
    adata.X = sparse.csr_matrix(adata.X)
    again = nearest_by_activity(adata, "latent_00001", measure=measure)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(near, again, rtol=1e-4, atol=1e-6)


def test_unknown_names_are_refused(rng: np.random.Generator) -> None:
    adata = make_table(rng)
    with pytest.raises(TableError, match="no feature 'latent_00099'"):
        nearest_by_activity(adata, "latent_00099")
    with pytest.raises(TableError, match="pearson, phi, jaccard"):
        nearest_by_activity(adata, "latent_00001", measure="cosine")  # type: ignore[arg-type]


# --- the page of a feature -----------------------------------------------------------------------


def test_the_page_tells_a_class_feature_from_a_plate_feature(rng: np.random.Generator) -> None:
    adata = make_table(rng)
    of_plate = describe_feature(adata, "latent_00002")
    of_class = describe_feature(adata, "latent_00003")
    assert of_plate.plate_effect > 0.9
    assert of_class.plate_effect < 0.2
    control, snca = of_class.classes.to_dict("records")
    assert (control["class"], snca["class"]) == ("Control", "SNCA")
    assert control["high"] < snca["low"]
    assert control["low"] < control["mean"] < control["high"]
    assert (control["n_wells"], control["n_patches"]) == (4, 80)
    values = adata.X[:, 3]
    assert of_class.active_patches == pytest.approx((values > 0).mean())
    assert of_class.histogram.sum() == (values > 0).sum()
    assert of_class.edges[-1] == pytest.approx(values.max())
    assert describe_feature(adata, "latent_00001").together["latent"].iloc[0] == 4


def test_a_silent_feature_has_a_page(rng: np.random.Generator) -> None:
    page = describe_feature(make_table(rng), "latent_00005")
    assert page.active_patches == 0
    assert page.histogram.sum() == 0
    assert np.isnan(page.plate_effect)
    with pytest.raises(TableError, match="no column 'stage'"):
        describe_feature(make_table(rng), "latent_00005", groupby="stage")


# --- examples ------------------------------------------------------------------------------------


def test_few_images_give_more_than_their_share_of_the_strongest(rng: np.random.Generator) -> None:
    adata = make_table(rng)
    adata.obs[Keys.IMAGE] = "only"
    examples = choose_examples(adata, "latent_00001", n_each=5, per_image=2)
    top = examples.loc[examples["kind"] == "top", "activation"].to_numpy()
    np.testing.assert_array_equal(top, np.sort(adata.X[:, 1])[::-1][:5])


def test_examples_are_strong_middling_random_and_silent(rng: np.random.Generator) -> None:
    adata = make_table(rng)
    values = adata.X[:, 1]
    examples = choose_examples(adata, "latent_00001", n_each=5, per_image=1)
    top = examples[examples["kind"] == "top"]
    assert top["activation"].iloc[0] == values.max()
    assert top[Keys.IMAGE].is_unique
    assert (examples["activation"] == values[examples["row"]]).all()
    active = values[values > 0]
    for kind, quantile in (("q95", 0.95), ("q50", 0.5), ("q25", 0.25)):
        part = examples.loc[examples["kind"] == kind, "activation"]
        rank = (active[:, None] < part.to_numpy()).mean(axis=0)
        assert rank.mean() == pytest.approx(quantile, abs=0.04)
    assert (examples.loc[examples["kind"] == "random", "activation"] > 0).all()
    assert (examples.loc[examples["kind"] == "inactive", "activation"] == 0).all()
    assert examples["kind"].value_counts().eq(5).all()


def test_random_examples_come_from_all_classes(rng: np.random.Generator) -> None:
    """A feature that is far stronger in SNCA is still shown in Control, as often as it fires."""
    adata = make_table(rng)
    adata.X[:80, 1] *= 0.01
    drawn = choose_examples(adata, "latent_00001", n_each=60, per_image=20)
    expected = (adata.X[:80, 1] > 0).sum() / (adata.X[:, 1] > 0).sum()
    share = (drawn.loc[drawn["kind"] == "random", Keys.GENOTYPE] == "Control").mean()
    assert share == pytest.approx(expected, abs=0.1)
    top = drawn[drawn["kind"] == "top"].head(30)
    assert (top[Keys.GENOTYPE] == "SNCA").all()


def test_a_silent_feature_has_only_silent_examples(rng: np.random.Generator) -> None:
    examples = choose_examples(make_table(rng), "latent_00005", n_each=3)
    assert examples["kind"].tolist() == ["inactive"] * 3
