"""Choice of the feature model and of the compute device. It loads neither a model nor torch."""

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget
from typing_extensions import override

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.models.card import ModelCard, read_card
from napari_bio_superposition.models.catalogue import find_model, list_models
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.jobs import JobRunner
from napari_bio_superposition.widgets.message import MessageLine

_DEVICE_TEXT = {"auto": "Automatic", "cpu": "CPU", "mps": "Apple GPU (mps)"}


class AskingComboBox(CalmComboBox):
    """Tells that it is about to be opened: what it offers may have changed, or be dear to find."""

    opened = Signal()

    @override
    def showPopup(self) -> None:
        self.opened.emit()
        super().showPopup()


class ModelPanel(QWidget):
    """Shows the models by name, or one from a folder, and the devices."""

    model_changed = Signal()
    device_changed = Signal()

    def __init__(self, find_devices: Job[tuple[str, ...]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._find_devices: Job[tuple[str, ...]] | None = find_devices
        self._finder = JobRunner(self)
        self._finder.succeeded.connect(self.add_devices)
        self.model_box = AskingComboBox()
        self.model_box.setToolTip("The network whose features are computed")
        self.folder_button = QPushButton("Folder…")
        self.folder_button.setToolTip("Use a model from a folder with card.json")
        self.card_label = QLabel()
        self.card_label.setWordWrap(True)
        self.message = MessageLine()
        self.device_box = AskingComboBox()
        self.device_box.setToolTip("Automatic takes the first GPU, else the CPU")
        self._lay_out()
        self.model_box.addItems(list_models())
        self.add_devices(("auto", "cpu"))
        self.model_box.currentIndexChanged.connect(self._on_model_chosen)
        self.device_box.currentIndexChanged.connect(lambda _: self.device_changed.emit())
        self.device_box.opened.connect(self._start_finding)  # imports torch
        self.model_box.opened.connect(self.add_new_models)
        self.folder_button.clicked.connect(self._ask_folder)
        self._show_card()

    def _lay_out(self) -> None:
        model = QHBoxLayout()
        model.addWidget(self.model_box, 1)
        model.addWidget(self.folder_button)
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Model", model)
        rows.addRow(self.card_label)
        rows.addRow(self.message)
        rows.addRow("Device", self.device_box)

    @property
    def model(self) -> str:
        """Name or folder of the chosen model."""
        return str(self.model_box.currentText())

    @property
    def device(self) -> str:
        """Name of the chosen device."""
        return str(self.device_box.currentData())

    @property
    def card(self) -> ModelCard | None:
        """Card of the chosen model; ``None`` where it cannot be read."""
        return self._card

    def choose_model(self, name_or_folder: str) -> None:
        """Choose a model; one that is not in the list is added to it."""
        index = self.model_box.findText(name_or_folder)
        if index < 0:
            self.model_box.addItem(name_or_folder)
            index = self.model_box.count() - 1
        self.model_box.setCurrentIndex(index)

    def choose_device(self, name: str) -> None:
        """Choose a device; whether it is still there is found out by the run."""
        self.add_devices((name,))
        self.device_box.setCurrentIndex(self.device_box.findData(name))

    def add_devices(self, names: Sequence[str]) -> None:
        """Offer further devices."""
        for name in names:
            if self.device_box.findData(name) < 0:
                self.device_box.addItem(_DEVICE_TEXT.get(name, name.replace("cuda:", "GPU ")), name)

    def add_new_models(self) -> None:
        """Offer models that were installed, or trained, since this panel was made."""
        for name in list_models():
            if self.model_box.findText(name) < 0:
                self.model_box.addItem(name)

    def shut_down(self) -> None:
        """Stop looking for devices."""
        self._finder.cancel()

    def _start_finding(self) -> None:
        if self._find_devices is not None:
            self._finder.start(self._find_devices)
            self._find_devices = None

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model")
        if folder:
            self.choose_model(str(Path(folder)))

    def _on_model_chosen(self) -> None:
        self._show_card()
        self.model_changed.emit()

    def _show_card(self) -> None:
        self._card: ModelCard | None = None
        self.card_label.hide()
        try:
            self._card = read_card(find_model(self.model))
        except BioSuperpositionError as error:
            self.message.show_error(str(error))
            return
        self.message.clear()
        self.card_label.setText(_describe(self._card))
        self.card_label.show()
        self.card_label.setToolTip(self._card.description)


def _describe(card: ModelCard) -> str:
    size = f" of {card.pixel_size_um:g} µm" if card.pixel_size_um is not None else ""
    return (
        f"{', '.join(card.channel_roles)} · {card.n_latents} features · "
        f"patches of {card.patch_side_px} px{size}"
    )
