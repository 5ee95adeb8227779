"""The parameters of each step, folded away: one form per config. No default is written here."""

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.section import Section

if TYPE_CHECKING:
    from typing import Any

    from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig

_STEPS = (("segmentation", "Nuclei"), ("patches", "Patches"), ("death", "Cell death"))
_FROM_MODEL = ("side_px", "intensity_scaling", "low_percentile", "high_percentile")
"""What the model was trained with decides these, whatever a form says."""


class AdvancedPanel(QWidget):
    """Shows the parameters of segmentation, patches and cell death."""

    changed = Signal()

    def __init__(self, config: "AnalyzeConfig", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.forms: dict[str, ConfigForm[Any]] = {}
        self.reset_button = QPushButton("Reset to defaults")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 0)
        for name, title in _STEPS:
            hidden = _FROM_MODEL if name == "patches" else ()
            form: ConfigForm[Any] = ConfigForm(getattr(config, name), hidden=hidden)
            form.changed.connect(self.changed)
            self.forms[name] = form
            layout.addWidget(Section(title, form))
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.reset_button)
        layout.addLayout(row)
        self.reset_button.clicked.connect(self._reset)

    def show_config(self, config: "AnalyzeConfig") -> None:
        """Show the parameters of *config*."""
        for name, form in self.forms.items():
            form.show_config(getattr(config, name))

    def read_steps(self) -> dict[str, "Any"]:
        """Return the config of each step by its name in `AnalyzeConfig`.

        Raises
        ------
        ConfigError
            Where the values of a form contradict each other.
        """
        return {name: form.read_config() for name, form in self.forms.items()}

    def _reset(self) -> None:
        for form in self.forms.values():
            form.reset()
        self.changed.emit()
