"""Ridge by wells: a planted law is found, a well effect is not mistaken for one."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.evaluation.regression import (
    PENALTIES,
    _fit_and_predict,
    predict_by_wells,
)


def planted(n_features: int = 30, seed: int = 0):
    rng = np.random.default_rng(seed)
    wells = np.repeat(np.arange(20), 15)
    features = rng.normal(size=(300, n_features)).astype(np.float32)
    return features, wells, wells // 10, rng


def test_a_planted_law_is_found_beyond_its_null():
    features, wells, plates, rng = planted()
    target = features[:, 0] - features[:, 1] + rng.normal(size=300)
    result = predict_by_wells(features, target, wells, plates, rng=rng, n_permutations=50)
    assert 0.5 < result.r2 < 0.75
    assert result.interval.low < result.r2 < result.interval.high
    assert result.null < 0.02
    assert result.null_upper < 0.1
    assert result.p_value == pytest.approx(1 / 51)
    assert (len(result.fold_r2), result.n_rows, result.n_groups) == (5, 300, 20)


def test_what_only_tells_wells_apart_predicts_nothing_on_new_wells():
    features, wells, plates, rng = planted()
    features[:, :20] = np.eye(20)[wells] * 10  # each well has a feature of its own
    target = rng.normal(size=20)[wells]
    assert predict_by_wells(features, target, wells, plates, rng=rng, n_permutations=5).r2 < 0.05


@pytest.mark.parametrize("n_features", [10, 400])
def test_predictions_are_those_of_scikit_learn(n_features):
    features, _, _, rng = planted(n_features)
    target = features[:, :3].sum(1) + rng.normal(size=300)
    train, test = features[:200], features[200:]
    mean, spread = train.mean(0), train.std(0)
    model = RidgeCV(alphas=PENALTIES).fit((train - mean) / spread, target[:200])
    own = _fit_and_predict(train, target[:200, None], test)
    np.testing.assert_allclose(own[:, 0], model.predict((test - mean) / spread), atol=0.05)


def test_rows_without_target_are_left_out_and_one_well_is_refused():
    features, wells, plates, rng = planted()
    target = np.where(wells < 10, features[:, 0], np.nan)
    result = predict_by_wells(features, target, wells, plates, rng=rng, n_permutations=3)
    assert (result.n_rows, result.n_groups) == (150, 10)
    assert result.r2 > 0.95
    with pytest.raises(TableError, match="two wells"):
        predict_by_wells(features, np.where(wells < 1, 1.0, np.nan), wells, plates, rng=rng)
