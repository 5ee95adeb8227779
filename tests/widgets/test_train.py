"""The widget Train in a real napari window, with real clicks."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QRect, Qt

from napari_bio_superposition.core.progress import Job, Progress, run
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.models import catalogue
from napari_bio_superposition.models.encoder_config import NetworkConfig
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.widgets.analyse import AnalyseWidget
from napari_bio_superposition.widgets.train import TrainWidget
from napari_bio_superposition.widgets.train_jobs import Gate, pausable
from napari_bio_superposition.widgets.train_setup_panel import TrainSetupPanel
from napari_bio_superposition.workflows.train_model_config import MODEL_PRESETS, TrainModelConfig

pytestmark = pytest.mark.gui
PLUGIN = "napari-bio-superposition"

_OPEN_AND_LIST = """
import sys
import napari
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("napari-bio-superposition", "Train")
print(sorted({"torch", "scanpy", "lightning", "umap", "sklearn"} & set(sys.modules)))
viewer.close()
"""


def tiny_config() -> TrainModelConfig:
    """Return a whole training of seconds."""
    small = MODEL_PRESETS["small"]
    patches = PatchConfig(side_px=16, quality="none", intensity_scaling="field_percentile")
    encoder = replace(
        small.encoder,
        network=NetworkConfig(width=8, blocks=(1, 1, 1, 1)),
        contrastive=replace(small.encoder.contrastive, n_epochs=3, batch_size=8, queue_size=16),
        data=replace(small.encoder.data, channel_roles=("nuclei", "mitochondria"), patches=patches),
        device="cpu",
    )
    sae = SaeConfig(
        n_latents=16, target_l0=4.0, n_epochs=1, tokens_per_patch=16, batch_tokens=128,
        evaluation_tokens=64, warmup_steps=0,
    )  # fmt: skip
    return TrainModelConfig(encoder=encoder, sae=sae)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a folder of eight small fields of two genotypes, with a table beside it."""
    rng, rows = np.random.default_rng(0), []
    (tmp_path / "images").mkdir()
    for number in range(8):
        counts = rng.integers(100, 60_000, (2, 48, 48)).astype(np.uint16)
        if number % 2:
            counts = counts[:, ::4, ::4].repeat(4, 1).repeat(4, 2)
        path = tmp_path / "images" / f"f{number}.ome.tif"
        write_image(counts, path, channel_names=("DAPI", "TMRM"), pixel_size_um=0.6)
        rows.append((f"f{number}", "P1", f"A{number}", ("Control", "SNCA")[number % 2]))
    table = pd.DataFrame(rows, columns=["image", "plate", "well", "genotype"])
    table.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder of models, which is the test's own."""
    folder = tmp_path / "user" / "models"
    monkeypatch.setattr(catalogue.platformdirs, "user_data_path", lambda *_, **__: folder.parent)
    return folder


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], plugin: None) -> Any:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1366, 768)
    return viewer


@pytest.fixture
def widget(viewer: Any, qtbot: QtBot, models: Path) -> Iterator[TrainWidget]:
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")
    qtbot.waitExposed(widget)
    yield widget
    widget.gate.open()
    widget.runner.shut_down()
    widget._previewer.shut_down()


def _choose(widget: TrainWidget, study: Path, qtbot: QtBot) -> None:
    with qtbot.waitSignal(widget._previewer.ended, timeout=60_000):
        widget.setup.data.choose_folder(study / "images")
    widget._preview_soon.stop()


def _click(qtbot: QtBot, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_opening_imports_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _OPEN_AND_LIST],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.stdout.strip() == "[]"


def test_buttons_are_in_sight_on_a_small_screen(widget: TrainWidget, qtbot: QtBot) -> None:
    window = widget.window()
    inside = QRect(0, 0, window.width(), window.height())
    _click(qtbot, widget.setup.advanced_section.toggle)
    for button in (widget.run_bar.run_button, widget.run_bar.cancel_button):
        place = QRect(button.mapTo(window, QPoint(0, 0)), button.size())
        assert inside.contains(place)
        assert not button.visibleRegion().isEmpty()


def test_without_images_one_sentence_tells_what_to_do(widget: TrainWidget, qtbot: QtBot) -> None:
    _click(qtbot, widget.run_bar.run_button)
    assert "Choose a folder of images" in widget.run_bar.message.text
    _click(qtbot, widget.setup.data.layers_button)
    assert "No open layer comes from a file" in widget.setup.data.message.text


def test_a_complaint_goes_when_its_cause_is_mended(
    widget: TrainWidget, study: Path, qtbot: QtBot
) -> None:
    _click(qtbot, widget.run_bar.run_button)
    assert widget.run_bar.message.tone == "error"
    _choose(widget, study, qtbot)
    assert not widget.run_bar.message.text


def test_a_folder_is_previewed_with_the_table_beside_it(
    widget: TrainWidget, study: Path, qtbot: QtBot
) -> None:
    _choose(widget, study, qtbot)
    data = widget.setup.data
    assert data.table == study / "table.csv"
    cells = [[data.counts.item(r, c).text() for c in range(5)] for r in range(2)]
    assert cells == [["Control", "—", "P1", "4", "4"], ["SNCA", "—", "P1", "4", "4"]]
    assert data.message.text == "8 images, 2 classes (genotype)."
    with qtbot.waitSignal(widget._previewer.ended, timeout=60_000):
        data.class_box.setCurrentIndex(data.class_box.findData("none"))
    assert "no classes" in data.message.text


def test_open_images_can_be_trained_on(
    widget: TrainWidget, viewer: Any, study: Path, qtbot: QtBot
) -> None:
    viewer.open([str(study / "images" / "f0.ome.tif")], plugin=PLUGIN)
    with qtbot.waitSignal(widget._previewer.ended, timeout=60_000):
        _click(qtbot, widget.setup.data.layers_button)
    assert widget.setup.data.paths == (study / "images" / "f0.ome.tif",)
    assert widget.setup.data.message.text.startswith("1 images")


def test_a_preset_fills_the_forms_and_edits_reach_the_config(qtbot: QtBot) -> None:
    panel = TrainSetupPanel()
    qtbot.addWidget(panel)
    assert panel.read_config() == MODEL_PRESETS["small"]
    panel.preset_box.setCurrentIndex(panel.preset_box.findData("paper"))
    assert panel.read_config() == MODEL_PRESETS["paper"]
    panel.forms["contrastive"].editor("n_epochs").widget.setValue(7)
    assert panel.read_config().encoder.contrastive.n_epochs == 7
    panel.inputs_edit.setText("nuclei, mitochondria")
    panel.roles_edit.setText("nuclei=blue")
    data = panel.read_config().encoder.data
    assert data.channel_roles == ("nuclei", "mitochondria")
    assert data.roles == {"nuclei": "blue"}


def test_train_pause_cancel_and_go_on_until_the_model_is_in_analyse(
    widget: TrainWidget, viewer: Any, study: Path, models: Path, qtbot: QtBot
) -> None:
    _, analyse = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyse", tabify=True)
    assert isinstance(analyse, AnalyseWidget)
    box = analyse.setup.models.model_box
    _choose(widget, study, qtbot)
    widget.setup.show_config(tiny_config())
    widget.setup.device_box.setCurrentIndex(widget.setup.device_box.findData("cpu"))

    _click(qtbot, widget.run_bar.run_button)
    qtbot.waitUntil(lambda: len(widget.loss.points("loss")) >= 2, timeout=120_000)
    _click(qtbot, widget.pause_button)
    qtbot.waitUntil(
        lambda: widget.run_bar.progress_label.text().startswith("Paused"), timeout=60_000
    )
    held = len(widget.loss.points("loss"))
    qtbot.wait(400)
    assert len(widget.loss.points("loss")) == held
    with qtbot.waitSignal(widget.runner.ended, timeout=60_000):
        _click(qtbot, widget.run_bar.cancel_button)
    assert "Train goes on with it" in widget.run_bar.message.text
    assert box.findText("my-model") < 0

    new: list[int] = []
    widget.runner.progressed.connect(lambda p: new.append(p.done) if "loss" in p.values else None)
    with qtbot.waitSignal(widget.runner.ended, timeout=240_000):
        _click(qtbot, widget.run_bar.run_button)
    assert widget.run_bar.message.tone == "good", widget.run_bar.message.text
    assert new[0] > 1  # it went on, it did not begin anew
    assert widget.loss.points("loss")[0][0] == 1  # what was there is drawn again
    assert [x for x, _ in widget.probe.points("accuracy")] == [1, 2, 3]
    assert widget.sae_loss.isVisible()
    assert (models / "my-model" / "card.json").is_file()
    box.showPopup()
    box.hidePopup()
    assert box.findText("my-model") >= 0
    analyse.setup.models.choose_model("my-model")
    assert analyse.setup.models.card is not None


def test_a_closed_gate_holds_a_job_up_and_closing_reaches_it() -> None:
    closed: list[bool] = []

    def job() -> Job[int]:
        try:
            for number in range(3):
                yield Progress("Counting", number, 3)
            return 7
        finally:
            closed.append(True)

    gate = Gate()
    running = pausable(job(), gate)
    assert next(running).done == 0
    gate.close()
    assert next(running).step == "Paused"
    gate.open()
    assert next(running).done == 1
    running.close()
    assert closed == [True]
    assert run(pausable(job(), gate)) == 7
