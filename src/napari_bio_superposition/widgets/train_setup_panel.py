"""All choices before a training, and the config that they make. It starts nothing."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QGroupBox, QLineEdit, QVBoxLayout, QWidget

from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.imaging.roles import parse_roles
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.model_panel import AskingComboBox
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.widgets.train_data_panel import TrainDataPanel
from napari_bio_superposition.widgets.train_jobs import TrainingRequest
from napari_bio_superposition.workflows.train_model_config import MODEL_PRESETS, TrainModelConfig

_PRESET_TEXT = {
    "small": "small (minutes, laptop)",
    "paper": "paper (published, GPU)",
}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
_CHOSEN_ELSEWHERE = {
    "encoder": ("device", "n_devices"),
    "contrastive": (),
    "sae": (),
    "patches": (),
}


class TrainSetupPanel(QWidget):
    """Everything that is chosen before a training."""

    data_changed = Signal()
    """Whatever the preview depends on."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.data = TrainDataPanel()
        self.name_edit = QLineEdit("my-model")
        self.name_edit.setToolTip("Under this name the model appears in Analyse")
        self.inputs_edit, self.roles_edit = QLineEdit(), QLineEdit()
        self.inputs_edit.setToolTip("Roles of the channels that the model sees, in order")
        self.roles_edit.setPlaceholderText("guessed from the names")
        self.roles_edit.setToolTip("What channels show, as nuclei=DAPI,mitochondria=TMRM")
        self.preset_box, self.device_box = CalmComboBox(), AskingComboBox()
        for name in MODEL_PRESETS:
            self.preset_box.addItem(_PRESET_TEXT[name], name)
        self.add_devices(("auto", "cpu"))
        self.forms: dict[str, ConfigForm[Any]] = {}
        self._config = next(iter(MODEL_PRESETS.values()))
        self._lay_out()
        self._show_inputs(self._config)
        for edit in (self.inputs_edit, self.roles_edit):
            edit.editingFinished.connect(self.data_changed)
        self.preset_box.currentIndexChanged.connect(self._on_preset_chosen)
        self.data.changed.connect(self.data_changed)

    def _lay_out(self) -> None:
        images, model = QGroupBox("Images and classes"), QGroupBox("Model")
        QVBoxLayout(images).addWidget(self.data)
        rows = QFormLayout(model)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Name", self.name_edit)
        rows.addRow("Recipe", self.preset_box)
        rows.addRow("Device", self.device_box)
        rows.addRow("Inputs", self.inputs_edit)
        rows.addRow("Channels", self.roles_edit)
        advanced = QWidget()
        below = QVBoxLayout(advanced)
        below.setContentsMargins(8, 0, 0, 0)
        titles = {"encoder": "Training and split", "contrastive": "Encoder", "sae": "Dictionary"}
        for name, part in self._parts(self._config).items():
            form: ConfigForm[Any] = ConfigForm(part, hidden=_CHOSEN_ELSEWHERE[name])
            self.forms[name] = form
            below.addWidget(Section(titles.get(name, "Patches"), form))
        self.advanced_section = Section("Advanced", advanced)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 6, 0)
        layout.addWidget(images)
        layout.addWidget(model)
        layout.addWidget(self.advanced_section)
        layout.addStretch(1)

    @property
    def device(self) -> str:
        """Name of the chosen device."""
        return str(self.device_box.currentData())

    def add_devices(self, names: tuple[str, ...]) -> None:
        """Offer further devices."""
        for name in names:
            if self.device_box.findData(name) < 0:
                text = {"auto": "Automatic", "cpu": "CPU"}.get(name, name)
                self.device_box.addItem(text, name)

    def read_request(self) -> TrainingRequest:
        """Return what is trained on and where to.

        Raises
        ------
        ConfigError
            Where images or a usable name are missing.
        """
        if not self.data.paths:
            raise ConfigError("Choose a folder of images first (Folder…), or use the open ones.")
        name = self.name_edit.text().strip()
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"The name {name!r} does not serve as the name of a folder. Use letters, digits, "
                "dots, hyphens and underscores."
            )
        first = self.data.paths[0]
        beside = first.parent if first.is_dir() else first.parent.parent
        work: Path = beside / f"{name}_training"
        return TrainingRequest(self.data.paths, self.data.table, name, work)

    def read_config(self) -> TrainModelConfig:
        """Return the settings of the training.

        Raises
        ------
        BioSuperpositionError
            Where they contradict each other, or name no channels.
        """
        parts = {name: form.read_config() for name, form in self.forms.items()}
        encoder = parts["encoder"]
        data = dataclasses.replace(
            encoder.data,
            patches=parts["patches"],
            class_column=self.data.class_column,
            channel_roles=tuple(filter(None, map(str.strip, self.inputs_edit.text().split(",")))),
            roles=parse_roles(self.roles_edit.text()),
        )
        encoder = dataclasses.replace(
            encoder, device=self.device, contrastive=parts["contrastive"], data=data
        )
        return TrainModelConfig(encoder=encoder, sae=parts["sae"])

    def _on_preset_chosen(self) -> None:
        self._config = MODEL_PRESETS[str(self.preset_box.currentData())]
        self.show_config(self._config)

    def show_config(self, config: TrainModelConfig) -> None:
        """Show the settings of *config*."""
        for name, part in self._parts(config).items():
            self.forms[name].show_config(part)
        self._show_inputs(config)

    def _show_inputs(self, config: TrainModelConfig) -> None:
        data = config.encoder.data
        self.inputs_edit.setText(", ".join(data.channel_roles))
        self.inputs_edit.setCursorPosition(0)
        self.roles_edit.setText(",".join(f"{role}={name}" for role, name in data.roles.items()))

    @staticmethod
    def _parts(config: TrainModelConfig) -> dict[str, Any]:
        encoder = config.encoder
        return {
            "encoder": encoder,
            "contrastive": encoder.contrastive,
            "sae": config.sae,
            "patches": encoder.data.patches,
        }
