"""The dock widget *Train*: images, recipe, live curves, pause and cancel. No science."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Progress
from napari_bio_superposition.widgets.analysis_jobs import find_devices
from napari_bio_superposition.widgets.curve_view import CurveView
from napari_bio_superposition.widgets.dock import Dock
from napari_bio_superposition.widgets.failures import explain
from napari_bio_superposition.widgets.jobs import JobRunner
from napari_bio_superposition.widgets.run_bar import RunBar
from napari_bio_superposition.widgets.train_jobs import (
    Gate,
    paths_of_layers,
    pausable,
    preview,
    read_past,
    train,
)
from napari_bio_superposition.widgets.train_setup_panel import TrainSetupPanel

if TYPE_CHECKING:
    import napari

    from napari_bio_superposition.widgets.failures import Failure
    from napari_bio_superposition.workflows.train_model import TrainedModel
    from napari_bio_superposition.workflows.training_data import TrainingPreview

_SMALLEST_WIDTH_PX = 345
_KNOWN_DEVICES = 2
"""Automatic and CPU; listing the others imports torch."""


class TrainWidget(Dock):
    """Trains an encoder and an SAE on a folder of images; the model then appears in *Analyse*.

    Parameters
    ----------
    napari_viewer
        The viewer whose open images may be trained on; napari passes it by this name.
    """

    model_trained = Signal(str)
    """Name of a model that has just been installed."""

    def __init__(self, napari_viewer: "napari.Viewer") -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.runner, self._previewer, self._finder = (JobRunner(self) for _ in range(3))
        self.gate = Gate()
        self.setup = TrainSetupPanel()
        self.loss = CurveView("Loss", "steps")
        self.loss.setToolTip(
            "It may rise at first, while the queue of earlier patches fills: there are more of "
            "them to be told from each other"
        )
        self.probe = CurveView("Probe on validation wells", "epochs", y_range=(0.0, 1.0))
        self.sae_loss = CurveView("Loss of the SAE", "steps")
        self.run_bar = RunBar("Train")
        self.pause_button = QPushButton("Pause")
        self.tabs = QTabWidget()
        self._preview_soon = QTimer(self)
        self._preview_soon.setSingleShot(True)
        self._preview_soon.timeout.connect(self._start_preview)
        self._preview_is_stale = False
        self._lay_out()
        self._connect()
        self._show_running(is_running=False)

    def _lay_out(self) -> None:
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(self.setup)
        curves = QWidget()
        column = QVBoxLayout(curves)
        column.addWidget(self.loss, 1)
        column.addWidget(self.probe, 1)
        column.addWidget(self.sae_loss, 1)
        self.tabs.addTab(scroll, "Set up")
        self.tabs.addTab(curves, "Curves")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.run_bar)
        layout.addWidget(self.pause_button)
        self.setMinimumWidth(_SMALLEST_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        self.setup.data_changed.connect(self._on_data_changed)
        self.setup.data.layers_clicked.connect(self.use_layers)
        self._previewer.succeeded.connect(self._show_preview)
        self._previewer.failed.connect(lambda failure: self._show_no_preview(failure))
        self._previewer.ended.connect(self._on_preview_ended)
        self._finder.succeeded.connect(self.setup.add_devices)
        self.setup.device_box.opened.connect(self._find_devices)
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.pause_button.clicked.connect(self.toggle_pause)
        self.runner.progressed.connect(self._on_progressed)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.failed.connect(self.run_bar.show_failure)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.ended.connect(self._on_ended)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.runner.shut_down)

    def use_layers(self) -> None:
        """Train on the files of the images that are open."""
        paths = paths_of_layers(list(self._viewer.layers))
        if paths:
            self.setup.data.choose_files(paths)
        else:
            self.setup.data.show_problem(
                "No open layer comes from a file. Save the images first, or choose their folder."
            )

    def run(self) -> None:
        """Train with the chosen images and settings; an unfinished training is gone on with."""
        if self.runner.running:
            return
        try:
            request, config = self.setup.read_request(), self.setup.read_config()
        except BioSuperpositionError as error:
            self.run_bar.show_failure(explain(error))
            return
        for view in (self.loss, self.probe, self.sae_loss):
            view.clear()
        self.sae_loss.hide()
        losses, probes = read_past(request.work)
        for step, loss in losses:
            self.loss.add_point("loss", step, loss)
        for figures in probes:
            self._show_probe(figures)
        self.gate.open()
        self.run_bar.start()
        self._show_running(is_running=True)
        self.tabs.setCurrentIndex(1)
        self.runner.start(pausable(train(request, config), self.gate))

    def toggle_pause(self) -> None:
        """Hold the training up between two steps, or let it go on."""
        if self.gate.is_open:
            self.gate.close()
        else:
            self.gate.open()
        self.pause_button.setText("Pause" if self.gate.is_open else "Go on")

    def cancel(self) -> None:
        """Stop after this step; what was learnt so far is kept."""
        if self.runner.running:
            self.run_bar.show_cancelling()
            self.runner.cancel()

    def _on_progressed(self, progress: Progress) -> None:
        values = progress.values
        if "l0" in values:
            self.sae_loss.show()
            self.sae_loss.add_point("loss", progress.done, values["loss"])
        elif "loss" in values:
            self.loss.add_point("loss", progress.done, values["loss"])
        elif "accuracy" in values:
            self._show_probe(values)
        is_figure = progress.step.startswith(("Training", "Probing"))
        self.run_bar.report(replace(progress, notice="") if is_figure else progress)
        if is_figure and progress.notice:  # each epoch has one; the newest says it all
            self.run_bar.message.show_plain(progress.notice)

    def _show_probe(self, figures: Mapping[str, float]) -> None:
        for name, label in (("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
            self.probe.add_point(label, figures["epoch"], figures[name])
        self.probe.show_reference("chance", figures["chance"])

    def _on_succeeded(self, trained: "TrainedModel") -> None:
        self.run_bar.show_done(trained.describe())
        self.model_trained.emit(trained.name)

    def _on_cancelled(self) -> None:
        self.run_bar.message.show_plain(
            "Stopped. What was learnt so far is kept: Train goes on with it, under the same name "
            "and settings."
        )

    def _on_ended(self) -> None:
        self.run_bar.finish()
        self._show_running(is_running=False)

    def _show_running(self, *, is_running: bool) -> None:
        self.setup.setEnabled(not is_running)
        self.pause_button.setVisible(is_running)
        self.pause_button.setText("Pause")

    def _find_devices(self) -> None:
        if self.setup.device_box.count() <= _KNOWN_DEVICES:
            self._finder.start(find_devices())

    def _on_data_changed(self) -> None:
        self._preview_soon.start()
        if not self.runner.running:  # what was wrong may be right now
            self.run_bar.message.clear()

    def _start_preview(self) -> None:
        if self._previewer.running:
            self._preview_is_stale = True
            return
        try:
            request, config = self.setup.read_request(), self.setup.read_config()
        except BioSuperpositionError as error:
            self.setup.data.show_problem(str(error))
            return
        self._previewer.start(preview(request, config.encoder.data))

    def _show_preview(self, found: "TrainingPreview") -> None:
        self.setup.data.show_preview(found)

    def _show_no_preview(self, failure: "Failure") -> None:
        self.setup.data.show_problem(failure.message)

    def _on_preview_ended(self) -> None:
        if self._preview_is_stale:
            self._preview_is_stale = False
            self._start_preview()

    @override
    def _shut_down(self) -> None:
        self._preview_soon.stop()
        for runner in (self.runner, self._previewer, self._finder):
            runner.cancel()
