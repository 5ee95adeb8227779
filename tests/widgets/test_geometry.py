"""Where results lie: scale, units, translate, rotation and affine of the image, and micrometres."""

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.widgets.geometry import Geometry


def test_a_layer_made_from_a_stack_lies_on_its_plane() -> None:
    stack = Image(
        np.zeros((4, 8, 6)),
        scale=(1, 0.5, 0.5),
        units=("pixel", "micrometer", "micrometer"),
        translate=(0, 30, -7),
        rotate=(0, 0, 20),
    )
    geometry = Geometry.of_layer(stack)
    result = Labels(np.zeros((8, 6), np.int32), **geometry.layer_options())
    corner = (5.0, 4.0)
    assert result.data_to_world(corner) == pytest.approx(stack.data_to_world((0, *corner))[1:])
    assert result.units == stack.units[-2:]
    assert result.scale == pytest.approx(stack.scale[-2:])
    assert result.translate == pytest.approx(stack.translate[-2:])


@pytest.mark.parametrize(
    ("unit", "scale", "expected"),
    [("micrometer", 0.65, 0.65), ("nm", 650.0, 0.65), ("mm", 0.00065, 0.65), ("pixel", 1.0, None)],
)
def test_pixel_size_in_micrometres(unit: str, scale: float, expected: float | None) -> None:
    layer = Image(np.zeros((4, 4)), scale=(scale, scale), units=(unit, unit))
    size = Geometry.of_layer(layer).pixel_size_um
    assert size == (None if expected is None else pytest.approx(expected))


def test_translate_in_micrometres() -> None:
    layer = Image(np.zeros((4, 4)), translate=(2.0, 3.0), units=("mm", "mm"))
    assert Geometry.of_layer(layer).translate_um == pytest.approx((2000.0, 3000.0))


def test_pixels_that_are_not_square_are_refused() -> None:
    layer = Image(np.zeros((4, 4)), scale=(0.5, 0.6), units=("um", "um"))
    with pytest.raises(ImageReadError, match="not square"):
        _ = Geometry.of_layer(layer).pixel_size_um


def test_an_image_without_layers_lies_by_its_pixel_size() -> None:
    image = MultichannelImage(
        pixels=np.zeros((1, 4, 4), np.uint16),
        channel_names=("a",),
        roles={},
        full_scale=65535.0,
        pixel_size_um=0.6,
        acquisition=Acquisition(id="field"),
        translate_um=(5.0, 6.0),
    )
    layer = Image(np.zeros((4, 4)), **Geometry.of_image(image).layer_options())
    assert Geometry.of_layer(layer).pixel_size_um == pytest.approx(0.6)
    assert Geometry.of_layer(layer).translate_um == pytest.approx((5.0, 6.0))
