"""Points to pixels, checked on planted pixels and against slower ways."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from napari_bio_superposition.widgets.scatter_raster import (
    EMPTY,
    Viewport,
    count_points,
    disc_offsets,
    draw_ranks,
    fill_polygon,
    nearest_rank,
    points_in_mask,
)

_PLAIN = Viewport(8, 6, centre=(4.0, 3.0), scale=(1.0, 1.0))
"""One unit is one pixel, x from 0 to 8 rightwards, y from 0 to 6 upwards."""


def _floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_point_falls_on_its_pixel_and_the_later_one_lies_on_top() -> None:
    ranks = draw_ranks(_floats(2.5, 7.9, 2.2), _floats(0.5, 5.9, 0.1), _PLAIN)
    expected = np.full((6, 8), EMPTY)
    expected[5, 2] = 2  # y = 0 is the lowest row; points 0 and 2 share a pixel
    expected[0, 7] = 1
    np.testing.assert_array_equal(ranks, expected)


def test_points_beyond_the_canvas_or_without_a_place_are_not_drawn() -> None:
    x = _floats(-0.01, 8.0, np.nan, np.inf, 4.0, 4.0)
    y = _floats(3.0, 3.0, 3.0, 3.0, -0.5, 6.5)
    assert (draw_ranks(x, y, _PLAIN, 3) == EMPTY).all()
    assert count_points(x, y, _PLAIN).sum() == 0


def test_discs_are_round_and_cut_off_at_the_edge() -> None:
    assert [len(disc_offsets(d)) for d in (1, 2, 3, 5)] == [1, 5, 9, 21]
    ranks = draw_ranks(_floats(0.5), _floats(5.5), _PLAIN, 5)
    np.testing.assert_array_equal(ranks[0, :4] != EMPTY, [True, True, True, False])
    assert np.count_nonzero(ranks != EMPTY) == 8  # a quarter of the 21 pixels, with its axes


def test_many_points_are_grown_to_the_same_picture_as_few_are_stamped(
    rng: np.random.Generator,
) -> None:
    points = rng.uniform(0, 1, (3000, 2)).astype(np.float32)
    viewport = Viewport.fit(points, 90, 70, equal=False)
    x, y = points.T.copy()
    grown = draw_ranks(x, y, viewport, 5)
    slow = np.full((70, 90), EMPTY)
    columns, rows = (part.astype(int) for part in viewport.to_pixels(x, y))
    for rank, (column, row) in enumerate(zip(columns, rows, strict=True)):
        for down, right in disc_offsets(5):
            if 0 <= row + down < 70 and 0 <= column + right < 90:
                slow[row + down, column + right] = rank
    np.testing.assert_array_equal(grown, slow)


def test_a_lasso_holds_what_lies_inside_by_the_even_odd_rule(rng: np.random.Generator) -> None:
    star = [(50 + 45 * np.sin(a), 40 - 35 * np.cos(a)) for a in 2 * np.pi * np.arange(5) * 0.4]
    mask = fill_polygon(star, 100, 80)
    assert mask[12, 50]  # in the upper tip
    assert not mask[40, 50]  # the middle of a star is passed twice
    ring = rng.uniform(5, 75, (30, 2))
    ring = ring[np.argsort(np.arctan2(*(ring - 40).T))]  # does not cross itself
    rows, columns = np.mgrid[:80, :100] + 0.5
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    expected = Outline(ring).contains_points(centres).reshape(80, 100)
    np.testing.assert_array_equal(fill_polygon(ring, 100, 80), expected)


def test_a_lasso_may_leave_the_canvas_and_a_line_holds_nothing() -> None:
    assert fill_polygon([(-9, -9), (99, -9), (99, 99), (-9, 99)], 8, 6).all()
    assert not fill_polygon([(1, 1), (5, 5)], 8, 6).any()
    assert not fill_polygon([(1, 1), (5, 1), (3, 1)], 8, 6).any()


def test_points_of_a_mask_are_those_of_its_pixels() -> None:
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:6] = True
    x, y = _floats(3.5, 6.0, 5.9, np.nan), _floats(3.9, 3.0, 2.1, 3.0)
    np.testing.assert_array_equal(points_in_mask(x, y, _PLAIN, mask), [True, False, True, False])


def test_the_point_under_the_mouse_is_the_nearest_drawn() -> None:
    ranks = np.full((20, 20), EMPTY, np.int32)
    ranks[10, 10], ranks[10, 13] = 7, 8
    assert nearest_rank(ranks, 11, 10, 4) == 7
    assert nearest_rank(ranks, 12, 10, 4) == 8
    assert nearest_rank(ranks, 0, 0, 4) == EMPTY


def test_zooming_keeps_what_is_under_the_mouse_and_panning_moves_with_it() -> None:
    view = Viewport(200, 100, centre=(3.0, -2.0), scale=(10.0, 20.0))
    assert view.zoomed(2.5, 20, 70).to_data(20, 70) == pytest.approx(view.to_data(20, 70))
    moved = view.panned(30, -12)
    assert moved.to_data(50, 38) == pytest.approx(view.to_data(20, 50))


def test_all_points_fit_with_a_margin_whatever_they_are() -> None:
    points = np.array([[0.0, 5.0], [10.0, 7.0], [np.nan, 1e9]])
    view = Viewport.fit(points, 200, 100)
    assert view.scale[0] == view.scale[1]
    columns, rows = view.to_pixels(*points[:2].T.astype(np.float32))
    assert columns.min() == pytest.approx(10) and rows.max() < 100  # noqa: PT018
    same = Viewport.fit(np.array([[3.0, 4.0], [3.0, 4.0]]), 200, 100)
    assert same.to_data(100, 50) == pytest.approx((3.0, 4.0))
    assert Viewport.fit(np.zeros((0, 2)), 200, 100).scale == (1.0, 1.0)
    wide = view.resized(400, 200)
    assert wide.to_data(0, 0) == pytest.approx(view.to_data(0, 0))
