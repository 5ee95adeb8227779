"""A form for any config dataclass, made from its own description. No default is written here."""

import dataclasses
from typing import Any, Generic, TypeVar

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_bio_superposition.core.config import FieldDescription, describe_fields
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.widgets.form_fields import FieldEditor, make_editor
from napari_bio_superposition.widgets.message import MessageLine

ConfigT = TypeVar("ConfigT")


class _ConfigFormBase(QWidget):
    """Holds the signal, since a generic class cannot be mixed with Qt's metaclass directly."""

    changed = Signal()
    """The user changed a field."""


class ConfigForm(_ConfigFormBase, Generic[ConfigT]):
    """Shows and edits one frozen config.

    Each field becomes a row whose control, range, unit and tool tip come from the dataclass. Fields
    that no single control can show (mappings, nested configs) keep the value they had.

    Parameters
    ----------
    config
        The config to show first.
    hidden
        Names of fields that are chosen elsewhere in the window.
    """

    def __init__(
        self, config: ConfigT, *, hidden: tuple[str, ...] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._config = config
        self._editors: dict[str, FieldEditor] = {}
        self.error = MessageLine()
        rows = self._rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for field in describe_fields(type(config)):
            if field.name not in hidden:
                self._add_row(field)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(rows)
        layout.addWidget(self.error)
        self.show_config(config)

    def _add_row(self, field: FieldDescription) -> None:
        editor = make_editor(field)
        if editor is None:
            return
        self._editors[field.name] = editor
        label = QLabel(label_of(field))
        label.setToolTip(field.doc)
        label.setBuddy(editor.widget)
        editor.widget.setToolTip(field.doc)
        editor.widget.setAccessibleName(label.text())
        editor.connect(self._on_edited)
        self._rows.addRow(label, editor.widget)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that have a row."""
        return tuple(self._editors)

    def editor(self, name: str) -> FieldEditor:
        """Return the control behind a field."""
        return self._editors[name]

    def show_config(self, config: ConfigT) -> None:
        """Show the values of *config*, without telling that anything changed."""
        self._config = config
        for name, editor in self._editors.items():
            editor.show(getattr(config, name))
        self._show_rows_in_use()
        self.error.clear()

    def reset(self) -> None:
        """Show the defaults."""
        self.show_config(type(self._config)())

    def read_config(self) -> ConfigT:
        """Return the config as the form shows it.

        Raises
        ------
        ConfigError
            Where the fields contradict each other; the same sentence is shown below the form.
        """
        values: dict[str, Any] = {name: editor.read() for name, editor in self._editors.items()}
        try:
            # The type variable cannot be bound to "any dataclass", which the call needs.
            config: ConfigT = dataclasses.replace(self._config, **values)  # type: ignore[type-var]
        except ConfigError as error:
            self.error.show_error(str(error))
            raise
        self.error.clear()
        return config

    def _show_rows_in_use(self) -> None:
        """Hide fields named after a choice that is not made: ``published_...`` without it."""
        for choice_field in describe_fields(type(self._config)):
            if choice_field.choices and choice_field.name in self._editors:
                chosen = self._editors[choice_field.name].read()
                for choice in choice_field.choices:
                    self._show_rows_of(f"{choice}_", is_shown=choice == chosen)

    def _show_rows_of(self, prefix: str, *, is_shown: bool) -> None:
        for name, editor in self._editors.items():
            if name.startswith(prefix):
                self._rows.setRowVisible(editor.widget, is_shown)

    def _on_edited(self) -> None:
        self._show_rows_in_use()
        try:
            self.read_config()
        except ConfigError:
            return  # shown below the form; a run would raise it again
        self.changed.emit()


def label_of(field: FieldDescription) -> str:
    """Return the name of a field as a label: ``patch_side_px`` with unit px is ``Patch side``."""
    unit = field.range.unit if field.range is not None else ""
    name = field.name.removesuffix(f"_{unit}") if unit else field.name
    words = name.removesuffix("_um").removesuffix("_px").replace("_", " ")
    return words[:1].upper() + words[1:]
