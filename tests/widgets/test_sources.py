"""Which fields of view the open layers hold, and the images that they make."""

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_bio_superposition.core.errors import ChannelError
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.widgets.result_layers import result_metadata
from napari_bio_superposition.widgets.sources import (
    ImageSource,
    SourcePixels,
    find_sources,
    guess_axes,
)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def _image(id_: str, rng: np.random.Generator) -> MultichannelImage:
    return MultichannelImage(
        pixels=da.from_array(rng.integers(0, 4000, (3, 20, 24), dtype=np.uint16)),
        channel_names=("Hoechst", "TMRM", "Far red"),
        roles={"nuclei": "Hoechst", "lysosomes": "Far red"},
        full_scale=4095.0,
        pixel_size_um=0.6,
        acquisition=Acquisition(id=id_, plate="p1", well="A01"),
        translate_um=(10.0, 20.0),
    )


def _show(viewer: ViewerModel, image: MultichannelImage) -> None:
    for data, options, _ in make_image_layers(image):
        viewer.add_image(data, **options)


def _build(source: ImageSource) -> MultichannelImage:
    return SourcePixels.take(source).build_image(source.roles)


def test_an_image_survives_its_way_through_layers(
    viewer: ViewerModel, rng: np.random.Generator
) -> None:
    image = _image("field1", rng)
    _show(viewer, image)
    (source,) = find_sources(viewer.layers)
    back = _build(source)
    np.testing.assert_array_equal(back.pixels, image.pixels)
    assert back.channel_names == image.channel_names
    assert back.roles == image.roles
    assert back.full_scale == image.full_scale
    assert back.pixel_size_um == pytest.approx(0.6)
    assert back.translate_um == pytest.approx((10.0, 20.0))
    assert back.acquisition == image.acquisition


def test_images_at_the_same_place_stay_apart(viewer: ViewerModel, rng: np.random.Generator) -> None:
    _show(viewer, _image("field1", rng))
    _show(viewer, _image("field2", rng))
    assert [source.name for source in find_sources(viewer.layers)] == ["field1", "field2"]


def test_renaming_a_layer_keeps_its_channel(viewer: ViewerModel, rng: np.random.Generator) -> None:
    _show(viewer, _image("field1", rng))
    viewer.layers[0].name = "my nuclei"
    assert find_sources(viewer.layers)[0].channel_names[0] == "Hoechst"


def test_single_channel_layers_of_one_place_are_one_field(viewer: ViewerModel) -> None:
    for name in ("cells DAPI", "cells TMRM"):
        viewer.add_image(np.zeros((8, 8), np.uint16), name=name)
    viewer.add_image(np.zeros((9, 8), np.uint16), name="other size")
    viewer.add_image(np.zeros((8, 8), np.uint16), name="elsewhere", translate=(50, 0))
    sources = find_sources(viewer.layers)
    assert [source.channel_names for source in sources] == [
        ("cells DAPI", "cells TMRM"),
        ("other size",),
        ("elsewhere",),
    ]
    assert sources[0].name == "cells"


def test_results_labels_and_colour_layers_are_no_source(viewer: ViewerModel) -> None:
    viewer.add_labels(np.zeros((8, 8), int))
    viewer.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True)
    viewer.add_image(np.zeros((8, 8)), metadata=result_metadata("overlay"))
    assert find_sources(viewer.layers) == []


@pytest.mark.parametrize(
    ("shape", "labels", "axes"),
    [
        ((8, 8), None, "YX"),
        ((4, 8, 8), None, "CYX"),
        ((30, 8, 8), None, "ZYX"),
        ((4, 8, 8), ("z", "y", "x"), "ZYX"),
        ((30, 8, 8), ("c", "y", "x"), "CYX"),
        ((30, 4, 8, 8), None, "ZCYX"),
        ((3, 12, 8, 8), None, "CZYX"),
        ((3, 12, 8, 8), ("z", "c", "y", "x"), "ZCYX"),
    ],
)
def test_meaning_of_axes(shape: tuple[int, ...], labels: tuple[str, ...] | None, axes: str) -> None:
    assert guess_axes(Image(np.zeros(shape, np.uint8), axis_labels=labels)) == axes


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX"])
def test_focal_planes_are_projected_by_their_maximum(
    viewer: ViewerModel, rng: np.random.Generator, axes: str
) -> None:
    counts = rng.integers(0, 255, (2, 5, 8, 6), dtype=np.uint8)  # channel, plane
    viewer.add_image(counts if axes == "CZYX" else counts.swapaxes(0, 1))
    image = _build(find_sources(viewer.layers)[0].with_axes(axes))
    np.testing.assert_array_equal(image.pixels, counts.max(axis=1))
    assert image.full_scale == 255.0


def test_the_user_can_say_that_the_first_axis_is_focal_planes(viewer: ViewerModel) -> None:
    viewer.add_image(np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8), name="stack")
    (source,) = find_sources(viewer.layers)
    assert source.axes_choices == ("CYX", "ZYX")
    image = _build(source.with_axes("ZYX"))
    assert image.channel_names == ("stack",)
    np.testing.assert_array_equal(image.channel("stack"), viewer.layers[0].data.max(axis=0))


def test_multiscale_layers_give_their_full_resolution(viewer: ViewerModel) -> None:
    full = np.ones((64, 64), np.uint16)
    viewer.add_image([full, full[::2, ::2]], multiscale=True)
    assert _build(find_sources(viewer.layers)[0]).shape == (64, 64)


def test_layers_of_different_types_are_refused(viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((8, 8), np.uint8))
    viewer.add_image(np.zeros((8, 8), np.uint16))
    with pytest.raises(ChannelError, match="differ in type: uint16, uint8"):
        _build(find_sources(viewer.layers)[0])


def test_repeated_layer_names_become_distinct_channels(viewer: ViewerModel) -> None:
    layers = [Image(np.zeros((8, 8), np.uint8), name="a") for _ in range(2)]
    assert find_sources(layers)[0].channel_names == ("a", "a (2)")
