"""Drawing features on a bare viewer model: glances, looks, contours, several images."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from napari.components import ViewerModel
from tests.widgets.test_study import MODELS, make_analysis

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.widgets.contours import draw_contours
from napari_bio_superposition.widgets.feature_display import FeatureDisplay
from napari_bio_superposition.widgets.overlay_colormaps import COLORMAP_NAMES, overlay_colormap
from napari_bio_superposition.widgets.study import OpenImage, Study

MAPS = {0: np.full((8, 8), 0.5, np.float32), 1: np.eye(8, dtype=np.float32)}


@dataclass(frozen=True, eq=False)
class _Provenance:
    models: dict[str, str]


@dataclass(frozen=True, eq=False)
class _Tokenised:
    """An analysis with something in place of tokens; maps are those of the test."""

    image: Any
    patches: Any
    table: Any
    tokens: Any = True
    provenance: Any = _Provenance({"small": "hash"})


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> ViewerModel:
    monkeypatch.setattr(OpenImage, "overlay", lambda _, latent: MAPS[latent].copy())
    viewer = ViewerModel()
    viewer.add_image(np.zeros((8, 8)), name="dna")
    FeatureDisplay.of(viewer)
    _add(viewer, "a")
    return viewer


def _add(viewer: ViewerModel, image_id: str, top: float = 2.0) -> None:
    analysis = make_analysis(image_id)
    assert analysis.table is not None
    analysis.table.var[Keys.MAX_ACTIVATION] = top
    Study.of(viewer).add_analysis(
        _Tokenised(analysis.image, analysis.patches, analysis.table), MODELS
    )


def _layers(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers][1:]


def test_a_glance_takes_over_the_layer_of_the_last_one(viewer: ViewerModel) -> None:
    display, removed = FeatureDisplay.of(viewer), []
    display.removed.connect(removed.append)
    first = display.show(0, pinned=False)
    second = display.show(1, pinned=False)
    assert second is first
    assert _layers(viewer) == ["a · latent_00001"]
    assert removed == [0]
    display.show(1)  # kept now
    display.show(0, pinned=False)
    assert _layers(viewer) == ["a · latent_00001", "a · latent_00000"]
    assert [(one.latent, one.pinned) for one in display.shown] == [(1, True), (0, False)]
    np.testing.assert_array_equal(viewer.layers["a · latent_00000"].data, MAPS[0])


def test_one_scale_for_all_images_and_one_per_image(viewer: ViewerModel) -> None:
    display = FeatureDisplay.of(viewer)
    layer = display.show(1)
    assert layer.contrast_limits == [0.0, 2.0]
    display.set_look(scale_mode="image")
    assert layer.contrast_limits == [0.0, 1.0]
    display.set_look(scale_mode="fixed")
    _add(viewer, "b", top=5.0)
    assert display.show(1).contrast_limits == [0.0, 5.0]
    assert _layers(viewer) == ["a · latent_00001", "b · latent_00001"]


def test_contours_leave_the_image_in_sight_and_come_back_filled(viewer: ViewerModel) -> None:
    display = FeatureDisplay.of(viewer)
    display.set_look(scale_mode="image", style="contour", blending="additive")
    layer = display.show(1)
    assert layer.blending == "additive"
    assert set(np.unique(layer.data[np.isfinite(layer.data)])) == {0.75}
    assert np.isnan(layer.data[0, 3])
    display.set_look(style="fill")
    np.testing.assert_array_equal(layer.data, MAPS[1])


def test_colours_can_be_chosen_and_jet_is_one_of_them(viewer: ViewerModel) -> None:
    display = FeatureDisplay.of(viewer)
    display.show(0)
    display.set_colormap(0, "jet")
    assert display.shown[0].colormap == "jet"
    assert COLORMAP_NAMES[0] == "inferno"
    for name in COLORMAP_NAMES:
        opacity = np.asarray(overlay_colormap(name).colors)[:, 3]
        assert opacity[0] == 0
        assert opacity[-1] == 1


def test_a_deleted_layer_and_another_result_are_noticed(viewer: ViewerModel) -> None:
    display = FeatureDisplay.of(viewer)
    layer = display.show(0)
    display.show(1)
    viewer.layers.remove(layer)
    assert [one.latent for one in display.shown] == [1]
    _add(viewer, "a")
    assert display.shown == ()
    assert _layers(viewer) == []


def test_without_features_one_sentence_says_what_to_do(viewer: ViewerModel) -> None:
    study = Study.of(viewer)
    bare = replace(study.images["a"].analysis, tokens=None)
    study.add_analysis(bare, MODELS)
    with pytest.raises(TableError, match="Run the analysis"):
        FeatureDisplay.of(viewer).show(0)


def test_a_contour_runs_along_the_inner_edge() -> None:
    values: npt.NDArray[np.float32] = np.zeros((7, 7), np.float32)
    values[2:5, 2:5] = 1
    values[3, 3] = 4
    values[0, 6] = np.nan
    drawn = draw_contours(values, [0.5, 3.0])
    ring = np.full((7, 7), np.nan, np.float32)
    ring[2:5, 2:5] = 0.5
    ring[3, 3] = 3
    np.testing.assert_array_equal(drawn, ring)
