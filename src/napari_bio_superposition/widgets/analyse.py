"""The dock widget *Analyse*: brings panels, controller and job runner together. No science."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
)
from typing_extensions import override

from napari_bio_superposition.widgets.analysis_jobs import FinishedAnalysis, find_devices
from napari_bio_superposition.widgets.controller import AnalyseController
from napari_bio_superposition.widgets.job_dock import JobDock
from napari_bio_superposition.widgets.readers import open_layers
from napari_bio_superposition.widgets.result_panel import ResultPanel
from napari_bio_superposition.widgets.run_bar import RunBar
from napari_bio_superposition.widgets.settings import load_settings, store_settings
from napari_bio_superposition.widgets.setup_panel import SetupPanel

if TYPE_CHECKING:
    import napari

    from napari_bio_superposition.widgets.image_layers import LayerData

_SMALLEST_WIDTH_PX = 320
_STORE_AFTER_MS = 300
"""napari writes a file at each change of a setting; a slider changes it many times a second."""


class AnalyseWidget(JobDock):
    """Finds nuclei, scores cell death and describes patches of an open image by SAE features.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are analysed; napari passes it by this name.
    """

    def __init__(self, napari_viewer: "napari.Viewer") -> None:
        super().__init__(RunBar())
        self._viewer = napari_viewer
        self.controller = AnalyseController(napari_viewer)
        self.setup = SetupPanel(load_settings(), find_devices())
        self.result = ResultPanel(self.controller)
        self.tabs = QTabWidget()
        self._refresh_soon = QTimer(self)
        self._refresh_soon.setSingleShot(True)
        self._refresh_soon.timeout.connect(self.refresh_sources)
        self._store_soon = QTimer(self)
        self._store_soon.setSingleShot(True)
        self._store_soon.setInterval(_STORE_AFTER_MS)
        self._store_soon.timeout.connect(self._store_settings)
        self._lay_out()
        self._connect()
        settings = load_settings()
        self.result.features.set_look(settings.scale_mode, settings.overlay_opacity)
        self.refresh_sources()

    def _lay_out(self) -> None:
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.setup)
        self.tabs.addTab(scroll, "Set up")
        self.tabs.addTab(self.result, "Result")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.run_bar)
        self.setMinimumWidth(_SMALLEST_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            event.connect(self._on_layers_changed)
        self.setup.changed.connect(self._store_soon.start)
        self.setup.open_clicked.connect(self._ask_image)
        self.result.features.look_changed.connect(self._store_soon.start)
        self.result.save_clicked.connect(self._ask_save)
        self.result.load_clicked.connect(self._ask_load)

    def refresh_sources(self) -> None:
        """Offer the images that are open now."""
        self.setup.channels.set_sources(self.controller.sources())

    @override
    def run(self) -> None:
        """Analyse the chosen image with the chosen settings."""
        source = self.setup.channels.source
        if source is None:
            self.run_bar.message.show_error(
                "There is no image to analyse. Open one first, or take the sample: "
                "File > Open Sample > Bio Superposition."
            )
            return
        self._start(lambda: self.controller.analyze(source, self.setup.read_config()), self._show)

    def save(self, folder: Path) -> None:
        """Write the result that is shown into *folder*."""
        self._start(lambda: self.controller.save(folder), self._tell_saved)

    def load(self, folder: Path) -> None:
        """Bring the result in *folder* back onto the chosen image."""
        source = self.setup.channels.source
        if source is None:
            self.run_bar.message.show_error("Open the image that the result was made from first.")
            return
        self._start(lambda: self.controller.load(source, folder), self._show_loaded)

    @override
    def _show_running(self, *, is_running: bool) -> None:
        self.result.set_busy(is_running)

    def _show(self, finished: FinishedAnalysis) -> None:
        self.controller.show(finished)
        self.tabs.setCurrentWidget(self.result)
        self.run_bar.show_done("Done.")

    def _show_loaded(self, finished: FinishedAnalysis) -> None:
        self._show(finished)
        self.setup.show_config(finished.config, finished.analysis.image.roles)

    def _tell_saved(self, folder: Path) -> None:
        self.run_bar.show_done(f"Saved in {folder}.")

    def _ask_save(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder in which to save the result")
        if folder and self.controller.result is not None:
            self.save(Path(folder) / f"{_safe_name(self.controller.result.name)}_analysis")

    def _ask_load(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a saved result")
        if folder:
            self.load(Path(folder))

    def _ask_image(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open an image", "", "Images (*.tif *.tiff *.xml *.json *.zattrs);;All files (*)"
        )
        if path:
            self.open_image(Path(path))

    def open_image(self, path: Path) -> None:
        """Open an image as layers, with its channel names, roles and pixel size."""
        self._start(lambda: open_layers(path), self._add_layers)

    def _add_layers(self, layers: "list[LayerData]") -> None:
        for data, options, kind in layers:
            getattr(self._viewer, f"add_{kind}")(data, **options)

    def _on_layers_changed(self, event: Any) -> None:
        self._refresh_soon.start(0)  # an image of four layers is one change, not four

    def _store_settings(self) -> None:
        features = self.result.features
        store_settings(self.setup.read_settings(features.scale_mode, features.opacity))

    @override
    def _shut_down(self) -> None:
        self._refresh_soon.stop()
        if self._store_soon.isActive():
            self._store_soon.stop()
            self._store_settings()
        self.runner.cancel()
        self.setup.shut_down()
        self.controller.close()


def _safe_name(name: str) -> str:
    """Return *name* with only characters that every file system takes."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
