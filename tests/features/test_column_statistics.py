"""The top of a feature's colours: robust, exact over tables, the maximum where nothing else is."""

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.features.column_statistics import pool_rms, robust_tops
from napari_bio_superposition.features.table import concat_tables


def _describe(tokens: np.ndarray) -> pd.DataFrame:
    """Return the statistics of activations ``(token, feature)``."""
    rate = (tokens > 0).mean(axis=0)
    return pd.DataFrame(
        {
            Keys.FIRING_RATE: rate,
            Keys.MEAN_ACTIVATION: tokens.mean(axis=0),
            Keys.MAX_ACTIVATION: tokens.max(axis=0),
            Keys.ACTIVE_RMS: pool_rms((tokens**2).mean(axis=0), rate),
        }
    )


def test_one_odd_token_does_not_move_the_top(rng: np.random.Generator) -> None:
    tokens = np.maximum(rng.normal(0, 1, (40_000, 1)), 0)
    usual = robust_tops(_describe(tokens))[0]
    tokens[17] = 60.0
    odd = _describe(tokens)
    assert odd[Keys.MAX_ACTIVATION][0] == 60
    assert robust_tops(odd)[0] == pytest.approx(usual, rel=0.2)


@pytest.mark.parametrize("shape", [1.0, 2.0, 8.0])
def test_the_top_is_near_the_99th_percentile(shape: float, rng: np.random.Generator) -> None:
    active = rng.gamma(shape, size=(50_000, 1))
    below = (active <= robust_tops(_describe(active))).mean()
    assert 0.978 < below < 0.9995


def test_even_and_silent_features_have_their_largest_activation() -> None:
    tokens = np.array([[2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    np.testing.assert_allclose(robust_tops(_describe(tokens)), [2, 0])


def test_tables_without_the_column_fall_back_to_the_largest() -> None:
    var = _describe(np.array([[1.0], [1.0], [9.0], [0.0]])).drop(columns=Keys.ACTIVE_RMS)
    assert robust_tops(var).tolist() == [9]


def test_pooling_tables_is_exact_and_an_older_one_takes_the_column_away() -> None:
    from tests.features.test_table import make_table

    parts = [make_table("a", seed=1), make_table("b", seed=2)[:2].copy()]
    squares = sum(
        part.n_obs * part.var[Keys.FIRING_RATE] * part.var[Keys.ACTIVE_RMS] ** 2 for part in parts
    )
    joined = concat_tables(parts)
    expected = np.sqrt(squares / 7 / joined.var[Keys.FIRING_RATE])
    np.testing.assert_allclose(joined.var[Keys.ACTIVE_RMS], expected)
    del parts[0].var[Keys.ACTIVE_RMS]
    assert Keys.ACTIVE_RMS not in concat_tables(parts).var
