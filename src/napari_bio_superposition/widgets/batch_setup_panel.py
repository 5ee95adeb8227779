"""All choices before a batch run, and the request that they make. It starts nothing."""

import dataclasses
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.imaging.roles import parse_roles
from napari_bio_superposition.widgets.analysis_jobs import find_devices
from napari_bio_superposition.widgets.batch_jobs import BatchRequest
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.model_panel import ModelPanel
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.batch_config import BatchConfig, ResourceConfig

_RUN_NAME = "bio-superposition"
_RIGHT_OF_SCROLL_BAR_PX = 14


class BatchSetupPanel(QWidget):
    """Images, table, target folder, model, and everything else folded away."""

    changed = Signal()
    """Other images, table or target."""
    run_chosen = Signal(Path)
    """The folder of a run was chosen to be looked at."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.images_edit, self.table_edit, self.out_edit = QLineEdit(), QLineEdit(), QLineEdit()
        self.images_edit.setPlaceholderText("Folder, plate or export")
        self.table_edit.setPlaceholderText("CSV with line, genotype … (optional)")
        self.out_edit.setPlaceholderText("Where results go")
        self.roles_edit = QLineEdit()
        self.roles_edit.setPlaceholderText("guessed from channel names")
        self.roles_edit.setToolTip("Which channel plays which role, as nuclei=DAPI,death=PI")
        self.overlays_edit = QLineEdit()
        self.overlays_edit.setPlaceholderText("none; numbers of latents, as 17 42")
        self.overlays_edit.setToolTip("Maps of these latents are written for every field")
        self.images_button, self.table_button = QPushButton("Folder…"), QPushButton("Table…")
        self.out_button, self.open_button = QPushButton("Folder…"), QPushButton("Open a run…")
        self.open_button.setToolTip("Look at a run that was made before, here or elsewhere")
        self.model = ModelPanel(find_devices())
        self.forms: dict[str, ConfigForm[Any]] = {
            "resources": ConfigForm(ResourceConfig()),
            "batch": ConfigForm(BatchConfig(), hidden=("analysis", "resources", "overlays")),
        }
        defaults = AnalyzeConfig()
        self.forms["analysis"] = ConfigForm(defaults, hidden=("model", "device"))
        for name in ("reading", "segmentation", "patches", "death"):
            self.forms[name] = ConfigForm(getattr(defaults, name))
        self._lay_out()
        for edit in (self.images_edit, self.table_edit, self.out_edit):
            edit.editingFinished.connect(self.changed)
        self.images_button.clicked.connect(self._ask_images)
        self.table_button.clicked.connect(self._ask_table)
        self.out_button.clicked.connect(self._ask_out)
        self.open_button.clicked.connect(self._ask_run)

    def _lay_out(self) -> None:
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for label, edit, button in (
            ("Images", self.images_edit, self.images_button),
            ("Table", self.table_edit, self.table_button),
            ("Results", self.out_edit, self.out_button),
        ):
            line = QHBoxLayout()
            line.addWidget(edit, 1)
            line.addWidget(button)
            rows.addRow(label, line)
        rows.addRow("Roles", self.roles_edit)
        rows.addRow("Overlays", self.overlays_edit)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, _RIGHT_OF_SCROLL_BAR_PX, 0)
        layout.addLayout(rows)
        layout.addWidget(self.model)
        titles = {
            "resources": "Processes",
            "batch": "Outputs and controls",
            "analysis": "Whole run",
        }
        for name, form in self.forms.items():
            layout.addWidget(Section(titles.get(name, name.capitalize()), form))
        layout.addWidget(self.open_button)
        layout.addStretch(1)

    def choose_images(self, folder: Path) -> None:
        """Take the images of a folder; results go beside it unless another place was chosen."""
        self.images_edit.setText(str(folder))
        if not self.out_edit.text():
            self.out_edit.setText(str(folder.with_name(f"{folder.name}-{_RUN_NAME}")))
        self.changed.emit()

    @property
    def is_complete(self) -> bool:
        """Whether images and a place for results were chosen."""
        return bool(self.images_edit.text().strip() and self.out_edit.text().strip())

    def read_request(self) -> BatchRequest:
        """Return what was chosen.

        Raises
        ------
        BioSuperpositionError
            Where something is missing or settings contradict each other.
        """
        if not self.is_complete:
            raise ConfigError("Choose a folder of images, and where the results go.")
        table = self.table_edit.text().strip()
        parts = {name: self.forms[name].read_config() for name in self.forms}
        batch, resources = parts.pop("batch"), parts.pop("resources")
        roles = parse_roles(self.roles_edit.text()) if self.roles_edit.text().strip() else {}
        chosen = {"model": self.model.model, "device": self.model.device, "roles": roles}
        analysis = dataclasses.replace(parts.pop("analysis"), **chosen, **parts)
        batch = dataclasses.replace(batch, overlays=_parse_latents(self.overlays_edit.text()))
        return BatchRequest(
            paths=(Path(self.images_edit.text().strip()).expanduser(),),
            out=Path(self.out_edit.text().strip()).expanduser(),
            table=Path(table).expanduser() if table else None,
            config=dataclasses.replace(batch, analysis=analysis, resources=resources),
        )

    def shut_down(self) -> None:
        """Stop looking for devices."""
        self.model.shut_down()

    def _ask_images(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of images, or an export"):
            self.choose_images(Path(folder))

    def _ask_table(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Table of wells or images", "", "CSV (*.csv)")
        if path:
            self.table_edit.setText(path)
            self.changed.emit()

    def _ask_out(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder for the results"):
            self.out_edit.setText(folder)
            self.changed.emit()

    def _ask_run(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of a batch run"):
            self.run_chosen.emit(Path(folder))


def _parse_latents(text: str) -> tuple[int, ...]:
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise ConfigError(f"{text!r} names no latents. Write their numbers, as 17 42.")
    return tuple(map(int, words))
