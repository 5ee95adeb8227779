"""The dock Explore with real images: points and patches are one selection, in both directions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt
from qtpy.QtWidgets import QFileDialog

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.widgets.image_link import ImageLink
from napari_bio_superposition.widgets.selection_marks import nuclei_in_patches
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze_files import analyze_files

if TYPE_CHECKING:
    from tests.widgets.conftest import Desk

_LEFT = Qt.MouseButton.LeftButton
_IDS = ("p1_A01_f1", "p1_B02_f1")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, small_field: MultichannelImage) -> Path:
    """Return a folder with two images."""
    folder = tmp_path_factory.mktemp("images")
    for index, name in enumerate(_IDS):
        write_image(
            np.asarray(small_field.pixels) // (index + 1),
            folder / f"{name}.ome.tif",
            channel_names=small_field.channel_names,
            pixel_size_um=0.6,
        )
    return folder


@pytest.fixture(scope="module")
def analysed(
    tmp_path_factory: pytest.TempPathFactory, images: Path, tiny_model_folder: Path
) -> Path:
    """Return the folder that `analyze` wrote of them."""
    out = tmp_path_factory.mktemp("analysed")
    segmentation = SegmentationConfig(method="watershed")
    config = AnalyzeConfig(model=str(tiny_model_folder), device="cpu", segmentation=segmentation)
    run(analyze_files([images], config, out))
    return out


def _click_point(desk: "Desk", view: Any, row: int) -> None:
    view.render_now()
    desk.qtbot.mouseClick(view, _LEFT, pos=QPointF(*view.scene.place_of(row)).toPoint())


@pytest.mark.gui
def test_a_point_opens_its_image_and_both_mark_each_other(
    desk: "Desk", images: Path, analysed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, widget = desk.viewer.window.add_plugin_dock_widget("napari-bio-superposition", "Explore")
    try:
        _open_by_points(desk, widget, images, analysed, monkeypatch)
        _link_both_ways(desk, widget)
        _see_patches(desk, widget)
    finally:
        widget.runner.shut_down()


def _wait(desk: "Desk", widget: Any) -> None:
    desk.qtbot.waitUntil(lambda: not widget.runner.running, timeout=desk.timeout_ms)
    desk.qtbot.waitUntil(lambda: not widget._refresh_soon.isActive())


def _open_by_points(
    desk: "Desk", widget: Any, images: Path, analysed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def choose(*arguments: Any) -> str:
        asked.append(str(arguments[1]))
        return str(images)

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", choose)
    widget.open_table(analysed / "patches.h5ad")
    _wait(desk, widget)
    table = widget.study.table
    ids = table.obs["image_id"].astype(str)
    assert sorted(set(ids)) == sorted(set(_IDS))
    widget.tabs.setCurrentWidget(widget.groups)
    for name in _IDS:
        row = int(np.flatnonzero(ids == name)[1])
        widget.study.selection.select([row])
        desk.click(widget.groups.show_button)
        _wait(desk, widget)
        assert widget.run_bar.message.tone == "good", widget.run_bar.message.text
        assert name in widget.study.images
        centre = np.array(desk.viewer.scene.camera.center)[-2:]
        np.testing.assert_allclose(centre, widget.controller.locate(row))
    assert len(asked) == 1  # the folder is asked for once
    assert widget.study.table is table or widget.study.table.n_obs == table.n_obs


def _link_both_ways(desk: "Desk", widget: Any) -> None:
    study = widget.study
    widget.tabs.setCurrentWidget(widget.embedding)
    view = widget.embedding.view
    desk.qtbot.waitUntil(view.isVisible)
    link = ImageLink.of(desk.viewer)
    for name in _IDS:
        image = study.images[name]
        row = int(image.rows[2])
        study.selection.clear()
        _click_point(desk, view, row)
        # The two images lie at the same place in the world, so the points are on one another.
        assert len(study.selection) == 1
        study.selection.select([row])
        marks = link.marks(name)
        assert marks is not None
        nuclei = image.analysis.labels
        opacity = np.asarray(marks.layer.colormap.map(marks.layer.data))[..., 3]
        middle = tuple(image.origins[2] + image.side_px // 2)
        assert opacity[middle] > 0
        pairs = nuclei_in_patches(nuclei, image.origins, image.side_px)
        chosen = np.isin(nuclei, pairs[pairs[:, 1] == 2, 0])
        assert chosen.any()
        assert (opacity[chosen] > 0.5).all()
    study.set_current(_IDS[1])
    image = study.images[_IDS[1]]
    place = image.geometry.to_world(image.origins[4] + image.side_px / 2)
    link.click(place)
    row = int(image.rows[4])
    assert study.selection.rows.tolist() == [row]
    assert view._current == row
    desk.viewer.layers.remove(link.marks(_IDS[1]).layer)
    study.selection.select([int(image.rows[3])])
    assert link.marks(_IDS[1]) is not None  # deleted marks come back with the next selection


def _see_patches(desk: "Desk", widget: Any) -> None:
    study = widget.study
    image = study.images[_IDS[0]]
    pictures = widget.groups._thumbnails
    plain = pictures.picture(int(image.rows[1]))
    assert plain is not None
    assert plain.shape == (image.side_px, image.side_px, 3)
    assert plain.std() > 5
    maxima = np.asarray(study.table.var["max_activation"])
    laid_over = pictures.picture(int(image.rows[1]), int(maxima.argmax()))
    assert laid_over is not None
    assert (laid_over != plain).any()
    study.selection.select(np.ones(study.table.n_obs, bool))
    widget.tabs.setCurrentWidget(widget.groups)
    desk.click(widget.groups.gallery_button)
    assert widget.groups.gallery.count() == study.table.n_obs
    item = widget.groups.gallery.item(0)
    place = widget.groups.gallery.visualItemRect(item).center()
    desk.qtbot.mouseClick(widget.groups.gallery.viewport(), _LEFT, pos=place)
    assert len(study.selection) == 1


@pytest.mark.gui
def test_an_image_that_is_not_in_the_folder_is_asked_for_again(
    desk: "Desk", analysed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, widget = desk.viewer.window.add_plugin_dock_widget("napari-bio-superposition", "Explore")
    (tmp_path / "other").mkdir()
    write_image(
        np.zeros((1, 8, 8), np.uint16), tmp_path / "other" / "x.ome.tif", channel_names=["a"]
    )
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "other"))
    widget.open_table(analysed / "patches.h5ad")
    _wait(desk, widget)
    for _ in range(2):
        widget.show_in_image(0)
        _wait(desk, widget)
        assert widget.run_bar.message.tone == "error"
        assert "Choose the folder" in widget.run_bar.message.text
        assert widget._image_folder is None
    assert len(desk.viewer.layers) == 0
