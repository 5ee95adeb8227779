"""The form of a config: every kind of field, its range, unit and words, and what is read back."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QSpinBox

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig

pytestmark = pytest.mark.gui


@dataclass(frozen=True, kw_only=True)
class Example:
    """A config with one field of each kind."""

    method: Literal["fast", "exact"] = "fast"
    """How it is done."""
    side_px: Annotated[int, Range(8, 100_000, unit="px", step=8)] = 8192
    """Edge of a tile."""
    share: Annotated[float, Range(0, 1)] = 0.05
    """Share of something."""
    tiny: float = 1e-6
    """A number far below one."""
    threshold: Annotated[float, Range(0, 10)] | None = None
    """Chosen from the data where not set."""
    smooth: bool = True
    """Whether to smooth."""
    name: str = "a"
    """A name."""
    quality_min_focus: float = 0.5
    """Not a choice of `method`, so always shown."""
    exact_steps: Annotated[int, Range(1, 10)] = 3
    """Steps of the exact method."""
    nested: tuple[int, ...] = (1, 2)
    """No control can show this."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.side_px == 16 and self.smooth:
            raise ConfigError("Tiles of 16 px cannot be smoothed. Choose larger tiles.")


@pytest.fixture
def form(qtbot: QtBot) -> ConfigForm[Example]:
    form = ConfigForm(Example())
    qtbot.addWidget(form)
    form.show()
    return form


def test_defaults_come_back_unchanged(form: ConfigForm[Example]) -> None:
    assert form.read_config() == Example()


def test_every_value_comes_back(form: ConfigForm[Example]) -> None:
    config = Example(
        method="exact", side_px=99_999, share=0.123456789, tiny=2.5e-7, threshold=3.5,
        smooth=False, name="b", exact_steps=7, nested=(4,),
    )  # fmt: skip
    form.show_config(config)
    assert form.read_config() == config


def test_controls_follow_the_annotations(form: ConfigForm[Example]) -> None:
    side, share = form.editor("side_px").widget, form.editor("share").widget
    assert isinstance(side, QSpinBox)
    assert (side.minimum(), side.maximum(), side.singleStep()) == (8, 100_000, 8)
    assert side.suffix() == " px"
    assert side.toolTip() == "Edge of a tile."
    assert isinstance(share, QDoubleSpinBox)
    assert share.text() == "0.05"
    assert isinstance(form.editor("method").widget, QComboBox)
    assert isinstance(form.editor("name").widget, QLineEdit)
    assert "nested" not in form.names


def test_an_optional_number_is_none_until_it_is_switched_on(
    qtbot: QtBot, form: ConfigForm[Example]
) -> None:
    switch = form.editor("threshold").widget.findChild(QCheckBox)
    assert form.read_config().threshold is None
    with qtbot.waitSignal(form.changed):
        switch.click()
    assert form.read_config().threshold == 0.0


def test_a_contradiction_is_told_below_the_form(qtbot: QtBot, form: ConfigForm[Example]) -> None:
    form.editor("side_px").widget.setValue(16)
    assert form.error.text == "Tiles of 16 px cannot be smoothed. Choose larger tiles."
    with pytest.raises(ConfigError):
        form.read_config()
    with qtbot.waitSignal(form.changed):
        form.editor("smooth").widget.setChecked(False)
    assert form.error.text == ""


def test_fields_of_a_choice_show_only_with_it(form: ConfigForm[Example]) -> None:
    assert not form.editor("exact_steps").widget.isVisible()
    form.editor("method").widget.setCurrentText("exact")
    assert form.editor("exact_steps").widget.isVisible()
    assert form.editor("quality_min_focus").widget.isVisible()


def test_the_wheel_scrolls_past_a_control_without_focus(form: ConfigForm[Example]) -> None:
    box = form.editor("side_px").widget
    box.clearFocus()
    wheel = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(0, 120), QPoint(0, 120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(box, wheel)
    assert box.value() == 8192


@pytest.mark.parametrize("name", ["segmentation", "patches", "death", "reading"])
def test_every_real_config_has_a_form(qtbot: QtBot, name: str) -> None:
    config = getattr(AnalyzeConfig(), name)
    form = ConfigForm(config)
    qtbot.addWidget(form)
    assert form.read_config() == config
    assert len(form.names) >= 3


def test_hidden_fields_keep_their_value(qtbot: QtBot) -> None:
    form = ConfigForm(replace(Example(), share=0.7), hidden=("share",))
    qtbot.addWidget(form)
    assert "share" not in form.names
    assert form.read_config().share == 0.7
