"""One control per kind of config field: number, choice, switch, text. No dataclass is read here."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QWidget,
)
from typing_extensions import override

from napari_bio_superposition.core.config import FieldDescription, Range

_LARGEST_INT = 2**31 - 1
_LARGEST_FLOAT = 1e12
_DECIMALS = 9


class FieldEditor(ABC):
    """A control and how its value is shown, read and listened to."""

    widget: QWidget

    @abstractmethod
    def show(self, value: Any) -> None:
        """Show *value* without telling listeners."""

    @abstractmethod
    def read(self) -> Any:
        """Return the value as the config expects it."""

    @abstractmethod
    def connect(self, listener: Callable[[], None]) -> None:
        """Call *listener* after each edit."""


def make_editor(field: FieldDescription) -> FieldEditor | None:
    """Return the control for a field, or ``None`` where no single control can show it."""
    editor = _make_plain_editor(field)
    if editor is not None and field.optional and not isinstance(editor, _TextEditor):
        return _OptionalEditor(editor)
    return editor


def _make_plain_editor(field: FieldDescription) -> FieldEditor | None:
    if field.choices:
        return _ChoiceEditor(field.choices)
    if field.type is bool:
        return _SwitchEditor()
    if field.type is int:
        return _NumberEditor(_make_int_box(field.range or Range()))
    if field.type is float:
        return _NumberEditor(_make_float_box(field.range or Range()))
    if field.type in (str, Path):
        return _TextEditor(field.type, optional=field.optional)
    return None


class _WheelGuard(QObject):
    """Keeps the wheel from a control without focus: scrolling a form changes nothing in it."""

    def __init__(self, control: QWidget) -> None:
        super().__init__(control)
        control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        control.installEventFilter(self)

    @override
    def eventFilter(self, control: QObject | None, event: QEvent | None) -> bool:
        if event is None or event.type() != QEvent.Type.Wheel:
            return False
        if isinstance(control, QWidget) and control.hasFocus():
            return False
        event.ignore()
        return True


class CalmComboBox(QComboBox):
    """A combo box that the wheel scrolls past, and that does not widen a dock."""

    def __init__(self) -> None:
        super().__init__()
        _WheelGuard(self)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)


class _FloatBox(QDoubleSpinBox):
    """A number shown with as many digits as it needs."""

    @override
    def textFromValue(self, value: float) -> str:
        return f"{value:.{_DECIMALS}g}"


def _make_int_box(bounds: Range) -> QSpinBox:
    box = QSpinBox()
    # A spin box without an explicit range stops at 99.
    box.setRange(
        math.ceil(max(bounds.low, -_LARGEST_INT)), math.floor(min(bounds.high, _LARGEST_INT))
    )
    box.setSingleStep(max(1, round(bounds.step or 1)))
    _finish_box(box, bounds)
    return box


def _make_float_box(bounds: Range) -> QDoubleSpinBox:
    box = _FloatBox()
    box.setDecimals(_DECIMALS)
    box.setRange(max(bounds.low, -_LARGEST_FLOAT), min(bounds.high, _LARGEST_FLOAT))
    if bounds.step:
        box.setSingleStep(bounds.step)
    else:
        box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    _finish_box(box, bounds)
    return box


def _finish_box(box: QAbstractSpinBox, bounds: Range) -> None:
    _WheelGuard(box)
    box.setKeyboardTracking(False)
    box.setMinimumWidth(80)
    if bounds.unit and isinstance(box, QSpinBox | QDoubleSpinBox):
        box.setSuffix(f" {bounds.unit}")


class _NumberEditor(FieldEditor):
    def __init__(self, box: Any) -> None:
        self.widget = self._box = box

    def show(self, value: Any) -> None:
        self._box.blockSignals(True)
        self._box.setValue(value)
        self._box.blockSignals(False)

    def read(self) -> Any:
        return self._box.value()

    def connect(self, listener: Callable[[], None]) -> None:
        self._box.valueChanged.connect(lambda _: listener())


class _ChoiceEditor(FieldEditor):
    def __init__(self, choices: tuple[Any, ...]) -> None:
        self.widget = self._box = CalmComboBox()
        self._choices = choices
        self._box.addItems([str(choice) for choice in choices])

    def show(self, value: Any) -> None:
        self._box.blockSignals(True)
        self._box.setCurrentIndex(self._choices.index(value))
        self._box.blockSignals(False)

    def read(self) -> Any:
        return self._choices[self._box.currentIndex()]

    def connect(self, listener: Callable[[], None]) -> None:
        self._box.currentIndexChanged.connect(lambda _: listener())


class _SwitchEditor(FieldEditor):
    def __init__(self) -> None:
        self.widget = self._box = QCheckBox()

    def show(self, value: Any) -> None:
        self._box.blockSignals(True)
        self._box.setChecked(value)
        self._box.blockSignals(False)

    def read(self) -> bool:
        return bool(self._box.isChecked())

    def connect(self, listener: Callable[[], None]) -> None:
        self._box.toggled.connect(lambda _: listener())


class _TextEditor(FieldEditor):
    """Text or a path; an optional one is ``None`` where it is empty."""

    def __init__(self, kind: type, *, optional: bool) -> None:
        self.widget = self._line = QLineEdit()
        self._kind, self._optional = kind, optional

    def show(self, value: Any) -> None:
        self._line.setText("" if value is None else str(value))

    def read(self) -> Any:
        text = self._line.text().strip()
        return None if self._optional and not text else self._kind(text)

    def connect(self, listener: Callable[[], None]) -> None:
        self._line.editingFinished.connect(listener)


class _OptionalEditor(FieldEditor):
    """A switch before another control; off means ``None``, which is "automatic" or "off"."""

    def __init__(self, inner: FieldEditor) -> None:
        self._inner = inner
        self._switch = QCheckBox()
        self._switch.setAccessibleName("Set by hand")
        self._off_label = QLabel("automatic")
        self._off_label.setStyleSheet("font-style: italic;")
        self._switch.toggled.connect(self._show_which)
        self.widget = QWidget()
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._switch)
        row.addWidget(self._off_label, 1)
        row.addWidget(inner.widget, 1)
        self._show_which(False)

    def show(self, value: Any) -> None:
        self._switch.blockSignals(True)
        self._switch.setChecked(value is not None)
        self._switch.blockSignals(False)
        self._show_which(value is not None)
        if value is not None:
            self._inner.show(value)

    def read(self) -> Any:
        return self._inner.read() if self._switch.isChecked() else None

    def connect(self, listener: Callable[[], None]) -> None:
        self._switch.toggled.connect(lambda _: listener())
        self._inner.connect(listener)

    def _show_which(self, is_on: bool) -> None:
        self._inner.widget.setVisible(is_on)
        self._off_label.setVisible(not is_on)
