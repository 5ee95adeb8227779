"""Preparation of features: each step by hand, and the published no-op shown to be one."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig
from napari_bio_superposition.manifold.preprocessing import preprocess

NOTHING = EmbeddingConfig(normalize_rows=False, log="none", standardize=False)


def make_table(values: npt.ArrayLike, firing_rate: npt.ArrayLike | None = None) -> AnnData:
    values = np.array(values, dtype=np.float32)
    adata = AnnData(values)
    adata.var_names = [feature_name(k) for k in range(values.shape[1])]
    rates = (values > 0).mean(axis=0) if firing_rate is None else firing_rate
    adata.var[Keys.FIRING_RATE] = np.asarray(rates)
    return adata


def test_features_that_hardly_fire_are_left_out() -> None:
    adata = make_table([[1, 2, 3]], firing_rate=[1e-5, 9e-6, 0.5])
    assert preprocess(adata, NOTHING).tolist() == [[1, 3]]
    with pytest.raises(TableError, match="None of 3 features"):
        preprocess(adata, EmbeddingConfig(min_firing_rate=0.9))


def test_rows_get_unit_length_and_empty_rows_stay_empty() -> None:
    config = EmbeddingConfig(log="none", standardize=False)
    prepared = preprocess(make_table([[3, 4], [0, 0]], [1, 1]), config)
    np.testing.assert_allclose(prepared, [[0.6, 0.8], [0, 0]])


def test_the_logarithm_is_taken_in_units_of_the_median_positive_value() -> None:
    """Positive values 1, 2, 6: median 2."""
    config = EmbeddingConfig(normalize_rows=False, standardize=False)
    prepared = preprocess(make_table([[1, 2], [6, 0]], [1, 1]), config)
    np.testing.assert_allclose(prepared, np.log1p([[0.5, 1], [3, 0]]), rtol=1e-6)


def test_the_plain_logarithm_does_nothing_after_row_normalisation_and_ours_does(
    rng: np.random.Generator,
) -> None:
    """Values of many features in a unit row are far below 1, where log1p is the identity."""
    adata = make_table(rng.gamma(0.3, size=(50, 2000)))
    linear, plain, median = (
        preprocess(adata, EmbeddingConfig(log=log, standardize=False)).ravel()  # type: ignore[arg-type]
        for log in ("none", "plain", "median")
    )
    assert np.corrcoef(linear, plain)[0, 1] > 0.999
    assert np.corrcoef(linear, median)[0, 1] < 0.95


def test_columns_are_standardised_and_constant_ones_become_zero() -> None:
    config = EmbeddingConfig(normalize_rows=False, log="none")
    prepared = preprocess(make_table([[1, 5], [3, 5]]), config)
    assert prepared.tolist() == [[-1, 0], [1, 0]]


def test_sparse_tables_are_prepared_alike(rng: np.random.Generator) -> None:
    adata = make_table(rng.poisson(0.5, size=(10, 6)))
    dense = preprocess(adata)
    adata.X = sparse.csr_matrix(adata.X)
    np.testing.assert_array_equal(preprocess(adata), dense)


def test_the_table_is_not_changed(rng: np.random.Generator) -> None:
    adata = make_table(rng.uniform(size=(5, 4)))
    before = adata.X.copy()
    preprocess(adata, NOTHING)[:] = 0
    preprocess(adata)
    np.testing.assert_array_equal(adata.X, before)


def test_cnn_features_go_the_same_way_and_keep_their_sign() -> None:
    adata = make_table([[1.0], [1.0]])
    adata.obsm[Keys.CNN] = np.array([[3.0, -4.0], [-3.0, 4.0]])
    config = EmbeddingConfig(source="cnn", log="plain", standardize=False)
    expected = np.log1p([[0.6, 0.8], [0.6, 0.8]]) * [[1, -1], [-1, 1]]
    np.testing.assert_allclose(preprocess(adata, config), expected, rtol=1e-6)
    with pytest.raises(TableError, match="no CNN features"):
        preprocess(make_table([[1.0]]), config)


def test_without_logarithm_the_default_is_a_plain_z_score() -> None:
    table = pd.DataFrame(np.random.default_rng(0).uniform(size=(20, 3)))
    config = EmbeddingConfig(normalize_rows=False, log="none")
    expected = (table - table.mean()) / table.std(ddof=0)
    np.testing.assert_allclose(
        preprocess(make_table(table), config), expected, rtol=1e-3, atol=1e-5
    )


def test_standardising_within_plates_takes_out_what_differs_between_them(
    rng: np.random.Generator,
) -> None:
    values = rng.gamma(2, size=(40, 3)).astype(np.float32)
    plate = np.repeat(["a", "b"], 20)
    values[plate == "b"] += 10
    adata = make_table(values)
    adata.obs[Keys.PLATE] = plate
    config = EmbeddingConfig(normalize_rows=False, log="none", standardize_within=Keys.PLATE)
    prepared = preprocess(adata, config)
    for name in ("a", "b"):
        np.testing.assert_allclose(prepared[plate == name].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(prepared[plate == name].std(axis=0), 1, atol=1e-5)


def test_a_missing_column_to_standardise_within_is_named() -> None:
    with pytest.raises(TableError, match="no column 'plate'"):
        preprocess(make_table([[1, 2], [3, 4]]), EmbeddingConfig(standardize_within=Keys.PLATE))
