"""The steps between network and labels, with planted polygons and a network of random weights."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.errors import DeviceError, ModelError
from napari_bio_superposition.core.progress import Progress, run
from napari_bio_superposition.segmentation.stardist import (
    Candidates,
    StarDistModel,
    find_candidates,
    render_labels,
    suppress,
)
from napari_bio_superposition.segmentation.unet import StarDistNet, UNetConfig

Draw = Callable[..., tuple[np.ndarray, np.ndarray]]


def discs(*circles: tuple[int, int, float, float]) -> Candidates:
    """Return polygons for (y, x, radius, probability)."""
    points = np.array([circle[:2] for circle in circles])
    dist = np.array([[circle[2]] * 32 for circle in circles], np.float32)
    return Candidates(points, np.array([c[3] for c in circles], np.float32), dist)


def test_the_more_probable_of_two_that_overlap_stays() -> None:
    found = discs((20, 20, 10, 0.6), (21, 21, 10, 0.9), (60, 60, 10, 0.5))
    kept = run(suppress(found, nms_threshold=0.3))
    np.testing.assert_array_equal(kept.points, [[21, 21], [60, 60]])


def test_a_small_overlap_is_allowed() -> None:
    found = discs((20, 20, 10, 0.6), (20, 38, 10, 0.9))
    assert len(run(suppress(found, nms_threshold=0.3))) == 2


def test_suppression_in_slices_equals_one_call_of_stardist(rng: np.random.Generator) -> None:
    from stardist.nms import non_maximum_suppression_sparse

    n = 2500  # three slices
    points = rng.integers(0, 300, (n, 2))
    dist = rng.uniform(4, 12, (n, 32)).astype(np.float32)
    prob = rng.permutation(n).astype(np.float32) / n
    *_, expected = non_maximum_suppression_sparse(dist, prob, points, nms_thresh=0.3)
    kept = run(suppress(Candidates(points, prob, dist), nms_threshold=0.3))
    np.testing.assert_array_equal(kept.points, points[np.asarray(expected)])


def test_nothing_found_stays_nothing() -> None:
    nothing = Candidates.none(32)
    assert len(run(suppress(nothing, nms_threshold=0.3))) == 0
    assert not render_labels(nothing, (5, 7)).any()


def test_a_drawn_disc_has_the_area_of_its_polygon() -> None:
    labels = render_labels(discs((30, 40, 10, 0.9)), (60, 80))
    # A regular 32-gon: n / 2 * sin(2 pi / n) * r^2.
    assert (labels == 1).sum() == pytest.approx(16 * np.sin(2 * np.pi / 32) * 100, rel=0.03)
    np.testing.assert_allclose(np.argwhere(labels).mean(axis=0), [30, 40], atol=0.1)


def test_the_more_probable_is_drawn_on_top() -> None:
    labels = render_labels(discs((20, 20, 8, 0.9), (20, 26, 8, 0.6)), (40, 50))
    assert labels[20, 23] == 1
    assert labels[20, 30] == 2


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_labels_keep_the_size_of_the_image(scale: float) -> None:
    # The centre of pixel 60 in an image half as large lies between the pixels 120 and 121.
    radius = 8 * scale
    labels = render_labels(discs((60, 62, radius, 0.9)), (160, 160), scale=scale)
    expected = np.array([60.5, 62.5]) / scale - 0.5
    np.testing.assert_allclose(np.argwhere(labels).mean(axis=0), expected, atol=0.3)
    assert (labels > 0).sum() == pytest.approx(np.pi * 64, rel=0.1)


def smooth_noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    return (noise / noise.std()).astype(np.float32)


def candidates_by_tiles(
    model: StarDistModel, plane: np.ndarray, tile_px: int
) -> tuple[Candidates, list[Progress]]:
    reports: list[Progress] = []
    threshold = 0.05
    job = find_candidates(model, plane, prob_threshold=threshold, tile_px=tile_px)
    return run(job, reports.append), reports


@pytest.mark.parametrize("shape", [(128, 128), (131, 250), (300, 97)])
def test_tiles_do_not_change_the_result(
    small_model: StarDistModel, rng: np.random.Generator, shape: tuple[int, int]
) -> None:
    plane = smooth_noise(shape, rng)
    whole, _ = candidates_by_tiles(small_model, plane, 1024)
    tiled, reports = candidates_by_tiles(small_model, plane, 64)
    assert len(whole) > 50
    np.testing.assert_array_equal(tiled.points, whole.points)
    np.testing.assert_allclose(tiled.prob, whole.prob, atol=1e-5)
    np.testing.assert_allclose(tiled.dist, whole.dist, atol=1e-4)
    assert reports[0].done == 0
    assert reports[-1].done == reports[-1].total == len(reports) - 1
    assert reports[-1].unit == "tiles"


def test_no_centre_lies_at_the_rim_or_outside(
    small_model: StarDistModel, rng: np.random.Generator
) -> None:
    # 33 px are padded to 40: StarDist leaves out 2 grid cells of the padded map, and what is beyond
    # the image.
    everything = find_candidates(
        small_model, smooth_noise((33, 40), rng), prob_threshold=0.0, tile_px=1024
    )
    points = run(everything).points
    assert points[:, 0].min() == points[:, 1].min() == 4
    assert points[:, 0].max() == 32
    assert points[:, 1].max() == 34


def test_a_model_may_look_for_centres_up_to_the_rim(
    small_model: StarDistModel, rng: np.random.Generator
) -> None:
    model = replace(small_model, border_cells=0)
    plane = smooth_noise((33, 40), rng)
    points = run(find_candidates(model, plane, prob_threshold=0.0, tile_px=16)).points
    assert len(points) == 17 * 20
    assert points.max(axis=0).tolist() == [32, 38]


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 3), (17, 2)])
def test_tiny_images_pass(small_model: StarDistModel, shape: tuple[int, int]) -> None:
    job = find_candidates(small_model, np.ones(shape, np.float32), prob_threshold=0.5, tile_px=128)
    assert (run(job).points < shape).all()


class SmallMemory(StarDistNet):
    """A network on a device whose memory ends above a number of pixels."""

    def __init__(self, config: UNetConfig, most_px: int) -> None:
        super().__init__(config)
        self.most_px = most_px

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if image.numel() > self.most_px:
            raise torch.OutOfMemoryError("planted")
        return super().forward(image)


def with_memory(model: StarDistModel, most_px: int) -> StarDistModel:
    net = SmallMemory(model.net.config, most_px).eval()
    net.load_state_dict(model.net.state_dict())
    return replace(model, net=net)


def test_out_of_memory_goes_on_with_smaller_tiles(
    small_model: StarDistModel, rng: np.random.Generator
) -> None:
    plane = smooth_noise((256, 200), rng)
    whole, _ = candidates_by_tiles(small_model, plane, 1024)
    limited, reports = candidates_by_tiles(with_memory(small_model, 160 * 160), plane, 1024)
    np.testing.assert_array_equal(limited.points, whole.points)
    assert "out of memory" in reports[1].notice
    assert reports[-1].done == reports[-1].total


def test_a_device_without_any_memory_is_one_clear_error(small_model: StarDistModel) -> None:
    model = with_memory(small_model, 0)
    with pytest.raises(DeviceError, match="device cpu"):
        candidates_by_tiles(model, np.ones((64, 64), np.float32), 64)


def test_damaged_weights_are_noticed(small_model: StarDistModel) -> None:
    small_model.net.get_parameter("prob.bias").fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        candidates_by_tiles(small_model, np.ones((16, 16), np.float32), 64)
