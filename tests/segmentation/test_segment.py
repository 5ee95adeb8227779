"""Nuclei end to end, with the bundled weights."""

from collections.abc import Callable

import numpy as np
import pytest
from stardist.data import test_image_nuclei_2d as nuclei_image
from stardist.matching import matching

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.segmentation import SegmentationConfig, load_stardist, segment_nuclei
from napari_bio_superposition.segmentation.segment import clean_labels, network_scale
from napari_bio_superposition.segmentation.stardist import StarDistModel

Draw = Callable[..., tuple[np.ndarray, np.ndarray]]
METHODS = ["stardist", "watershed"]


@pytest.fixture(scope="module")
def bundled() -> StarDistModel:
    return load_stardist("bundled")


@pytest.fixture
def planted(draw_discs: Draw, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy 16-bit image of twelve discs of radius 8 to 16, and their labels."""
    discs = [
        (30 + 50 * i, 30 + 50 * j, float(rng.uniform(8, 16))) for i in range(3) for j in range(4)
    ]
    image, labels = draw_discs((160, 210), discs)
    return (image * 3000 + 1000 + rng.normal(0, 60, image.shape)).astype(np.uint16), labels


@pytest.mark.parametrize("method", METHODS)
def test_planted_discs_are_recovered(
    planted: tuple[np.ndarray, np.ndarray], bundled: StarDistModel, method: str
) -> None:
    image, truth = planted
    labels = run(segment_nuclei(image, SegmentationConfig(method=method), model=bundled))
    assert labels.dtype == np.int32
    found = matching(truth, labels, thresh=0.75)
    assert (found.tp, found.fp, found.fn) == (12, 0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_type_and_gain_do_not_matter(
    planted: tuple[np.ndarray, np.ndarray], bundled: StarDistModel, method: str
) -> None:
    image, _ = planted
    config = SegmentationConfig(method=method)
    expected = run(segment_nuclei(image, config, model=bundled))
    changed = run(segment_nuclei(image.astype(np.float64) / 65535, config, model=bundled))
    assert matching(expected, changed, thresh=0.95).fn == 0


def test_tiles_give_the_same_nuclei(bundled: StarDistModel) -> None:
    image = nuclei_image()[:400, :330]
    whole = run(segment_nuclei(image, model=bundled))
    tiled = run(segment_nuclei(image, SegmentationConfig(tile_px=128), model=bundled))
    np.testing.assert_array_equal(whole, tiled)


def test_an_enlarged_image_is_segmented_at_its_scale(
    planted: tuple[np.ndarray, np.ndarray], bundled: StarDistModel
) -> None:
    image, truth = (np.kron(a, np.ones((4, 4), a.dtype)) for a in planted)
    labels = run(segment_nuclei(image, pixel_size_um=0.1, model=bundled))
    assert labels.shape == image.shape
    found = matching(truth, labels, thresh=0.75)
    assert (found.tp, found.fp, found.fn) == (12, 0, 0)


@pytest.mark.parametrize(
    ("scale", "pixel_size_um", "expected"),
    [(None, None, 1), (None, 0.65, 1), (None, 0.1, 0.25), (2.0, 0.1, 2), (None, 0.0, 1)],
)
def test_only_fine_pixels_are_resized(
    scale: float | None, pixel_size_um: float | None, expected: float
) -> None:
    assert network_scale(SegmentationConfig(scale=scale), pixel_size_um) == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "plane",
    [np.zeros((1, 1), np.uint16), np.full((70, 50), 7.5), np.ones((3, 200), bool)],
    ids=["1x1", "constant", "constant mask"],
)
def test_a_plane_without_contrast_has_no_nuclei(plane: np.ndarray, method: str) -> None:
    labels = run(segment_nuclei(plane, SegmentationConfig(method=method)))
    assert labels.shape == plane.shape
    assert not labels.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (1, 300), (5, 5)])
def test_tiny_planes_pass(
    rng: np.random.Generator, bundled: StarDistModel, shape: tuple[int, int], method: str
) -> None:
    plane = rng.integers(0, 255, shape).astype(np.uint8)
    labels = run(segment_nuclei(plane, SegmentationConfig(method=method), model=bundled))
    assert labels.shape == shape


def test_noise_alone_has_hardly_any_nuclei(
    rng: np.random.Generator, bundled: StarDistModel
) -> None:
    plane = rng.poisson(100, (256, 256)).astype(np.uint16)
    assert run(segment_nuclei(plane, model=bundled)).max() <= 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    plane = np.zeros((20, 20))
    plane[3, 4] = bad
    with pytest.raises(ImageReadError, match="1 pixels that are NaN or infinite"):
        run(segment_nuclei(plane))


@pytest.mark.parametrize(
    "plane", [np.zeros((2, 5, 5)), np.zeros((0, 5)), np.zeros((5, 5), complex), np.zeros(5)]
)
def test_what_is_not_a_plane_is_refused(plane: np.ndarray) -> None:
    with pytest.raises(ImageReadError, match=r"nuclear channel|2D plane"):
        run(segment_nuclei(plane))


def test_labels_are_cleaned_and_numbered_in_order() -> None:
    labels = np.zeros((6, 8), np.int32)
    labels[0, 0:3] = 2  # touches the border
    labels[2:4, 2:4] = 5
    labels[2, 5] = 7  # one pixel
    labels[4, 4:7] = 9
    everything = clean_labels(labels)
    assert [everything[p] for p in [(0, 0), (2, 2), (2, 5), (4, 4)]] == [1, 2, 3, 4]
    large = clean_labels(labels, min_area_px=3, exclude_border=True)
    assert [large[p] for p in [(0, 0), (2, 2), (2, 5), (4, 4)]] == [0, 1, 0, 2]
    assert clean_labels(labels, min_area_px=100).max() == 0


def test_accuracy_on_the_image_that_comes_with_stardist(bundled: StarDistModel) -> None:
    image, truth = nuclei_image(return_mask=True)
    labels = run(segment_nuclei(image, model=bundled))
    assert matching(truth, labels, thresh=0.5).accuracy >= 0.8
