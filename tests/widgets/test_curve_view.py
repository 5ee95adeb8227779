"""Curves: ticks and thinning by hand, and pixels of a curve where it should be."""

import pytest
from pytestqt.qtbot import QtBot

from napari_bio_superposition.widgets.curve_view import CurveView, choose_ticks, thin

pytestmark = pytest.mark.gui


def test_ticks_are_round_and_inside() -> None:
    assert choose_ticks(0, 1, 3) == [0, 0.5, 1.0]
    assert choose_ticks(2.1, 5.3, 3) == [4.0]
    assert choose_ticks(2.1, 5.3, 5) == [3.0, 4.0, 5.0]
    assert choose_ticks(7, 7, 3) == [7]


def test_long_curves_are_thinned_to_means() -> None:
    x = [float(i) for i in range(10)]
    assert thin(x, x, most=5) == [(0.5, 0.5), (2.5, 2.5), (4.5, 4.5), (6.5, 6.5), (8.5, 8.5)]
    assert thin(x[:3], x[:3], most=5) == [(0, 0), (1, 1), (2, 2)]


def test_a_rising_curve_is_painted_from_low_to_high(qtbot: QtBot) -> None:
    view = CurveView("Loss", "steps", y_range=(0.0, 1.0))
    qtbot.addWidget(view)
    view.resize(300, 160)
    empty = view.grab().toImage()
    for step in range(50):
        view.add_point("loss", step + 1, step / 49)
    view.show_reference("chance", 0.25)
    image = view.grab().toImage()
    assert image != empty
    blue = [
        (x, y)
        for x in range(30, image.width())
        for y in range(20, image.height() - 20)
        if image.pixelColor(x, y).blue() > image.pixelColor(x, y).red() + 60
    ]
    left = [y for x, y in blue if x < 100]
    right = [y for x, y in blue if x > 240]
    assert left
    assert right
    assert min(left) > max(right)
    assert view.points("loss")[-1] == (50, 1.0)
    view.clear()
    assert view.names == ()
    assert view.grab().toImage() == empty
