"""All choices before a run, and the config that they make. It starts nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGroupBox, QVBoxLayout, QWidget

from napari_bio_superposition.core.config import describe_fields
from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.advanced_panel import AdvancedPanel
from napari_bio_superposition.widgets.channel_panel import ChannelPanel
from napari_bio_superposition.widgets.form_fields import make_editor
from napari_bio_superposition.widgets.message import MessageLine
from napari_bio_superposition.widgets.model_panel import ModelPanel
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.widgets.settings import AnalyseSettings
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.config_files import config_from_plain, config_to_plain

_STEPS = ("segmentation", "patches", "death")


class SetupPanel(QWidget):
    """Image, roles, model, device and advanced parameters.

    Parameters
    ----------
    settings
        What the user chose last.
    find_devices
        Job that lists the devices; run when the user first opens that list.
    """

    changed = Signal()
    open_clicked = Signal()

    def __init__(
        self,
        settings: AnalyseSettings,
        find_devices: Job[tuple[str, ...]],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        config = _restore_config(settings)
        self._config = config
        self.channels = ChannelPanel()
        self.models = ModelPanel(find_devices)
        self.advanced = AdvancedPanel(config)
        self.advanced_section = Section("Advanced", self.advanced)
        self.missing_message = MessageLine()
        self.missing_roles = _make_missing_roles_editor()
        self._lay_out()
        self.models.choose_model(settings.model)
        self.models.choose_device(settings.device)
        self._connect()
        self._on_model_changed()

    def _lay_out(self) -> None:
        image, model = QGroupBox("Image and channels"), QGroupBox("Model")
        QVBoxLayout(image).addWidget(self.channels)
        model_layout = QVBoxLayout(model)
        model_layout.addWidget(self.models)
        model_layout.addWidget(self.missing_message)
        model_layout.addWidget(self.missing_roles.widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 6, 0)
        layout.addWidget(image)
        layout.addWidget(model)
        layout.addWidget(self.advanced_section)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.channels.open_clicked.connect(self.open_clicked)
        self.channels.changed.connect(self._on_roles_changed)
        self.models.model_changed.connect(self._on_model_changed)
        self.models.model_changed.connect(self.changed)
        self.models.device_changed.connect(self.changed)
        self.advanced.changed.connect(self.changed)

    def read_config(self) -> AnalyzeConfig:
        """Return the settings of a run.

        Raises
        ------
        ConfigError
            Where parameters contradict each other.
        """
        return AnalyzeConfig(
            model=self.models.model,
            roles=self.channels.chosen_roles,
            missing_roles=self.missing_roles.read(),
            device=self.models.device,
            seed=self._config.seed,
            **self.advanced.read_steps(),
        )

    def show_config(self, config: AnalyzeConfig, roles: Mapping[str, str]) -> None:
        """Show the settings of a saved result, with the roles that its channels played."""
        self._config = config
        self.models.choose_model(config.model)
        self.models.choose_device(config.device)
        self.missing_roles.show(config.missing_roles)
        self.advanced.show_config(config)
        self.channels.set_chosen_roles(roles)

    def read_settings(self, scale_mode: str, opacity: float) -> AnalyseSettings:
        """Return the choices that are to survive a restart; those of an image do not."""
        settings = AnalyseSettings(
            model=self.models.model,
            device=self.models.device,
            scale_mode=scale_mode,
            overlay_opacity=opacity,
        )
        try:
            return settings.with_advanced(_changed_values(self.advanced.read_steps()))
        except BioSuperpositionError:
            return settings  # the form shows what is wrong; nothing of it is kept

    def shut_down(self) -> None:
        """Stop whatever the panels have under way."""
        self.models.shut_down()

    def _on_model_changed(self) -> None:
        card = self.models.card
        if card is not None:
            self.channels.set_roles(card.channel_roles)
        self._on_roles_changed()

    def _on_roles_changed(self) -> None:
        """Say before the run what will be missing, and let the user decide."""
        card, roles = self.models.card, self.channels.chosen_roles
        missing: list[str] = []
        if card is not None and self.channels.source is not None:
            missing = [role for role in card.channel_roles if not roles.get(role)]
        if card is not None and missing:
            self.missing_message.show_plain(
                f"The model {card.name} also needs {', '.join(missing)}: skip the features, or "
                "feed blank channels (the features then mean less)."
            )
        else:
            self.missing_message.clear()
        self.missing_roles.widget.setVisible(bool(missing))


def _make_missing_roles_editor() -> Any:
    """Return the control of `AnalyzeConfig.missing_roles`, with its choices and default."""
    field = next(f for f in describe_fields(AnalyzeConfig) if f.name == "missing_roles")
    editor = make_editor(field)
    if editor is None:
        raise TypeError(f"No control can show {field.name}.")
    editor.show(field.default)
    editor.widget.setToolTip(field.doc)
    return editor


def _restore_config(settings: AnalyseSettings) -> AnalyzeConfig:
    """Return the config with the advanced parameters of last time, where they still fit."""
    try:
        return config_from_plain(settings.advanced(), AnalyzeConfig)
    except BioSuperpositionError:
        return AnalyzeConfig()


def _changed_values(steps: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from the defaults, so that new defaults reach old users."""
    plain = config_to_plain(replace(AnalyzeConfig(), **steps))
    default = config_to_plain(AnalyzeConfig())
    changed = {}
    for step in _STEPS:
        values = {k: v for k, v in plain[step].items() if default[step].get(k) != v}
        if values:
            changed[step] = values
    return changed
