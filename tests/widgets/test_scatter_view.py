"""The scatter canvas under real mouse and keys."""

from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent

from napari_bio_superposition.widgets.scatter_colour import colour_by_category, colour_by_values
from napari_bio_superposition.widgets.scatter_scene import DRAFT_POINTS
from napari_bio_superposition.widgets.scatter_view import ScatterView

pytestmark = pytest.mark.gui

_GRID = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1).reshape(-1, 2)
_LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def view(qtbot: QtBot) -> ScatterView:
    """Return a canvas with 5 x 5 points on screen."""
    view = ScatterView()
    qtbot.addWidget(view)
    view.resize(300, 300)
    view.show()
    qtbot.waitExposed(view)
    view.set_points(_GRID)
    view.grab()
    return view


def _place(view: ScatterView, row: int) -> QPoint:
    place = view.scene.place_of(row)
    assert place is not None
    return QPointF(*place).toPoint()


def _drag(qtbot: QtBot, view: ScatterView, places: list[QPoint], **options: Any) -> None:
    button = options.pop("button", _LEFT)
    qtbot.mousePress(view, button, pos=places[0], **options)
    for place in places[1:]:
        qtbot.mouseMove(view, place)
    qtbot.mouseRelease(view, button, pos=places[-1], **options)


def _around(view: ScatterView, first: int, last: int) -> tuple[QPoint, QPoint]:
    low, high = _place(view, first), _place(view, last)
    return QPoint(low.x() - 9, low.y() + 9), QPoint(high.x() + 9, high.y() - 9)


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_lasso_chooses_what_it_surrounds(
    qtbot: QtBot, view: ScatterView, is_closed: bool
) -> None:
    start, end = _around(view, 0, 6)  # the lower left 2 x 2
    outline = [start, QPoint(start.x(), end.y()), end, QPoint(end.x(), start.y())]
    outline += [start] if is_closed else []  # back where it began it is no click
    with qtbot.waitSignal(view.region_chosen) as chosen:
        _drag(qtbot, view, outline)
    mask, mode = chosen.args
    assert np.flatnonzero(mask).tolist() == [0, 1, 5, 6]
    assert mode == "replace"


@pytest.mark.parametrize(
    ("key", "mode"),
    [
        (Qt.KeyboardModifier.ShiftModifier, "add"),
        (Qt.KeyboardModifier.ControlModifier, "remove"),
    ],
)
def test_a_rectangle_adds_or_removes_with_keys(
    qtbot: QtBot, view: ScatterView, key: Qt.KeyboardModifier, mode: str
) -> None:
    view.tool = "rectangle"
    with qtbot.waitSignal(view.region_chosen) as chosen:
        _drag(qtbot, view, [*_around(view, 18, 24)], modifier=key)
    assert np.flatnonzero(chosen.args[0]).tolist() == [18, 19, 23, 24]
    assert chosen.args[1] == mode


def test_a_click_finds_its_point_or_none(qtbot: QtBot, view: ScatterView) -> None:
    for place, row in ((_place(view, 7), 7), (QPoint(4, 4), None)):
        with qtbot.waitSignal(view.row_clicked) as clicked:
            qtbot.mouseClick(view, _LEFT, pos=place)
        assert clicked.args == [row, "replace"]


def test_the_mouse_tells_what_it_is_over(qtbot: QtBot, view: ScatterView) -> None:
    with qtbot.waitSignal(view.row_hovered) as hovered:
        qtbot.mouseMove(view, _place(view, 12))
    assert hovered.args[0] == 12
    with qtbot.waitSignal(view.row_hovered) as hovered:
        qtbot.mouseMove(view, QPoint(2, 2))
    assert hovered.args[0] is None


def test_dragging_pans_by_tool_and_by_any_other_button(qtbot: QtBot, view: ScatterView) -> None:
    for tool, button in (("pan", _LEFT), ("lasso", Qt.MouseButton.RightButton)):
        view.tool = tool  # type: ignore[assignment]
        before = _place(view, 12)
        with qtbot.assertNotEmitted(view.region_chosen):
            _drag(qtbot, view, [QPoint(50, 50), QPoint(70, 80), QPoint(80, 90)], button=button)
        moved = _place(view, 12) - before
        assert (abs(moved.x() - 30) <= 1, abs(moved.y() - 40) <= 1) == (True, True)
    qtbot.mouseDClick(view, _LEFT, pos=QPoint(5, 5))
    assert abs(_place(view, 12).x() - 150) <= 1


def test_the_wheel_zooms_around_the_mouse(qtbot: QtBot, view: ScatterView) -> None:
    place = QPointF(_place(view, 6))
    scale = view.scene.viewport.scale[0]
    nothing, no_buttons = QPoint(0, 0), Qt.MouseButton.NoButton
    wheel = QWheelEvent(
        place, QPointF(view.mapToGlobal(place.toPoint())), nothing, QPoint(0, 240), no_buttons,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    view.wheelEvent(wheel)
    assert view.scene.viewport.scale[0] == pytest.approx(scale * 1.25**2)
    assert (QPointF(_place(view, 6)) - place).manhattanLength() <= 2


def test_keys_undo_redo_and_give_a_lasso_up(qtbot: QtBot, view: ScatterView) -> None:
    control = Qt.KeyboardModifier.ControlModifier
    with qtbot.waitSignal(view.undo_asked):
        qtbot.keyClick(view, Qt.Key.Key_Z, control)
    with qtbot.waitSignal(view.redo_asked):
        qtbot.keyClick(view, Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
    with qtbot.waitSignal(view.redo_asked):
        qtbot.keyClick(view, Qt.Key.Key_Y, control)
    with qtbot.assertNotEmitted(view.region_chosen):
        qtbot.mousePress(view, _LEFT, pos=QPoint(10, 10))
        qtbot.mouseMove(view, QPoint(200, 200))
        qtbot.keyClick(view, Qt.Key.Key_Escape)
        qtbot.mouseRelease(view, _LEFT, pos=QPoint(200, 10))


def test_what_is_on_screen_has_points_legend_and_ring(qtbot: QtBot, view: ScatterView) -> None:
    view.set_colouring(colour_by_category("genotype", ["GBA"] * 20 + ["WT"] * 5))
    categories = view.grab().toImage()
    view.set_colouring(colour_by_values("death", np.arange(25)))
    view.set_selected(np.arange(25) == 3)
    view.set_current(12)
    numbers = view.grab().toImage()
    middle = view.mapFromParent(view.mapToParent(_place(view, 12)))
    ring = numbers.pixelColor(middle.x() + 7, middle.y())
    assert ring != numbers.pixelColor(2, 2)
    assert categories != numbers
    corner = [categories.pixelColor(x, 12) for x in range(200, 298)]
    assert len({colour.name() for colour in corner}) > 2


def test_a_heavy_plot_moves_as_a_draft_and_rests_complete(
    qtbot: QtBot, view: ScatterView, rng: np.random.Generator
) -> None:
    view.set_points(rng.uniform(size=(DRAFT_POINTS + 1000, 2)))
    view.tool = "pan"
    qtbot.mousePress(view, _LEFT, pos=QPoint(100, 100))
    qtbot.mouseMove(view, QPoint(110, 100))
    assert view._is_draft
    qtbot.mouseRelease(view, _LEFT, pos=QPoint(110, 100))
    qtbot.waitUntil(lambda: not view._is_draft)


def test_an_empty_plot_says_what_to_do(qtbot: QtBot) -> None:
    view = ScatterView()
    qtbot.addWidget(view)
    view.resize(200, 200)
    blank = view.grab().toImage()
    view.hint = "Open a table."
    assert view.grab().toImage() != blank
