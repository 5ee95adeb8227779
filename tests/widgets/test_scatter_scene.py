"""The picture of a scatter plot: colours, selection, draft, lasso, export. No screen."""

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.widgets.scatter_colour import (
    MISSING,
    MISSING_COLOUR,
    colour_by_category,
    colour_by_column,
    colour_by_density,
    colour_by_values,
    robust_limits,
)
from napari_bio_superposition.widgets.scatter_scene import DRAFT_POINTS, ScatterScene

_BLACK = (0, 0, 0)


def _colour_at(picture: np.ndarray, place: tuple[float, float] | None) -> tuple[int, int, int]:
    assert place is not None
    value = int(picture[int(place[1]), int(place[0])])
    return value >> 16 & 255, value >> 8 & 255, value & 255


@pytest.fixture
def corners() -> ScatterScene:
    """Return four points at the corners of a square."""
    scene = ScatterScene(100, 100)
    scene.set_points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    return scene


def test_each_point_has_the_colour_of_its_category(corners: ScatterScene) -> None:
    colouring = colour_by_category("well", ["b", "a", "a", None], palette=["#ff0000", "#00ff00"])
    corners.set_colouring(colouring)
    picture = corners.render(_BLACK)
    colours = [_colour_at(picture, corners.place_of(row)) for row in range(4)]
    assert colours == [(0, 255, 0), (255, 0, 0), (255, 0, 0), MISSING_COLOUR]
    assert [(entry.name, entry.count) for entry in colouring.entries] == [("a", 2), ("b", 1)]
    assert _colour_at(picture, (50, 50)) == _BLACK


def test_numbers_are_coloured_between_robust_limits() -> None:
    values = np.append(np.linspace(0, 1, 1001), [1e6, np.nan])
    colouring = colour_by_values("death", values)
    assert colouring.limits == pytest.approx((0.01, 0.99), abs=0.01)
    assert colouring.codes[-1] == MISSING
    assert colouring.codes[0] == 1
    assert colouring.codes[1000] == colouring.codes[1001] == 256
    assert (np.diff(colouring.codes[:1001].astype(int)) >= 0).all()


def test_limits_of_a_feature_that_is_mostly_silent_and_of_none() -> None:
    assert robust_limits(np.append(np.zeros(999), 4.0)) == (0.0, 4.0)
    assert robust_limits(np.full(5, 2.0)) == (2.0, 3.0)
    assert robust_limits(np.full(5, np.nan)) == (0.0, 1.0)


def test_columns_are_numbers_or_categories_by_their_type() -> None:
    assert colour_by_column("n", pd.Series([1, 2, 3])).limits is not None
    assert colour_by_column("n", pd.Series([1, None, 3], dtype="Int64")).codes[1] == MISSING
    for column in (
        pd.Series([True, False]),
        pd.Series(["x", "y"]),
        pd.Series(list("xy")).astype("category"),
    ):
        assert len(colour_by_column("c", column).entries) == 2
    many = colour_by_column("image", pd.Series(np.arange(9000)).astype(str))
    assert many.codes.max() < len(many.table)


def test_selected_points_keep_their_colour_and_the_others_fade(corners: ScatterScene) -> None:
    corners.set_colouring(colour_by_category("c", list("aabb"), palette=["#ff0000", "#0000ff"]))
    corners.set_selected(np.array([True, False, False, False]))
    picture = corners.render(_BLACK)
    assert _colour_at(picture, corners.place_of(0)) == (255, 0, 0)
    faded = _colour_at(picture, corners.place_of(1))
    assert 0 < faded[0] < 128 and faded[1:] == (0, 0)  # noqa: PT018
    corners.set_selected(np.zeros(4, bool))
    assert _colour_at(corners.render(_BLACK), corners.place_of(1)) == (255, 0, 0)


def test_a_selected_point_lies_on_top_of_thousands() -> None:
    scene = ScatterScene(50, 50)
    points = np.full((5000, 2), 0.5)
    points[:2] = 0, 1
    scene.set_points(points)
    for row in (17, 4000):
        mask = np.arange(5000) == row
        scene.set_selected(mask)
        scene.render(_BLACK)
        place = scene.place_of(row)
        assert place is not None
        assert scene.row_at(int(place[0]), int(place[1])) == row


def test_a_lasso_returns_rows_not_drawing_order(rng: np.random.Generator) -> None:
    points = rng.normal(size=(2000, 2))
    scene = ScatterScene(300, 200)
    scene.set_points(points)
    left, top = scene.place_of(int(points[:, 0].argmin())), (0.0, 0.0)
    assert left is not None
    outline = [top, (150.0, 0.0), (150.0, 200.0), (0.0, 200.0)]
    inside = scene.rows_in_polygon(outline)
    np.testing.assert_array_equal(inside, points[:, 0] < scene.viewport.to_data(150, 0)[0])


def test_every_point_can_be_found_by_the_mouse(corners: ScatterScene) -> None:
    corners.render(_BLACK)
    for row in range(4):
        place = corners.place_of(row)
        assert place is not None
        assert corners.row_at(int(place[0]) + 2, int(place[1])) == row
    assert corners.row_at(50, 50) is None
    assert corners.place_of(4) is None


def test_density_is_brightest_where_most_points_fall(rng: np.random.Generator) -> None:
    points = np.concatenate([rng.normal(0, 0.05, (3000, 2)), rng.uniform(-4, 4, (300, 2))])
    scene = ScatterScene(120, 120)
    scene.set_points(points)
    scene.set_colouring(colour_by_density(len(points)))
    codes = scene._density_codes(scene._x, scene._y)
    row, column = np.unravel_index(np.where(codes == 257, 0, codes).argmax(), codes.shape)
    x, y = scene.viewport.to_data(column, row)
    assert abs(x) < 0.5 and abs(y) < 0.5  # noqa: PT018
    assert _colour_at(scene.render((9, 9, 9)), (0, 0)) == (9, 9, 9)


def test_a_draft_is_a_fair_sample_and_the_canvas_grows_with_pixels_only(
    rng: np.random.Generator,
) -> None:
    n_points = DRAFT_POINTS + 50_000
    scene = ScatterScene(60, 40)
    points = np.zeros((n_points, 2), np.float32)
    points[: n_points // 2, 0] = 1.0  # sorted, as tables are
    points[:, 1] = rng.uniform(0, 1, n_points)
    scene.set_points(points)
    assert scene.is_heavy
    share = scene._x[:DRAFT_POINTS].mean()
    assert share == pytest.approx(0.5, abs=0.01)
    assert scene.render(_BLACK, draft=True).shape == (40, 60)
    assert scene.render(_BLACK).nbytes == scene._ranks.nbytes == 4 * 60 * 40


def test_a_plot_without_points_is_an_empty_canvas() -> None:
    scene = ScatterScene(20, 10)
    scene.set_points(np.zeros((0, 2)))
    assert (scene.render(_BLACK) == 0xFF000000).all()
    assert scene.row_at(3, 3) is None


def test_a_view_that_nobody_moved_goes_on_fitting_its_canvas(corners: ScatterScene) -> None:
    corners.resize(300, 200)
    assert corners.viewport.scale[0] == pytest.approx(180)
    corners.viewport = corners.viewport.zoomed(3, 150, 100)
    corners.resize(150, 200)
    assert corners.viewport.scale[0] == pytest.approx(180 * 3 / 2)
    assert corners.viewport.to_data(75, 100) == pytest.approx((0.5, 0.5))
