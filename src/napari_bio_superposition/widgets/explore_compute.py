"""The tab of settings: one form per step of `embed`, and presets. No default is written here."""

import dataclasses
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.section import Section

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.embed_config import EmbedConfig

_STEPS = (
    ("embedding", "Preparation and layouts"),
    ("trajectory", "Pseudotime and clusters"),
    ("trend", "Statistics along pseudotime"),
    ("dynamics", "Features along pseudotime"),
)
_HIDDEN = ("device",)


class ComputePanel(QScrollArea):
    """Shows the settings of layouts, pseudotime, statistics and dynamics."""

    def __init__(self, parent: QWidget | None = None) -> None:
        from napari_bio_superposition.workflows.embed_config import EMBED_PRESETS

        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._presets = dict(EMBED_PRESETS)
        config = next(iter(self._presets.values()))
        self.preset_box = CalmComboBox()
        self.preset_box.addItems(list(self._presets))
        self.form: ConfigForm[EmbedConfig] = ConfigForm(config, hidden=_HIDDEN)
        self.forms: dict[str, ConfigForm[Any]] = {}
        self.root_button = QPushButton("Start at the selected patch")
        self.root_button.setToolTip("Pseudotime starts at the patch selected in plot or image.")
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.addWidget(QLabel("Preset"))
        layout.addWidget(self.preset_box)
        layout.addWidget(self.form)
        layout.addWidget(self.root_button)
        for name, title in _STEPS:
            form: ConfigForm[Any] = ConfigForm(getattr(config, name))
            self.forms[name] = form
            layout.addWidget(Section(title, form))
        layout.addStretch(1)
        self.setWidget(content)
        self.preset_box.currentTextChanged.connect(self._show_preset)

    def read_config(self) -> "EmbedConfig":
        """Return the settings as the forms show them.

        Raises
        ------
        ConfigError
            Where they contradict each other; the same sentence is shown below the form.
        """
        steps = {name: form.read_config() for name, form in self.forms.items()}
        return dataclasses.replace(self.form.read_config(), **steps)

    def set_root(self, name: str) -> None:
        """Let pseudotime start at a patch."""
        form = self.forms["trajectory"]
        form.show_config(dataclasses.replace(form.read_config(), root=name))

    def _show_preset(self, name: str) -> None:
        config = self._presets[name]
        self.form.show_config(config)
        for step, form in self.forms.items():
            form.show_config(getattr(config, step))
