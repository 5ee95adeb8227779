"""Regions from layers, selected patches, nuclei and groups, on the pixels of the image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.widgets.test_study import MODELS, make_analysis

from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.region_sources import (
    find_region_sources,
    make_drawn_layer,
    make_painted_layer,
    read_regions,
)
from napari_bio_superposition.widgets.result_layers import result_metadata
from napari_bio_superposition.widgets.study import OpenImage, Study


@dataclass(frozen=True, eq=False)
class _Labelled:
    image: Any
    patches: Any
    table: Any
    labels: Any


@pytest.fixture
def viewer() -> ViewerModel:
    """Return a viewer with an image of 8 x 8 px of 0.5 um at (10, 20), with two nuclei."""
    viewer = ViewerModel()
    viewer.add_image(np.zeros((8, 8)), name="dna", scale=(0.5, 0.5), translate=(10, 20))
    analysis = make_analysis("a")
    labels = np.zeros((8, 8), np.int32)
    labels[1:3, 1:3], labels[5:7, 5:7] = 1, 2
    geometry = Geometry.of_layer(viewer.layers[0])
    Study.of(viewer).add_analysis(
        _Labelled(analysis.image, analysis.patches, analysis.table, labels),
        MODELS,
        geometry=geometry,
    )
    return viewer


def _read(viewer: ViewerModel, title: str) -> dict[str, Any]:
    study = Study.of(viewer)
    image = _image(viewer)
    sources = find_region_sources(viewer.layers, study, image)
    source = next(source for source in sources if source.title == title)
    return dict(read_regions(source, viewer.layers, study, image))


def _image(viewer: ViewerModel) -> OpenImage:
    image = Study.of(viewer).current
    assert image is not None
    return image


def test_each_painted_colour_is_a_region(viewer: ViewerModel) -> None:
    layer = make_painted_layer(_image(viewer))
    viewer.add_layer(layer)
    assert layer.mode == "paint"
    with pytest.raises(RegionError, match="empty"):
        _read(viewer, layer.name)
    layer.data[0, :2], layer.data[5, 5] = 1, 3
    regions = _read(viewer, layer.name)
    assert list(regions) == ["ROI 1", "ROI 3"]
    assert np.argwhere(regions["ROI 3"]).tolist() == [[5, 5]]


def test_a_labels_layer_that_lies_elsewhere_is_brought_onto_the_image(viewer: ViewerModel) -> None:
    other = np.zeros((4, 4), np.uint8)
    other[1, 2] = 1  # pixels of 1 um: rows 2 and 3, columns 4 and 5 of the image
    viewer.add_labels(other, name="coarse", scale=(1.0, 1.0), translate=(10.25, 20.25))
    (mask,) = _read(viewer, "coarse").values()
    assert np.argwhere(mask).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_each_drawn_shape_is_a_region(viewer: ViewerModel) -> None:
    layer = make_drawn_layer(_image(viewer))
    viewer.add_layer(layer)
    with pytest.raises(RegionError, match="Draw"):
        _read(viewer, layer.name)
    layer.add_rectangles(np.array([[0.5, 0.5], [0.5, 3.5], [3.5, 3.5], [3.5, 0.5]]))
    layer.add_ellipses(np.array([[0, 4], [0, 8], [4, 8], [4, 4]]))
    regions = _read(viewer, layer.name)
    assert list(regions) == ["Shape 1", "Shape 2"]
    assert regions["Shape 1"].sum() == 9
    assert regions["Shape 2"][2, 6]
    assert not regions["Shape 2"][0, 4]


def test_selected_patches_groups_and_nuclei_are_regions(viewer: ViewerModel) -> None:
    study = Study.of(viewer)
    with pytest.raises(RegionError, match="No patch"):
        _read(viewer, "Selected patches")
    study.selection.select([1])
    study.save_group("right")
    mask = _read(viewer, "Selected patches")["Selected patches"]
    assert mask[:4, 4:].all()
    assert mask.sum() == 16
    np.testing.assert_array_equal(_read(viewer, "Group right")["Group right"], mask)
    assert _read(viewer, "All nuclei")["All nuclei"].sum() == 8
    labels = np.asarray(_image(viewer).analysis.labels)
    nuclei = viewer.add_labels(labels, metadata=result_metadata("nuclei"))
    nuclei.selected_label = 2
    assert np.argwhere(_read(viewer, "Picked nucleus")["Picked nucleus"])[0].tolist() == [5, 5]
    nuclei.selected_label = 9
    with pytest.raises(RegionError, match="No nucleus"):
        _read(viewer, "Picked nucleus")


def test_our_results_are_no_regions(viewer: ViewerModel) -> None:
    viewer.add_labels(np.zeros((8, 8), int), name="ours", metadata=result_metadata("nuclei"))
    titles = [s.title for s in find_region_sources(viewer.layers, Study.of(viewer), _image(viewer))]
    assert "ours" not in titles
