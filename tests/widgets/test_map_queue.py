"""Drawing features from a thread: all ticks, the last glance, nothing of another image."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from tests.widgets.test_feature_display import _Tokenised
from tests.widgets.test_study import MODELS, make_analysis

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.models.inference import TokenCache
from napari_bio_superposition.models.sparse_codes import SparseCodes
from napari_bio_superposition.widgets import feature_display
from napari_bio_superposition.widgets.feature_display import FeatureDisplay
from napari_bio_superposition.widgets.map_queue import MapQueue
from napari_bio_superposition.widgets.study import OpenImage, Study

TOKENS = TokenCache(np.zeros((1, 4, 2), np.float16), np.ones((1, 4), np.float32), (2, 2))


class _Maps:
    """Maps that are made when the test lets them be made; remembers in which thread."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.made: list[tuple[str, int, bool]] = []

    def __call__(self, image: OpenImage, latent: int) -> FloatArray:
        assert self.gate.wait(10)
        is_window = threading.current_thread() is threading.main_thread()
        self.made.append((image.name, latent, is_window))
        if latent == 3:
            raise TableError("There is no map of 3. Take another.")
        return np.full((8, 8), latent, np.float32)


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> _Maps:
    maps = _Maps()
    monkeypatch.setattr(OpenImage, "overlay", lambda image, latent: maps(image, latent))
    monkeypatch.setattr(feature_display, "_QUICK_VALUES", 4)
    return maps


@pytest.fixture
def viewer(maps: _Maps) -> ViewerModel:
    viewer = ViewerModel()
    FeatureDisplay.of(viewer)
    _add(viewer, "a")
    return viewer


def _add(viewer: ViewerModel, image_id: str, tokens: Any = TOKENS) -> None:
    analysis = make_analysis(image_id)
    columns = (Keys.MEAN_ACTIVATION, Keys.FIRING_RATE, Keys.MAX_ACTIVATION)
    var = pd.DataFrame(dict.fromkeys(columns, 0.5), index=[feature_name(k) for k in range(6)])
    few = analysis.table
    table = AnnData(np.ones((3, 6), np.float32), obs=few.obs, var=var, uns=few.uns)
    found = _Tokenised(analysis.image, analysis.patches, table, tokens)
    Study.of(viewer).add_analysis(found, MODELS)


def _shown(viewer: ViewerModel) -> list[int]:
    return [one.latent for one in FeatureDisplay.of(viewer).shown]


def test_every_tick_is_drawn_in_turn_and_not_in_the_window(
    viewer: ViewerModel, maps: _Maps, qtbot: QtBot
) -> None:
    queue = MapQueue(FeatureDisplay.of(viewer))
    drawn: list[int] = []
    queue.drawn.connect(drawn.append)
    maps.gate.clear()
    for latent in (2, 1, 2, 0):
        queue.show(latent)
    assert (drawn, queue.waiting) == ([], (2, 1, 0))
    maps.gate.set()
    qtbot.waitUntil(lambda: len(drawn) == 3)
    assert maps.made == [("a", 2, False), ("a", 1, False), ("a", 0, False)]
    assert _shown(viewer) == drawn == [2, 1, 0]
    np.testing.assert_array_equal(viewer.layers["a · latent_00001"].data, 1)


def test_of_glances_only_the_last_is_drawn_and_ticks_stay(
    viewer: ViewerModel, maps: _Maps, qtbot: QtBot
) -> None:
    display = FeatureDisplay.of(viewer)
    queue = MapQueue(display)
    maps.gate.clear()
    queue.show(5)
    for latent in (0, 1, 2):
        queue.show(latent, pinned=False)
    assert queue.waiting == (5, 2)
    maps.gate.set()
    qtbot.waitUntil(lambda: len(_shown(viewer)) == 2)
    assert [(one.latent, one.pinned) for one in display.shown] == [(5, True), (2, False)]
    queue.show(5, pinned=False)  # it is kept already, and a look does not change that
    assert display.shown[0].pinned


def test_what_is_unticked_while_it_waits_is_not_drawn(
    viewer: ViewerModel, maps: _Maps, qtbot: QtBot
) -> None:
    queue = MapQueue(FeatureDisplay.of(viewer))
    maps.gate.clear()
    for latent in (0, 1, 2):
        queue.show(latent)
    queue.forget(0)  # is being computed
    queue.forget(1)
    maps.gate.set()
    qtbot.waitUntil(lambda: _shown(viewer) == [2])
    assert [latent for _, latent, _ in maps.made] == [0, 2]


def test_maps_of_an_image_that_was_left_are_dropped(
    viewer: ViewerModel, maps: _Maps, qtbot: QtBot
) -> None:
    queue = MapQueue(FeatureDisplay.of(viewer))
    maps.gate.clear()
    queue.show(0)
    queue.show(1)
    _add(viewer, "b")
    maps.gate.set()
    qtbot.waitUntil(lambda: not queue.waiting and len(maps.made) == 1)
    assert _shown(viewer) == []


def test_a_failure_is_told_and_the_next_map_follows(
    viewer: ViewerModel, maps: _Maps, qtbot: QtBot
) -> None:
    queue = MapQueue(FeatureDisplay.of(viewer))
    told: list[str] = []
    queue.failed.connect(lambda failure: told.append(failure.message))
    queue.show(3)
    queue.show(4)
    qtbot.waitUntil(lambda: _shown(viewer) == [4])
    assert told == ["There is no map of 3. Take another."]


def test_what_is_quick_is_drawn_at_once(
    viewer: ViewerModel, maps: _Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    display = FeatureDisplay.of(viewer)
    queue = MapQueue(display)
    display.keep_map(4, np.zeros((8, 8), np.float32))
    queue.show(4)
    codes = SparseCodes(np.zeros((1, 7), np.uint32), (np.zeros(0, np.uint8),), (np.zeros(0),))
    _add(viewer, "b", replace(TOKENS, codes=codes))
    queue.show(1)
    assert maps.made == [("b", 1, True)]
    assert [layer.name for layer in viewer.layers] == ["a · latent_00004", "b · latent_00001"]
    monkeypatch.setattr(feature_display, "_QUICK_TOKENS", 3)
    assert not display.is_quick(2)
    _add(viewer, "c", None)
    with pytest.raises(TableError, match="Run the analysis"):
        queue.show(0)
