"""Overlays and result layers on a bare viewer model: colours, scales, tracking, painting."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.overlay_colormaps import overlay_colormaps
from napari_bio_superposition.widgets.overlays import FeatureScales, OverlayLayers, robust_top
from napari_bio_superposition.widgets.result_layers import label_patches, paint_patches


@pytest.fixture
def removed() -> list[int]:
    return []


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def overlays(viewer: ViewerModel, removed: list[int]) -> OverlayLayers:
    return OverlayLayers(viewer.layers, removed.append)


@pytest.fixture
def geometry() -> Geometry:
    image = MultichannelImage(
        pixels=np.zeros((1, 4, 4), np.uint16),
        channel_names=("a",),
        roles={},
        full_scale=65535.0,
        pixel_size_um=0.5,
        acquisition=Acquisition(id="field"),
    )
    return Geometry.of_image(image)


def _values(top: float) -> np.ndarray:
    values = np.linspace(0, top, 16, dtype=np.float32).reshape(4, 4)
    values[0, 0] = np.nan
    return values


def test_each_overlay_takes_the_colours_that_are_free(
    viewer: ViewerModel, overlays: OverlayLayers, geometry: Geometry
) -> None:
    names = [overlays.show(i, _values(1), f"{i}", geometry).colormap.name for i in range(10)]
    assert len(set(names[:8])) == 8
    overlays.hide(2)
    assert overlays.show(20, _values(1), "20", geometry).colormap.name == names[2]
    assert overlays.shown == (0, 1, 3, 4, 5, 6, 7, 8, 9, 20)


def test_showing_again_updates_the_same_layer(
    viewer: ViewerModel, overlays: OverlayLayers, geometry: Geometry
) -> None:
    first = overlays.show(3, _values(1), "a", geometry)
    assert overlays.show(3, _values(2), "b", geometry) is first
    assert len(viewer.layers) == 1
    assert np.nanmax(first.data) == 2.0


def test_only_removal_by_the_user_is_reported(
    viewer: ViewerModel, overlays: OverlayLayers, geometry: Geometry, removed: list[int]
) -> None:
    for latent in (1, 2, 3):
        overlays.show(latent, _values(1), str(latent), geometry)
    overlays.hide(1)
    viewer.layers.remove(overlays.layer(2))
    assert removed == [2]
    assert overlays.shown == (3,)
    viewer.layers.clear()
    assert removed == [2, 3]
    overlays.hide(3)  # gone already
    overlays.show(3, _values(1), "again", geometry)
    assert len(viewer.layers) == 1


def test_closed_overlays_listen_no_longer(
    viewer: ViewerModel, overlays: OverlayLayers, geometry: Geometry, removed: list[int]
) -> None:
    overlays.show(1, _values(1), "1", geometry)
    overlays.close()
    viewer.layers.clear()
    assert removed == []


def test_the_fixed_scale_grows_with_the_images_of_one_model() -> None:
    scales = FeatureScales()
    np.testing.assert_array_equal(scales.include("m1", [1.0, 5.0]), [1.0, 5.0])
    np.testing.assert_array_equal(scales.include("m1", [3.0, 2.0]), [3.0, 5.0])
    np.testing.assert_array_equal(scales.include("m2", [0.5, np.nan]), [0.5, 0.0])


def test_scale_of_the_image_is_robust_and_ignores_silence(
    overlays: OverlayLayers, geometry: Geometry
) -> None:
    values = np.zeros((100, 100), np.float32)
    values[:50] = 2.0
    values[0, 0] = 1000.0
    layer = overlays.show(1, values, "1", geometry)
    overlays.set_top(1, "image", 9.0)
    assert layer.contrast_limits[1] == pytest.approx(2.0)
    overlays.set_top(1, "fixed", 9.0)
    assert layer.contrast_limits == [0.0, 9.0]
    assert robust_top(np.full((3, 3), np.nan, np.float32)) == 0.0


def test_a_silent_feature_can_be_shown(overlays: OverlayLayers, geometry: Geometry) -> None:
    layer = overlays.show(1, np.zeros((4, 4), np.float32), "1", geometry)
    overlays.set_top(1, "image", 0.0)
    assert layer.contrast_limits[1] > 0


def test_colour_maps_are_clear_at_zero_and_solid_at_the_top() -> None:
    colormaps = overlay_colormaps()
    assert len({colormap.name for colormap in colormaps}) == len(colormaps)
    for colormap in colormaps:
        low, high = np.asarray(colormap.map(np.array([0.0, 1.0])))
        assert low[3] == 0.0
        assert high[3] == 1.0


def test_values_are_painted_on_their_patches() -> None:
    origins = np.array([[0, 0], [0, 2], [2, 0], [2, 2]])
    painted = paint_patches(np.array([1.0, 2.0, np.nan, 4.0]), origins, 2, (5, 4))
    nothing = np.nan
    upper, lower = [1, 1, 2, 2], [nothing, nothing, 4, 4]
    expected = [upper, upper, lower, lower]
    np.testing.assert_array_equal(painted[:4], expected)
    assert np.isnan(painted[4]).all()


def test_overlapping_patches_share_their_mean() -> None:
    painted = paint_patches(np.array([1.0, 3.0]), np.array([[0, 0], [0, 1]]), 2, (2, 3))
    np.testing.assert_array_equal(painted, [[1, 2, 3], [1, 2, 3]])


def test_labels_of_patches_count_from_one() -> None:
    labels = label_patches(np.array([[0, 0], [1, 2]]), 2, (3, 4))
    np.testing.assert_array_equal(labels, [[1, 1, 0, 0], [1, 1, 2, 2], [0, 0, 2, 2]])
