"""The widget Analyse in a real napari window, with real clicks: what a microscopist expects."""

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QRect, QTimer

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Progress
from napari_bio_superposition.core.types import MultichannelImage

if TYPE_CHECKING:
    from tests.widgets.conftest import Desk

_PLUGIN = "napari-bio-superposition"

pytestmark = pytest.mark.gui

_OPEN_AND_LIST = """
import sys
import napari
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("napari-bio-superposition", "Analyse")
print(sorted({"torch", "scanpy", "anndata", "umap", "stardist"} & set(sys.modules)))
viewer.close()
"""


def test_opening_imports_neither_torch_nor_scanpy(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _OPEN_AND_LIST],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("advanced", [False, True])
def test_run_and_cancel_are_in_sight_on_a_small_screen(desk: "Desk", advanced: bool) -> None:
    setup, bar = desk.widget.setup, desk.widget.run_bar
    if advanced:
        desk.click(setup.advanced_section.toggle)
    window = desk.widget.window()
    assert (window.width(), window.height()) <= (1366, 768)
    inside = QRect(0, 0, window.width(), window.height())
    for tab in range(desk.widget.tabs.count()):
        desk.widget.tabs.setCurrentIndex(tab)
        for button in (bar.run_button, bar.cancel_button):
            place = QRect(button.mapTo(window, QPoint(0, 0)), button.size())
            assert inside.contains(place)
            assert not button.visibleRegion().isEmpty()


def test_without_an_image_one_sentence_tells_what_to_do(desk: "Desk") -> None:
    desk.click(desk.widget.run_bar.run_button)
    assert "Open Sample" in desk.widget.run_bar.message.text
    assert not desk.widget.runner.running


def test_roles_are_guessed_and_results_lie_on_the_image(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.show(small_field)
    desk.set_up()
    assert desk.widget.setup.channels.chosen_roles == dict(small_field.roles)
    images = len(desk.viewer.layers)
    desk.run()
    assert desk.widget.run_bar.message.tone == "good", desk.widget.run_bar.message.text
    first, results = desk.viewer.layers[0], list(desk.viewer.layers)[images:]
    assert {layer.name.split(" · ")[-1] for layer in results} == {"nuclei", "patches", "dead area"}
    for layer in results:
        assert layer.name.startswith(small_field.id)
        np.testing.assert_allclose(layer.scale, first.scale)
        np.testing.assert_allclose(layer.translate, first.translate)
        assert layer.units == first.units
        assert layer.data.shape == small_field.shape


def test_a_stack_of_channels_gives_flat_results(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.viewer.add_image(
        np.asarray(small_field.pixels),
        name="stack",
        scale=(1, 0.6, 0.6),
        units=("pixel", "micrometer", "micrometer"),
        translate=(0, 7, 9),
    )
    desk.settle()
    desk.set_up()
    boxes = desk.widget.setup.channels.role_boxes
    assert [boxes["nuclei"].itemText(i) for i in range(5)][1:] == [
        f"channel {i + 1}" for i in range(4)
    ]
    for role, name in small_field.roles.items():
        boxes[role].setCurrentIndex(small_field.channel_names.index(name) + 1)
    desk.run()
    nuclei = desk.viewer.layers["stack · nuclei"]
    assert isinstance(nuclei, Labels)
    assert nuclei.ndim == 2
    np.testing.assert_allclose(nuclei.translate, (7, 9))
    assert nuclei.units == desk.viewer.layers["stack"].units[1:]


def test_a_run_leaves_the_collector_as_it_was(desk: "Desk", small_field: MultichannelImage) -> None:
    before = gc.get_threshold()
    desk.show(small_field)
    desk.set_up()
    desk.run()
    assert gc.isenabled()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_patches_carry_what_is_known_of_them(desk: "Desk", small_field: MultichannelImage) -> None:
    desk.show(small_field)
    desk.set_up()
    desk.run()
    patches = desk.viewer.layers[f"{small_field.id} · patches"]
    assert len(patches.features) == 1 + 6  # the background is the first row
    label = int(patches.data[130, 5])  # second row, first column of a grid of 3 x 2
    row = patches.features.iloc[label]
    assert (row[Keys.Y], row[Keys.X]) == (128, 0)
    assert {Keys.DEATH, Keys.N_NUCLEI, "accepted", "reason"} <= set(patches.features.columns)


def test_a_missing_role_is_told_before_the_run_and_in_the_result(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.show(small_field)
    desk.set_up()
    desk.widget.setup.channels.role_boxes["lysosomes"].setCurrentIndex(0)
    assert "lysosomes" in desk.widget.setup.missing_message.text
    desk.run()
    assert "Features skipped" in desk.widget.result.notes.text()
    assert f"{small_field.id} · nuclei" in desk.layer_names
    assert desk.widget.result.features.model.rowCount() == 0


def test_the_window_answers_and_progress_has_unit_during_a_run(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.show(small_field)
    desk.set_up()
    seen: list[str] = []
    ticks = 0

    def on_tick() -> None:
        nonlocal ticks
        ticks += desk.widget.runner.running

    timer = QTimer()
    timer.timeout.connect(on_tick)
    timer.start(20)
    label = desk.widget.run_bar.progress_label
    desk.widget.runner.progressed.connect(lambda _: seen.append(label.text()))
    desk.run()
    timer.stop()
    assert ticks >= 5
    assert any("of 6 patches" in text for text in seen)
    assert all(text for text in seen)


def test_cancel_leaves_nothing_and_run_works_again(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.show(small_field)
    desk.set_up()
    before = desk.layer_names
    bar, runner = desk.widget.run_bar, desk.widget.runner
    runner.progressed.connect(lambda _: desk.click(bar.cancel_button))
    with desk.qtbot.waitSignal(runner.cancelled, timeout=desk.timeout_ms):
        desk.click(bar.run_button)
    desk.qtbot.waitUntil(lambda: bar.state == "idle")
    assert desk.layer_names == before
    assert desk.widget.controller.result is None
    assert bar.message.text == "Cancelled; nothing was changed."
    runner.progressed.disconnect()
    runner.progressed.connect(bar.report)
    desk.run()
    assert f"{small_field.id} · nuclei" in desk.layer_names


def _remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _damage_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "expected"), [(_remove_weights, "missing"), (_damage_weights, "damaged")]
)
def test_a_failure_is_one_sentence_and_no_spinner_remains(
    desk: "Desk",
    small_field: MultichannelImage,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    expected: str,
) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(desk.model_folder, folder)
    spoil(folder)
    desk.show(small_field)
    desk.set_up()
    desk.widget.setup.models.choose_model(str(folder))
    before = desk.layer_names
    desk.run()
    bar = desk.widget.run_bar
    assert expected in bar.message.text
    assert bar.message.tone == "error"
    assert not bar.message.details_button.isVisible()
    assert not bar.progress_bar.isVisible()
    assert bar.run_button.isEnabled()
    assert desk.layer_names == before


@pytest.mark.parametrize(
    ("error", "expected", "has_details"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory", False),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError", True),
    ],
)
def test_a_failure_in_the_middle_is_told_too(
    desk: "Desk",
    small_field: MultichannelImage,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: str,
    has_details: bool,
) -> None:
    from napari_bio_superposition.workflows import analyze

    def fail(*args: Any, **options: Any) -> Any:
        yield Progress("Encoding patches", 1, 6, "patches")
        raise error

    monkeypatch.setattr(analyze, "encode_patches", fail)
    desk.show(small_field)
    desk.set_up()
    before = desk.layer_names
    desk.run()
    message = desk.widget.run_bar.message
    assert expected in message.text
    assert message.details_button.isVisible() == has_details
    assert desk.layer_names == before


def test_layers_are_all_shown_or_none(
    desk: "Desk", small_field: MultichannelImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.show(small_field)
    desk.set_up()
    before = desk.layer_names
    layers = desk.widget.controller._viewer.layers.__wrapped__
    append, n_before = type(layers).append, len(before)

    def append_one(self: Any, layer: Any) -> None:
        if len(self) > n_before:
            raise RuntimeError("no more textures")
        append(self, layer)

    monkeypatch.setattr(type(layers), "append", append_one)
    desk.run()
    assert "no more textures" in desk.widget.run_bar.message.text
    assert desk.layer_names == before
    assert desk.widget.controller.result is None


def test_closing_the_dock_during_a_run_stops_the_job(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.show(small_field)
    desk.set_up()
    before = desk.layer_names
    runner = desk.widget.runner
    with desk.qtbot.waitSignal(runner.progressed, timeout=desk.timeout_ms):
        desk.click(desk.widget.run_bar.run_button)
    with desk.qtbot.waitSignal(runner.ended, timeout=desk.timeout_ms):
        desk.viewer.window.remove_dock_widget(desk.widget)
    assert desk.layer_names == before


def test_running_again_replaces_the_layers_of_the_same_image(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.show(small_field)
    desk.set_up()
    desk.run()
    names = desk.layer_names
    models = desk.widget.controller.result.models
    desk.run()
    assert desk.layer_names == names
    assert desk.widget.controller.result.models is models


def test_labels_and_results_are_never_offered_as_images(
    desk: "Desk", small_field: MultichannelImage
) -> None:
    desk.show(small_field)
    desk.set_up()
    desk.run()
    desk.settle()
    box = desk.widget.setup.channels.image_box
    assert [box.itemText(i) for i in range(box.count())] == [small_field.id]


def test_the_sample_is_in_the_menu_and_ready_to_run(desk: "Desk") -> None:
    desk.viewer.open_sample(_PLUGIN, "simulated-neurons")
    desk.settle()
    channels = desk.widget.setup.channels
    assert channels.source is not None
    assert all(channels.chosen_roles.values())
    assert all(isinstance(layer, Image) for layer in desk.viewer.layers)


@pytest.mark.slow
def test_the_sample_runs_through_offline_with_the_bundled_models(desk: "Desk") -> None:
    from napari_bio_superposition.models.catalogue import list_models

    if "small" not in list_models():
        pytest.skip("the bundled model is not built yet")
    desk.viewer.open_sample(_PLUGIN, "simulated-neurons")
    desk.settle()
    desk.run()
    assert desk.widget.run_bar.message.tone == "good", desk.widget.run_bar.message.text
    assert desk.widget.result.features.model.rowCount() > 0


def test_an_image_is_opened_by_the_button(
    desk: "Desk", small_field: MultichannelImage, tmp_path: Path, qtbot: QtBot
) -> None:
    import tifffile

    path = tmp_path / "plate7_B03_s2.ome.tif"
    tifffile.imwrite(
        path,
        np.asarray(small_field.pixels),
        metadata={
            "axes": "CYX",
            "Channel": {"Name": list(small_field.channel_names)},
            "PhysicalSizeX": 0.5,
            "PhysicalSizeY": 0.5,
        },
    )
    desk.do(lambda: desk.widget.open_image(path))
    desk.settle()
    assert desk.widget.setup.channels.chosen_roles == dict(small_field.roles)
    np.testing.assert_allclose(desk.viewer.layers[0].scale, (0.5, 0.5))
    desk.do(lambda: desk.widget.open_image(tmp_path / "missing.tif"))
    assert "missing.tif" in desk.widget.run_bar.message.text
