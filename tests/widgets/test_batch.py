"""The dock widget Batch in a real window: a folder analysed by clicks, gone on with, opened."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from npe2 import PluginManifest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.widgets.batch import BatchWidget
from napari_bio_superposition.workflows.batch import run_batch

pytestmark = pytest.mark.gui
TIMEOUT_MS = 120_000
"""A limit against hanging, not a bar: the machine may be busy."""
CHANNELS = ["MitoTDR", "Lyso", "H33342", "Sytox"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of three good fields, a damaged one and a note."""
    folder = tmp_path / "plate"
    folder.mkdir()
    y, x = np.mgrid[:160, :160]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        pixels = rng.normal(300, 20, (4, 160, 160))
        for _ in range(6):
            centre = rng.uniform(20, 140, 2)
            disc = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 98)
            pixels[2] += 3000 * disc
            pixels[3] += 1500 * disc
            pixels[0] += 1500 * np.roll(disc, 9, axis=1) * (rng.random((160, 160)) < 0.6)
            pixels[1] += 2000 * np.roll(disc, -9, axis=0) * (rng.random((160, 160)) < 0.2)
        tifffile.imwrite(
            folder / f"P1_A0{seed + 1}_s1.ome.tif",
            pixels.astype(np.uint16),
            metadata={"axes": "CYX", "Channel": {"Name": CHANNELS}},
        )
    (folder / "P1_B01_s1.ome.tif").write_bytes(b"II*\0")
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
def widget(
    make_napari_viewer: Callable[..., Any], qtbot: QtBot, tiny_model_folder: Path, images: Path
) -> Iterator[BatchWidget]:
    """Return the widget in a window, with a quick model chosen."""
    viewer = make_napari_viewer(show=True)
    opened = BatchWidget(viewer)
    viewer.window.add_dock_widget(opened, name="Batch", area="right")
    opened.setup.model.choose_model(str(tiny_model_folder))
    opened.setup.forms["segmentation"].editor("method").show("watershed")
    opened.setup.choose_images(images)
    wait_idle(opened, qtbot)
    yield opened
    opened.close()


def wait_idle(widget: BatchWidget, qtbot: QtBot) -> None:
    runners = (widget.runner, widget._lister, widget._refresher, widget._opener)
    qtbot.waitUntil(lambda: not any(one.running for one in runners), timeout=TIMEOUT_MS)


def click_run(widget: BatchWidget, qtbot: QtBot) -> None:
    qtbot.mouseClick(widget.run_bar.run_button, Qt.MouseButton.LeftButton)
    wait_idle(widget, qtbot)


def standings(widget: BatchWidget) -> dict[str, str]:
    return {row.id: row.standing for row in widget.table.fields.rows}


def test_it_is_in_the_manifest() -> None:
    manifest = PluginManifest.from_distribution("napari-bio-superposition")
    assert "Batch" in [one.display_name for one in manifest.contributions.widgets or ()]


def test_a_folder_is_listed_analysed_and_opened(
    widget: BatchWidget, qtbot: QtBot, images: Path
) -> None:
    assert standings(widget) == dict.fromkeys(
        ("P1_A01_s1", "P1_A02_s1", "P1_A03_s1", "P1_B01_s1"), "waiting"
    )
    assert "notes.txt is no image" in widget.run_bar.message.text
    qtbot.waitUntil(
        lambda: len(widget.table.fields._pictures) == 4 and not widget._pictures.running,
        timeout=TIMEOUT_MS,
    )
    click_run(widget, qtbot)
    assert list(standings(widget).values()) == ["done", "done", "done", "failed"]
    reason = widget.table.fields.rows[3].detail
    assert "P1_B01_s1.ome.tif" in reason
    assert "3 fields done, 1 failed" in widget.run_bar.message.text
    assert reason not in widget.run_bar.message.text  # of a thousand fields it would fill the dock
    assert widget.report_button.isEnabled()
    qtbot.mouseClick(widget.explore_button, Qt.MouseButton.LeftButton)
    wait_idle(widget, qtbot)
    assert widget.study.table is not None
    assert set(widget.study.table.obs["image_id"]) == {"P1_A01_s1", "P1_A02_s1", "P1_A03_s1"}
    _double_click(widget, qtbot, row=1)
    wait_idle(widget, qtbot)
    assert "P1_A02_s1" in widget.study.images
    assert widget.study.images["P1_A02_s1"].overlay(3).shape == (160, 160)
    widget.study.request_open("P1_A03_s1")
    wait_idle(widget, qtbot)
    assert "P1_A03_s1" in widget.study.images
    assert widget.study.table.n_obs == 3


def _double_click(widget: BatchWidget, qtbot: QtBot, row: int) -> None:
    table = widget.table
    rectangle = table.visualRect(table.fields.index(row, 1))
    place = QPoint(rectangle.center())
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_the_numbers_are_those_of_python(
    widget: BatchWidget, qtbot: QtBot, images: Path, tmp_path: Path
) -> None:
    click_run(widget, qtbot)
    request = widget.setup.read_request()
    run(run_batch(images, request.config, tmp_path / "python"))
    ours, theirs = (
        anndata.read_h5ad(folder / "patches.h5ad") for folder in (request.out, tmp_path / "python")
    )
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    np.testing.assert_array_equal(np.asarray(ours.X), np.asarray(theirs.X))


def test_cancel_keeps_what_is_done_and_run_goes_on(widget: BatchWidget, qtbot: QtBot) -> None:
    qtbot.mouseClick(widget.run_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "done" in standings(widget).values(), timeout=TIMEOUT_MS)
    qtbot.mouseClick(widget.run_bar.cancel_button, Qt.MouseButton.LeftButton)
    wait_idle(widget, qtbot)
    assert "Run goes on from here" in widget.run_bar.message.text
    click_run(widget, qtbot)
    assert list(standings(widget).values()) == ["done", "done", "done", "failed"]


def test_pause_holds_the_run_up(widget: BatchWidget, qtbot: QtBot) -> None:
    qtbot.mouseClick(widget.run_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(widget.pause_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Paused" in widget.run_bar.progress_label.text(), timeout=TIMEOUT_MS)
    assert widget.pause_button.text() == "Go on"
    before = standings(widget)
    qtbot.wait(300)
    assert standings(widget) == before
    qtbot.mouseClick(widget.pause_button, Qt.MouseButton.LeftButton)
    wait_idle(widget, qtbot)
    assert list(standings(widget).values()) == ["done", "done", "done", "failed"]


def test_a_finished_run_is_opened(widget: BatchWidget, qtbot: QtBot) -> None:
    click_run(widget, qtbot)
    folder = widget.setup.read_request().out
    widget.table.fields.show_rows([])
    click_run(widget, qtbot)  # only what failed is tried again; the others were done before
    assert list(standings(widget).values()) == ["done", "done", "done", "failed"]
    widget.table.fields.show_rows([])
    widget.setup.run_chosen.emit(folder)
    wait_idle(widget, qtbot)
    assert list(standings(widget).values()) == ["done", "done", "done", "failed"]
    assert "nuclei" in widget.table.fields.rows[0].detail
    assert widget.explore_button.isEnabled()


def test_every_setting_of_the_command_can_be_chosen(widget: BatchWidget, qtbot: QtBot) -> None:
    setup = widget.setup
    qtbot.keyClicks(setup.overlays_edit, "2, 5")
    setup.forms["analysis"].editor("missing_roles").show("blank")
    setup.forms["analysis"].editor("seed").show(7)
    setup.forms["death"].editor("min_nuclear_fraction").show(0.1)
    config = setup.read_request().config
    assert config.overlays == (2, 5)
    assert (config.analysis.missing_roles, config.analysis.seed) == ("blank", 7)
    assert config.analysis.death.min_nuclear_fraction == 0.1
    assert config.analysis.model == setup.model.model
    setup.overlays_edit.setText("many")
    click_run(widget, qtbot)
    assert "names no latents" in widget.run_bar.message.text


def test_a_bad_choice_is_one_sentence(widget: BatchWidget, qtbot: QtBot, tmp_path: Path) -> None:
    widget.setup.images_edit.setText(str(tmp_path / "nowhere"))
    click_run(widget, qtbot)
    assert "does not exist" in widget.run_bar.message.text
    widget.setup.images_edit.setText("")
    click_run(widget, qtbot)
    assert "Choose a folder of images" in widget.run_bar.message.text
