"""The rows of the feature list: sorting, searching, ticking; also with 8192 latents."""

import numpy as np
import pytest
from pytestqt.modeltest import ModelTester
from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtGui import QIcon

from napari_bio_superposition.widgets.controller import FeatureStatistics
from napari_bio_superposition.widgets.feature_model import (
    FEATURE,
    FIRING,
    MAXIMUM,
    MEAN,
    FeatureTableModel,
)

pytestmark = pytest.mark.gui
_DOWN, _UP = Qt.SortOrder.DescendingOrder, Qt.SortOrder.AscendingOrder


@pytest.fixture
def model(qapp: object) -> FeatureTableModel:
    model = FeatureTableModel()
    model.set_statistics(
        FeatureStatistics(
            mean=np.array([0.1, 0.4, 0.0, 0.2]),
            firing_rate=np.array([0.9, 0.1, 0.0, 0.5]),
            maximum=np.array([1.0, 2.0, 0.0, np.nan]),
        )
    )
    model.set_filter("", only_active=False)
    return model


def _latents(model: FeatureTableModel) -> list[int]:
    return [model.latent_at(row) for row in range(model.rowCount())]


def test_it_keeps_the_rules_of_qt(model: FeatureTableModel, qtmodeltester: ModelTester) -> None:
    qtmodeltester.check(model, force_py=True)
    model.sort(FIRING, _DOWN)
    model.set_filter("0", only_active=True)
    model.set_shown(1, QIcon())
    qtmodeltester.check(model, force_py=True)


@pytest.mark.parametrize(
    ("column", "order", "latents"),
    [
        (MEAN, _DOWN, [1, 3, 0, 2]),
        (FIRING, _UP, [2, 1, 3, 0]),
        (FEATURE, _UP, [0, 1, 2, 3]),
        (MAXIMUM, _DOWN, [1, 0, 2, 3]),
    ],
)
def test_sorting(
    model: FeatureTableModel, column: int, order: Qt.SortOrder, latents: list[int]
) -> None:
    model.sort(column, order)
    assert _latents(model) == latents


def test_searching_and_silent_features(model: FeatureTableModel) -> None:
    model.set_filter("00003", only_active=False)
    assert _latents(model) == [3]
    model.set_filter("", only_active=True)
    assert sorted(_latents(model)) == [0, 1]
    assert model.row_of(2) is None


def test_a_tick_is_asked_for_and_set_by_the_overlay(model: FeatureTableModel) -> None:
    asked: list[tuple[int, bool]] = []
    model.checked.connect(lambda latent, is_on: asked.append((latent, is_on)))
    index = model.index(0, FEATURE)
    check = Qt.ItemDataRole.CheckStateRole
    model.setData(index, Qt.CheckState.Checked.value, check)
    assert asked == [(1, True)]
    assert model.data(index, check) == Qt.CheckState.Unchecked
    model.set_shown(1, QIcon())
    assert model.data(index, check) == Qt.CheckState.Checked
    assert not model.setData(model.index(0, MEAN), 1, check)


def test_ticks_stay_with_their_latent_while_sorting(model: FeatureTableModel) -> None:
    model.set_shown(3, QIcon())
    model.sort(FEATURE, _UP)
    states = [
        model.data(model.index(row, FEATURE), Qt.ItemDataRole.CheckStateRole) for row in range(4)
    ]
    assert states.index(Qt.CheckState.Checked) == 3


def test_words_of_a_row(model: FeatureTableModel) -> None:
    row = [model.data(model.index(1, column)) for column in range(4)]
    assert row == ["latent_00003", "0.2", "50.0%", "nan"]
    assert model.headerData(FIRING, Qt.Orientation.Horizontal) == "Firing"
    assert model.data(QModelIndex()) is None


def test_no_result_has_no_rows(model: FeatureTableModel) -> None:
    model.set_statistics(None)
    assert model.rowCount() == 0
    model.sort(MEAN, _UP)
    assert model.rowCount() == 0


def test_a_large_dictionary(qapp: object, rng: np.random.Generator) -> None:
    model = FeatureTableModel()
    values = rng.random((3, 8192))
    model.set_statistics(FeatureStatistics(*values))
    model.sort(MAXIMUM, _DOWN)
    assert _latents(model) == np.argsort(-values[2], kind="stable").tolist()
