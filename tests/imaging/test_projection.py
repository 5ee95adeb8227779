"""Projections over focal planes, checked on planes that were made by hand."""

import dask.array as da
import numpy as np
import pytest

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.stack import Stack
from napari_bio_superposition.imaging.projection import (
    choose_sharpest,
    measure_sharpness,
    project,
)
from napari_bio_superposition.imaging.read_config import ReadConfig


def make_stack(pixels: np.ndarray, present: np.ndarray | None = None) -> Stack:
    present = np.ones(pixels.shape[:2], bool) if present is None else present
    return Stack(
        pixels=da.from_array(pixels, chunks=(1, 1, -1, -1)),
        present=present,
        channel_names=tuple("abcdef"[: len(pixels)]),
    )


def test_maximum_over_all_planes(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 65535, (2, 7, 9, 8), dtype=np.uint16)
    projected, warnings = project(make_stack(pixels), ReadConfig(), "a")
    assert projected.dtype == np.uint16
    assert warnings == ()
    np.testing.assert_array_equal(projected.compute(), pixels.max(axis=1))


def test_a_missing_plane_takes_no_part_and_is_reported() -> None:
    pixels = np.full((2, 3, 8, 8), 7, np.uint16)
    pixels[0, 1] = 99  # what a reader puts in place of the missing plane
    present = np.array([[True, False, True], [True, True, True]])
    projected, warnings = project(make_stack(pixels, present), ReadConfig(), "a")
    np.testing.assert_array_equal(projected.compute(), 7)
    assert warnings == ("1 of 6 planes are missing; the others were projected.",)


def test_a_channel_without_any_plane_is_refused() -> None:
    present = np.array([[True], [False]])
    with pytest.raises(ImageReadError, match="no plane of the channel b"):
        project(make_stack(np.zeros((2, 1, 8, 8), np.uint16), present), ReadConfig(), "a")


def test_no_projection_refuses_several_planes_only() -> None:
    config = ReadConfig(projection="none")
    one = make_stack(np.ones((2, 1, 8, 8), np.uint16))
    assert project(one, config, "a")[0].shape == (2, 8, 8)
    with pytest.raises(ImageReadError, match="3 focal planes and `projection` is none"):
        project(make_stack(np.ones((2, 3, 8, 8), np.uint16)), config, "a")


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    plane = np.zeros((4, 4), np.uint16)
    plane[1, 1] = 10
    # Inner 2 x 2 Laplacians: -40 at the spot, 10 at its two neighbours, 0 at the diagonal one.
    assert measure_sharpness(plane) == pytest.approx(np.var([-40, 10, 10, 0]))


@pytest.mark.parametrize(
    ("sharpest", "n_planes", "expected"),
    [
        (3, 1, slice(3, 4)),
        (3, 3, slice(2, 5)),
        (3, 4, slice(2, 6)),
        (0, 3, slice(0, 3)),
        (6, 3, slice(4, 7)),
        (2, 20, slice(0, 7)),
    ],
)
def test_window_around_the_sharpest_plane(sharpest: int, n_planes: int, expected: slice) -> None:
    planes = np.zeros((7, 8, 8), np.uint16)
    planes[sharpest, 4, 4] = 1000
    assert choose_sharpest(planes, n_planes) == expected


def test_each_channel_has_its_own_focus() -> None:
    pixels = np.zeros((2, 9, 8, 8), np.uint16)
    pixels[0, 2, 4, 4] = 1000
    pixels[1, 7, 4, 4] = 1000
    pixels[:, 4] = 50  # bright haze far from both foci, with nothing sharp in it
    config = ReadConfig(projection="in_focus", in_focus_planes=3)
    projected, _ = project(make_stack(pixels), config, "a")
    expected = np.zeros((2, 8, 8), np.uint16)
    expected[:, 4, 4] = 1000
    np.testing.assert_array_equal(projected.compute(), expected)


def test_only_the_channel_that_is_asked_for_is_read() -> None:
    read: list[int] = []

    def load(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        if block_info:
            read.append(block_info[0]["chunk-location"][0])
        return block

    stack = make_stack(np.ones((3, 4, 8, 8), np.uint16))
    watched = Stack(
        pixels=stack.pixels.map_blocks(load, dtype=np.uint16, meta=np.empty((0,) * 4, np.uint16)),
        present=stack.present,
        channel_names=stack.channel_names,
    )
    projected, _ = project(watched, ReadConfig(), "a")
    assert read == []
    projected[1].compute()
    assert read == [1] * 4
