"""Linear probes: planted classes are found on held-out wells, noise is at chance."""

import numpy as np
import pytest

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.evaluation.probes import linear_probe, standardize, unit_rows


def planted(n_features: int = 20, shift: float = 2.0, seed: int = 0):
    """30 wells of 10 rows, three classes; the class moves the first three features."""
    rng = np.random.default_rng(seed)
    wells = np.repeat(np.arange(30), 10)
    classes = np.array(["a", "b", "c"])[wells % 3]
    features = rng.normal(size=(300, n_features)).astype(np.float32)
    features[np.arange(300), wells % 3] += shift
    train, test = np.flatnonzero(wells < 20), np.flatnonzero(wells >= 20)
    return features, classes, train, test, wells


def test_planted_classes_are_found_and_the_interval_holds_them():
    features, classes, train, test, wells = planted()
    result = linear_probe(
        features, classes, train, test, rng=np.random.default_rng(0), groups=wells
    )
    assert result.accuracy > 0.75
    assert result.interval[0] <= result.accuracy <= result.interval[1]
    assert result.chance == pytest.approx(0.4)
    assert result.confusion.sum() == 100
    assert result.confusion.trace() / 100 == pytest.approx(result.accuracy)
    assert result.class_names == ("a", "b", "c")
    assert result.macro_f1 == pytest.approx(result.balanced_accuracy, abs=0.05)


def test_noise_is_at_chance():
    features, classes, train, test, _ = planted(shift=0.0)
    result = linear_probe(features, classes, train, test, rng=np.random.default_rng(0))
    assert abs(result.accuracy - 1 / 3) < 0.15
    assert result.interval is None


def test_more_features_than_rows_gives_the_same_probe_as_without_the_rotation():
    features, classes, train, test, wells = planted(n_features=400, shift=6.0)
    result = linear_probe(
        features, classes, train, test, rng=np.random.default_rng(0), groups=wells
    )
    assert result.accuracy > 0.6
    inside, outside = standardize(features[train], features[test])
    assert inside.shape[1] < 200
    full = (features[train] - features[train].mean(0)) / features[train].std(0) / 20
    np.testing.assert_allclose(inside @ inside.T, full @ full.T, atol=1e-3)
    assert outside.shape == (100, inside.shape[1])


def test_constant_columns_are_dropped():
    features = np.array([[1.0, 0.0], [1.0, 2.0], [1.0, 4.0]])
    train, test = standardize(features, features[:1])
    assert train.shape == (3, 1)
    np.testing.assert_allclose(train[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    np.testing.assert_allclose(test[0, 0], -np.sqrt(1.5), rtol=1e-6)


def test_rows_become_unit_vectors_and_zeros_stay():
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])


def test_unusable_parts_are_refused():
    features, classes, train, test, _ = planted()
    rng = np.random.default_rng(0)
    with pytest.raises(TableError, match="two classes"):
        linear_probe(features, classes, train[:10], test, rng=rng)
    with pytest.raises(TableError, match="at once"):
        linear_probe(features, classes, train, train, rng=rng)
    with pytest.raises(TableError, match="300 rows of features for 299"):
        linear_probe(features, classes[1:], train, test, rng=rng)
