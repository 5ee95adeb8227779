"""Canvas and selection on a bare viewer model: clicks, marks, layers that come and go."""

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.widgets.test_study import MODELS, make_analysis

from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.image_link import ImageLink
from napari_bio_superposition.widgets.patch_grid import frame_patches, selection_colours
from napari_bio_superposition.widgets.study import Study


@pytest.fixture
def viewer() -> ViewerModel:
    """Return a viewer with an image of 2 x 2 patches of 4 px of 0.5 um, one of them rejected."""
    viewer = ViewerModel()
    viewer.add_image(np.zeros((8, 8)), name="dna", scale=(0.5, 0.5), translate=(10, 20))
    geometry = Geometry.of_layer(viewer.layers[0])
    ImageLink.of(viewer)
    Study.of(viewer).add_analysis(make_analysis("a"), MODELS, geometry=geometry)
    return viewer


def test_a_click_selects_the_patch_below_it(viewer: ViewerModel) -> None:
    link, selection = ImageLink.of(viewer), Study.of(viewer).selection
    link.click((10.5, 22.5))  # pixel (1, 5): the second patch
    assert selection.rows.tolist() == [1]
    link.click((11.9, 20.1), "add")  # pixel (4, 0): the third one
    assert selection.rows.tolist() == [1, 2]
    link.click((10.5, 22.5), "toggle")
    assert selection.rows.tolist() == [2]
    link.click((13, 23), "add")  # the rejected one has no row
    assert selection.rows.tolist() == [2]
    link.click((0, 0))
    assert len(selection) == 0


def test_selected_patches_are_marked_and_the_layer_is_made_once(viewer: ViewerModel) -> None:
    link, selection = ImageLink.of(viewer), Study.of(viewer).selection
    assert len(viewer.layers) == 1
    active = viewer.layers.selection.active
    selection.select([0, 2], source="plot")
    grid = link.grid("a")
    assert grid is not None
    assert viewer.layers.selection.active is active
    colours = np.asarray(grid.layer.colormap.map(grid.layer.data))
    assert (colours[:4, :4, 3] > 0).all()
    assert (colours[:4, 4:, 3] == 0).all()
    np.testing.assert_allclose(grid.layer.translate, (10, 20))
    grid.layer.name, grid.layer.visible = "mine", False
    selection.undo()
    assert len(viewer.layers) == 2
    assert np.asarray(grid.layer.colormap.map(grid.layer.data))[..., 3].max() == 0


def test_deleted_marks_come_back_and_leave_with_the_image(viewer: ViewerModel) -> None:
    link, study = ImageLink.of(viewer), Study.of(viewer)
    study.selection.select([0])
    viewer.layers.remove(viewer.layers["a · selected"])
    assert link.grid("a") is None
    study.selection.select([1])
    assert "a · selected" in viewer.layers
    viewer.layers.remove(viewer.layers["dna"])
    assert dict(study.images) == {}
    assert len(viewer.layers) == 0
    assert study.selection.rows.tolist() == [1]  # its rows are still in the table


def test_an_active_brush_keeps_its_clicks(viewer: ViewerModel) -> None:
    link = ImageLink.of(viewer)
    assert link.is_looking
    labels = viewer.add_labels(np.zeros((8, 8), int))
    labels.mode = "paint"
    assert not link.is_looking
    labels.mode = "pan_zoom"
    assert link.is_looking


def test_another_result_of_the_image_moves_the_marks(viewer: ViewerModel) -> None:
    link, study = ImageLink.of(viewer), Study.of(viewer)
    study.selection.select([1])
    first = link.grid("a")
    study.add_analysis(make_analysis("a", value=3.0), MODELS)
    second = link.grid("a")
    assert second is not first
    assert [layer.name for layer in viewer.layers] == ["dna", "a · selected"]


def test_the_best_centred_of_overlapping_patches_is_meant(viewer: ViewerModel) -> None:
    image = Study.of(viewer).images["a"]
    patches = image.analysis.patches
    patches.origins[:3] = [(0, 0), (0, 2), (4, 0)]
    assert image.patches_at((1, 3)).tolist() == [1, 0]
    assert image.patches_at((7, 7)).tolist() == []


def test_each_patch_has_a_label_inside_and_one_around() -> None:
    labels = frame_patches(np.array([(0, 0), (0, 40)]), 40, (50, 90))
    assert labels[0, 0] == labels[39, 20] == 2
    assert labels[20, 20] == 1
    assert labels[20, 60] == 3
    assert labels[45, 5] == labels[5, 85] == 0
    colours = selection_colours(np.array([False, True]))
    assert (colours[[0, 1, 2], 3] == 0).all()
    assert colours[4, 3] > colours[3, 3] > 0
