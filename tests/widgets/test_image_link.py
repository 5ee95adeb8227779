"""Canvas and selection on a bare viewer model: clicks, marks, layers that come and go."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from tests.widgets.test_study import MODELS, make_analysis

from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.image_link import ImageLink
from napari_bio_superposition.widgets.selection_marks import (
    SelectionMarks,
    frame_patches,
    nuclei_in_patches,
)
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
    marks = link.marks("a")
    assert marks is not None
    assert viewer.layers.selection.active is active
    colours = np.asarray(marks.layer.colormap.map(marks.layer.data))
    assert (colours[:4, :4, 3] > 0).all()
    assert (colours[:4, 4:, 3] == 0).all()
    np.testing.assert_allclose(marks.layer.translate, (10, 20))
    marks.layer.name, marks.layer.visible = "mine", False
    selection.undo()
    assert len(viewer.layers) == 2
    assert np.asarray(marks.layer.colormap.map(marks.layer.data))[..., 3].max() == 0


def test_deleted_marks_come_back_and_leave_with_the_image(viewer: ViewerModel) -> None:
    link, study = ImageLink.of(viewer), Study.of(viewer)
    study.selection.select([0])
    viewer.layers.remove(viewer.layers["a · selected"])
    assert link.marks("a") is None
    study.selection.select([1])
    assert "a · selected" in viewer.layers
    viewer.layers.remove(viewer.layers["dna"])
    assert dict(study.images) == {}
    assert len(viewer.layers) == 0
    assert study.selection.rows.tolist() == [1]  # its rows are still in the table


def test_marks_are_prepared_once_hidden_and_not_again_once_deleted(viewer: ViewerModel) -> None:
    link, selection = ImageLink.of(viewer), Study.of(viewer).selection
    active = viewer.layers.selection.active
    assert link.prepare()
    assert not link.prepare()
    layer = viewer.layers["a · selected"]
    assert not layer.visible
    assert viewer.layers.selection.active is active
    selection.select([1])
    assert layer.visible
    assert len(viewer.layers) == 2
    viewer.layers.remove(layer)
    assert not link.prepare()  # the user does not want it now
    selection.select([0])
    assert viewer.layers["a · selected"].visible


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
    first = link.marks("a")
    study.add_analysis(make_analysis("a", value=3.0), MODELS)
    second = link.marks("a")
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


def test_nuclei_belong_to_the_patches_that_hold_their_centre() -> None:
    nuclei = np.zeros((8, 16), np.int32)
    nuclei[1:3, 1:3] = 4
    nuclei[2:6, 7:12] = 2  # its centre, 3.5 and 9, lies in the second patch
    pairs = nuclei_in_patches(nuclei, np.array([[0, 0], [0, 8], [0, 0]]), 8)
    assert sorted(map(tuple, pairs.tolist())) == [(2, 1), (4, 0), (4, 2)]
    assert nuclei_in_patches(np.zeros((4, 4), np.int32), np.zeros((0, 2), int), 2).shape == (0, 2)


def test_a_selected_patch_shows_its_fill_its_frame_and_its_own_nuclei() -> None:
    nuclei = np.zeros((40, 80), np.int32)
    nuclei[10:20, 10:20] = 7  # in the first patch
    nuclei[10:20, 35:60] = 3  # begins in the first patch, belongs to the second one
    geometry = Geometry.of_layer(Image(nuclei))
    origins = np.array([(0, 0), (0, 40)])
    marks = SelectionMarks(origins, 40, nuclei, nuclei.shape, geometry, "marks")
    assert not marks.layer.visible  # until something is marked
    marks.mark(np.array([True, False]))
    assert marks.layer.visible
    opacity = np.asarray(marks.layer.colormap.map(marks.layer.data))[..., 3]
    fill, frame, nucleus = opacity[30, 30], opacity[0, 0], opacity[15, 15]
    assert 0 < fill < nucleus < frame == 1
    assert opacity[15, 37] == fill  # the other patch's nucleus hides nothing
    assert not opacity[:, 40:].any()
    marks.layer.visible = False
    marks.mark(np.array([False, True]))
    assert not marks.layer.visible  # the user hid it
    opacity = np.asarray(marks.layer.colormap.map(marks.layer.data))[..., 3]
    np.testing.assert_allclose(opacity[15, [15, 37, 50, 65]], [0, nucleus, nucleus, fill])
