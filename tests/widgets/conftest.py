"""A real napari window with the real plugin, its settings in a folder of the test, and an image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from pytestqt.qtbot import QtBot

from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.imaging.simulation.field import FieldSpec, simulate_field
from napari_bio_superposition.imaging.simulation_config import SimulationConfig
from napari_bio_superposition.widgets.analyse import AnalyseWidget
from napari_bio_superposition.widgets.image_layers import make_image_layers

PLUGIN = "napari-bio-superposition"
RUN_TIMEOUT_MS = 120_000
"""A limit against hanging, not a bar: the machine may be busy."""


@pytest.fixture(scope="session")
def small_field() -> MultichannelImage:
    """Return a simulated field of 3 x 2 patches, with a place in the world."""
    spec = FieldSpec(plate="p1", well="A01", site="1", genotype="GBA", line="SIM-GBA-1")
    config = SimulationConfig(side_px=384)
    image = simulate_field(spec, config, np.random.default_rng(0)).image
    return MultichannelImage(
        pixels=image.pixels[:, :, :256],
        channel_names=image.channel_names,
        roles=image.roles,
        full_scale=image.full_scale,
        pixel_size_um=0.6,
        acquisition=image.acquisition,
        translate_um=(120.0, -45.0),
    )


@dataclass
class Desk:
    """A napari window in which the widget *Analyse* is open, and hands that click."""

    viewer: Any
    widget: AnalyseWidget
    qtbot: QtBot
    model_folder: Path
    timeout_ms: int = RUN_TIMEOUT_MS

    def show(self, image: MultichannelImage) -> None:
        """Open an image as our reader does."""
        for data, options, _ in make_image_layers(image):
            self.viewer.add_image(data, **options)
        self.settle()

    def settle(self) -> None:
        """Let the window take notice of changed layers."""
        self.qtbot.waitUntil(lambda: not self.widget._refresh_soon.isActive())

    def set_up(self) -> None:
        """Choose the small random model, the CPU and the quick segmentation."""
        self.widget.setup.models.choose_model(str(self.model_folder))
        self.widget.setup.models.choose_device("cpu")
        method = self.widget.setup.advanced.forms["segmentation"].editor("method").widget
        method.setCurrentText("watershed")

    def click(self, button: Any) -> None:
        """Click a button as a user does."""
        from qtpy.QtCore import Qt

        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def run(self) -> None:
        """Click Run and wait for the end."""
        self.do(lambda: self.click(self.widget.run_bar.run_button))

    def do(self, action: Callable[[], None]) -> None:
        """Start a job and wait for its end."""
        with self.qtbot.waitSignal(self.widget.runner.ended, timeout=RUN_TIMEOUT_MS):
            action()

    def tick(self, latent: int) -> None:
        """Click the check box of a feature."""
        from qtpy.QtCore import QPoint, Qt

        table = self.widget.result.features.table
        row = self.widget.result.features.model.row_of(latent)
        index = table.model().index(row, 0)
        table.scrollTo(index)
        cell = table.visualRect(index)
        place = QPoint(cell.left() + 10, cell.center().y())
        self.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)

    @property
    def layer_names(self) -> list[str]:
        """Names of the open layers, bottom first."""
        return [layer.name for layer in self.viewer.layers]


@pytest.fixture
def plugin(plugin_settings: None, npe2pm: Any) -> None:
    """Register the real manifest; settings are kept in a folder of the test."""
    npe2pm.register(PluginManifest.from_distribution(PLUGIN))


@pytest.fixture
def desk(
    make_napari_viewer_proxy: Callable[..., Any],
    plugin: None,
    qtbot: QtBot,
    tiny_model_folder: Path,
) -> Iterator[Desk]:
    """Open napari at the size of a small laptop screen, with the widget in its dock."""
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1366, 768)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyse")
    desk = Desk(viewer, widget, qtbot, tiny_model_folder)
    qtbot.waitExposed(widget)
    yield desk
    widget.runner.shut_down()
