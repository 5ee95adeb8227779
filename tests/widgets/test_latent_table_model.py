"""The table of latents: sorting with unknown values, filtering, ticks, names."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon

from napari_bio_superposition.widgets.latent_table_model import LatentColumn, LatentTableModel

pytestmark = pytest.mark.gui


@pytest.fixture
def model(qtbot: QtBot) -> LatentTableModel:
    model = LatentTableModel()
    columns = [
        LatentColumn("Lift", np.array([3.0, np.nan, 7.0, 1.0])),
        LatentColumn("Class", np.array(["GBA", "SNCA", "", "GBA"])),
    ]
    model.set_rows([8, 5, 2, 9], columns)
    return model


def _names(model: LatentTableModel) -> list[str]:
    return [model.data(model.index(row, 0)) for row in range(model.rowCount())]


def test_rows_keep_the_given_order_until_they_are_sorted(model: LatentTableModel) -> None:
    assert model.latents.tolist() == [8, 5, 2, 9]
    model.sort(1, Qt.SortOrder.DescendingOrder)
    assert model.latents.tolist() == [2, 8, 9, 5]
    model.sort(1, Qt.SortOrder.AscendingOrder)
    assert model.latents.tolist() == [9, 8, 2, 5]  # what is not known stays last
    model.sort(0, Qt.SortOrder.AscendingOrder)
    assert model.latents.tolist() == [2, 5, 8, 9]
    model.sort(-1)
    assert model.latents.tolist() == [8, 5, 2, 9]


def test_search_looks_into_names_and_words(model: LatentTableModel) -> None:
    model.set_filter("gba")
    assert _names(model) == ["latent_00008", "latent_00009"]
    model.set_filter("00005")
    assert model.latents.tolist() == [5]
    assert model.row_of(8) is None


def test_ticks_follow_what_is_shown(model: LatentTableModel) -> None:
    asked: list[tuple[int, bool]] = []
    model.checked.connect(lambda latent, is_on: asked.append((latent, is_on)))
    place = model.index(1, 0)
    model.setData(place, Qt.CheckState.Checked.value, Qt.ItemDataRole.CheckStateRole)
    assert asked == [(5, True)]
    assert model.data(place, Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Unchecked
    model.set_shown({5: QIcon()})
    assert model.data(place, Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
    assert model.data(model.index(1, 1)) == ""
    assert model.data(model.index(0, 1)) == "3"
