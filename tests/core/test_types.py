"""Images and patches check what they hold and know who they are."""

import numpy as np
import pytest

from napari_bio_superposition.core.errors import ChannelError, ImageReadError
from napari_bio_superposition.core.types import Acquisition, MultichannelImage


def _image(**changes: object) -> MultichannelImage:
    values: dict[str, object] = {
        "pixels": np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
        "channel_names": ("DAPI", "Mito"),
        "roles": {"nuclei": "DAPI"},
        "full_scale": 65535.0,
        "pixel_size_um": 0.5,
        "acquisition": Acquisition("scan", plate="p1", well="A14", field="2"),
    }
    return MultichannelImage(**(values | changes))  # type: ignore[arg-type]


def test_a_channel_is_found_by_role_and_by_name() -> None:
    image = _image()
    np.testing.assert_array_equal(image.channel("nuclei"), image.pixels[0])
    np.testing.assert_array_equal(image.channel("Mito"), image.pixels[1])


def test_a_missing_channel_is_named_with_those_there_are() -> None:
    with pytest.raises(ChannelError, match=r"'death'.*DAPI, Mito.*nuclei=DAPI"):
        _image().channel("death")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pixels": np.zeros((3, 4))}, ImageReadError),
        ({"channel_names": ("DAPI",)}, ChannelError),
        ({"channel_names": ("DAPI", "DAPI")}, ChannelError),
        ({"roles": {"death": "Sytox"}}, ChannelError),
    ],
)
def test_images_that_contradict_themselves_are_refused(
    changes: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        _image(**changes)


def test_identity_of_a_patch_names_place_and_acquisition_but_no_path() -> None:
    assert _image().acquisition.patch_id(128, 0) == "scan:p1/A14/2/128/0"
    assert Acquisition("scan").patch_id(0, 0) == "scan:-/-/-/0/0"


def test_the_unit_of_inference_is_the_well_or_else_the_image() -> None:
    assert _image().acquisition.group == "p1/A14"
    assert Acquisition("scan").group == "scan"
