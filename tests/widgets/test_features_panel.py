"""The dock Features in a real napari window, with real clicks and strokes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtTest import QTest

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.widgets.channel_page import ChannelPage
from napari_bio_superposition.widgets.compare_page import ComparePage
from napari_bio_superposition.widgets.effect_page import EffectPage
from napari_bio_superposition.widgets.feature_page_view import FeaturePageView
from napari_bio_superposition.widgets.features_panel import FeaturesWidget
from napari_bio_superposition.widgets.find_page import FindPage
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.widgets.maximize_page import MaximizePage
from napari_bio_superposition.widgets.region_page import RegionPage
from napari_bio_superposition.widgets.study import Study

pytestmark = pytest.mark.gui

_PLUGIN = "napari-bio-superposition"
_TIMEOUT_MS = 120_000
_LEFT = Qt.MouseButton.LeftButton
_OPEN_AND_LIST = """
import sys
import napari
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("napari-bio-superposition", "Features")
print(sorted({"torch", "scanpy", "anndata", "umap"} & set(sys.modules)))
viewer.close()
"""


@pytest.fixture(scope="session")
def analysed(small_field: MultichannelImage, tiny_model_folder: Path) -> Any:
    """Return an analysis with tokens of the small field, and its networks."""
    from napari_bio_superposition.segmentation.config import SegmentationConfig
    from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
    from napari_bio_superposition.workflows.analyze import analyze_image
    from napari_bio_superposition.workflows.loading import load_models

    config = AnalyzeConfig(
        model=str(tiny_model_folder),
        device="cpu",
        segmentation=SegmentationConfig(method="watershed"),
    )
    models = run(load_models(config))
    return run(analyze_image(small_field, config, models=models, keep_tokens=True)), models


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """Return a folder with the result of another image, whose file lies beside it."""
    from napari_bio_superposition.imaging.simulate import simulate_study, write_study
    from napari_bio_superposition.imaging.simulation_config import SimulationConfig
    from napari_bio_superposition.segmentation.config import SegmentationConfig
    from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
    from napari_bio_superposition.workflows.analyze_files import analyze_files

    folder = tmp_path_factory.mktemp("elsewhere")
    config = SimulationConfig(side_px=256, n_plates=1, wells_per_class=1)
    run(write_study(simulate_study(config, rng=np.random.default_rng(2)), folder / "study"))
    image = sorted((folder / "study" / "images").glob("*.tif"))[0]
    settings = AnalyzeConfig(
        model=str(tiny_model_folder),
        device="cpu",
        segmentation=SegmentationConfig(method="watershed"),
    )
    run(analyze_files([image], settings, folder / "result"))
    return folder


@dataclass
class Bench:
    """A window with the dock Features on an analysed image, and hands that click."""

    viewer: Any
    widget: FeaturesWidget
    study: Study
    qtbot: QtBot

    @property
    def canvas(self) -> Any:
        """The widget that napari draws on."""
        viewer = getattr(self.viewer, "__wrapped__", self.viewer)
        return viewer.window._qt_viewer.canvas.native

    def click(self, widget: Any, place: QPoint | None = None, modifier: Any = None) -> None:
        options = {} if place is None else {"pos": place}
        modifier = Qt.KeyboardModifier.NoModifier if modifier is None else modifier
        self.qtbot.mouseClick(widget, _LEFT, modifier, **options)

    def drag(self, *places: QPoint) -> None:
        QTest.mousePress(self.canvas, _LEFT, Qt.KeyboardModifier.NoModifier, places[0])
        for place in places[1:]:
            QTest.mouseMove(self.canvas, place)
            self.qtbot.wait(10)
        QTest.mouseRelease(self.canvas, _LEFT, Qt.KeyboardModifier.NoModifier, places[-1])

    def place_of_patch(self, patch: int, shift: tuple[float, float] = (0.5, 0.5)) -> QPoint:
        """Return where a patch lies on the canvas."""
        image = self.study.images[next(iter(self.study.images))]
        pixel = image.origins[patch] + np.array(shift) * image.side_px
        world = image.geometry.to_world(pixel)
        camera = self.viewer.scene.camera
        size = np.array([self.canvas.height(), self.canvas.width()])
        row, column = (world - np.array(camera.center)[-2:]) * camera.zoom + size / 2
        return QPoint(round(column), round(row))

    def click_row(self, table: Any, row: int, column: int = 1) -> None:
        index = table.model.index(row, column)
        table.view.scrollTo(index)
        self.click(table.view.viewport(), table.view.visualRect(index).center())

    def wait(self, signal: Any, action: Callable[[], Any]) -> None:
        with self.qtbot.waitSignal(signal, timeout=_TIMEOUT_MS):
            action()

    def run(self) -> None:
        button = self.widget.run_bar.run_button
        self.wait(self.widget.runner.ended, lambda: self.click(button))

    def open(self, kind: Any) -> Any:
        self.widget.show_page(kind)
        return self.widget.page(kind)


@pytest.fixture
def empty_bench(
    make_napari_viewer_proxy: Callable[..., Any],
    plugin: None,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    """Open napari at the size of a small laptop screen, with the dock and nothing else."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1366, 768)
    _, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, "Features")
    qtbot.waitExposed(widget)
    yield Bench(viewer, widget, Study.of(viewer), qtbot)
    widget.runner.shut_down()


@pytest.fixture
def bench(empty_bench: Bench, small_field: MultichannelImage, analysed: Any) -> Bench:
    """Return a window with an analysed image, as the dock Analyse leaves it."""
    for data, options, _ in make_image_layers(small_field):
        empty_bench.viewer.add_image(data, **options)
    geometry = Geometry.of_layer(empty_bench.viewer.layers[0])
    analysis, models = analysed
    table = analysis.table.copy()
    from dataclasses import replace

    fresh = replace(analysis, table=table)
    empty_bench.study.add_analysis(fresh, models, geometry=geometry, name="field")
    empty_bench.viewer.fit_to_view()
    empty_bench.qtbot.wait(50)
    return empty_bench


def test_opening_imports_neither_torch_nor_scanpy(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _OPEN_AND_LIST],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.stdout.strip() == "[]"


def test_an_empty_dock_fits_a_small_screen_and_says_what_to_do(empty_bench: Bench) -> None:
    widget = empty_bench.widget
    window = widget.window()
    inside = QRect(0, 0, window.width(), window.height())
    for page in widget.pages:
        widget.show_page(type(page))
        empty_bench.qtbot.wait(20)
        assert (window.width(), window.height()) <= (1366, 768)
        for button in (widget.run_bar.run_button, widget.run_bar.cancel_button):
            assert inside.contains(QRect(button.mapTo(window, QPoint(0, 0)), button.size()))
        empty_bench.click(widget.run_bar.run_button)
        assert widget.run_bar.message.tone == "error"
        assert len(widget.run_bar.message.text) > 20
        assert not widget.runner.running


def test_a_painted_region_is_answered_and_a_click_shows_the_map(bench: Bench) -> None:
    page = bench.open(RegionPage)
    bench.click(page.paint_button)
    layer = bench.viewer.layers.selection.active
    assert layer.mode == "paint"
    np.testing.assert_allclose(layer.translate, bench.viewer.layers[0].translate)
    start, end = (bench.place_of_patch(0, at) for at in ((0.3, 0.3), (0.6, 0.7)))
    bench.wait(page.query.answered, lambda: bench.drag(start, (start + end) / 2, end))
    assert 0 < (layer.data > 0).mean() < 0.2
    assert page.table.model.rowCount() == bench.study.table.n_vars
    assert "random regions" in page.note.text()
    bench.click_row(page.table, 0)
    latent = page.table.model.latent_at(0)
    assert bench.study.shown_feature == latent
    assert [one.latent for one in bench.widget.explorer.display.shown] == [latent]
    bench.click_row(page.table, 2)
    assert len(bench.widget.explorer.display.shown) == 1  # the next one took its place
    bench.viewer.layers[layer.name].data = np.zeros_like(layer.data)
    bench.qtbot.waitUntil(lambda: "empty" in page.message.text, timeout=_TIMEOUT_MS)
    assert page.table.model.rowCount() == 0


def _paint_two_regions(bench: Bench) -> tuple[RegionPage, Any]:
    """Return the page that was asked about two regions, and the layer with them."""
    page = bench.open(RegionPage)
    bench.click(page.paint_button)
    layer = bench.viewer.layers.selection.active
    labels = np.zeros_like(layer.data)
    labels[20:60, 20:60], labels[200:240, 150:190] = 1, 2
    bench.wait(page.query.answered, lambda: setattr(layer, "data", labels))
    return page, layer


def test_several_regions_are_compared(bench: Bench) -> None:
    page, _ = _paint_two_regions(bench)
    names = [page.region_box.itemText(i) for i in range(page.region_box.count())]
    assert names == ["ROI 1", "ROI 2", "All, side by side"]
    page.region_box.setCurrentIndex(2)
    assert [page.table.model.headerData(c, Qt.Orientation.Horizontal) for c in range(3)] == [
        "Feature", "ROI 1", "ROI 2",
    ]  # fmt: skip


def test_a_click_on_a_patch_selects_it_and_keys_step_through(bench: Bench) -> None:
    study, selected = bench.study, "field · selected"
    bench.click(bench.canvas, bench.place_of_patch(1))
    assert study.selection.rows.tolist() == [1]
    assert selected in bench.viewer.layers
    bench.click(bench.canvas, bench.place_of_patch(3), Qt.KeyboardModifier.ShiftModifier)
    assert study.selection.rows.tolist() == [1, 3]
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.AltModifier)
    assert study.selection.rows.tolist() == [1]
    bench.click(bench.widget.selection_bar.redo_button)
    assert study.selection.rows.tolist() == [1, 3]
    bench.viewer.layers[selected].visible = False
    bench.viewer.layers[selected].name = "marks"
    study.selection.select([2], source="plot")
    assert "marks" in bench.viewer.layers
    bench.viewer.layers.remove(bench.viewer.layers["marks"])
    bench.click(bench.canvas, bench.place_of_patch(0))
    assert selected in bench.viewer.layers
    drag = bench.place_of_patch(2), bench.place_of_patch(4)
    bench.drag(*drag)  # moves the canvas, and selects nothing
    assert study.selection.rows.tolist() == [0]


def test_undo_of_painting_and_of_selecting_do_not_mix(bench: Bench) -> None:
    page, study = bench.open(RegionPage), bench.study
    bench.click(page.paint_button)
    layer = bench.viewer.layers.selection.active
    start, end = (bench.place_of_patch(0, at) for at in ((0.3, 0.3), (0.6, 0.7)))
    bench.wait(page.query.answered, lambda: bench.drag(start, (start + end) / 2, end))
    painted = np.array(layer.data)
    assert painted.any()
    for row in range(20):  # the brush is active: selections come from elsewhere
        study.selection.select([row % 5], source="plot")
    bench.viewer.layers.selection.active = layer
    control, alt = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Z, alt)
    assert study.selection.rows.tolist() == [3]
    np.testing.assert_array_equal(layer.data, painted)
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Z, control)
    assert not np.asarray(layer.data).any()
    assert study.selection.rows.tolist() == [3]
    for _ in range(19):
        bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Z, alt)
    assert len(study.selection) == 0
    for _ in range(20):
        bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Z, alt | Qt.KeyboardModifier.ShiftModifier)
    assert study.selection.rows.tolist() == [4]


def test_groups_are_compared_and_a_click_in_the_plot_shows_the_map(bench: Bench) -> None:
    page = bench.open(ComparePage)
    bench.study.selection.select([0, 1, 2])
    page.choose_groups("selection")
    bench.run()
    assert bench.widget.run_bar.message.tone == "good", bench.widget.run_bar.message.text
    assert "without a second well" in page.note.text()
    latent = page.table.model.latent_at(1)
    bench.qtbot.wait(20)
    bench.click(page.volcano, page.volcano.place_of(latent))
    shown = bench.study.shown_feature
    assert page.volcano.place_of(shown) == page.volcano.place_of(latent)
    assert [one.latent for one in bench.widget.explorer.display.shown] == [shown]
    bench.study.save_group("three")
    assert page.first_box.findText("Group three") >= 0


def test_features_are_found_kept_as_a_list_and_written(bench: Bench, tmp_path: Path) -> None:
    page = bench.open(FindPage)
    bench.run()
    n_all = page.table.model.rowCount()
    assert n_all == bench.study.table.n_vars
    rates = bench.study.table.var["firing_rate"]
    page.least_density.setValue(100 * float(rates.median()))
    assert 0 < page.table.model.rowCount() < n_all
    page.least_fold.setValue(0.5)
    assert "Compare two groups first" in page.message.text
    page.least_fold.setValue(0.0)
    page.keep_list("dense ones")
    assert page.list_box.findText("dense ones") > 0
    page.write_csv(tmp_path / "features.csv")
    lines = (tmp_path / "features.csv").read_text().splitlines()
    assert len(lines) == 1 + page.table.model.rowCount()
    html = tmp_path / "features.html"
    bench.wait(bench.widget.runner.ended, lambda: page.write_gallery(html))
    assert page.message.tone == "good", bench.widget.run_bar.message.text
    assert html.read_text().count("data:image/png") > 4


def test_a_feature_has_a_page_with_notes_for_all_images(bench: Bench) -> None:
    page = bench.open(FeaturePageView)
    bench.wait(page.query.answered, lambda: bench.study.show_feature(4))
    assert page.number.value() == 4
    assert "Active at" in page.facts.text()
    assert page.directions.model.rowCount() > 3
    assert page.gallery.rows[0].caption == "Strongest"
    picture = page.gallery.rows[0].pictures[0]
    bench.click(page.gallery, page.gallery.place_of(picture.key))
    assert bench.study.selection.rows.tolist() == [picture.key]
    page.view_box.setCurrentIndex(2)
    page.view_box.activated.emit(2)
    assert page.gallery.rows[0].pictures[0].pixels.shape == (128, 128, 3)
    bench.qtbot.keyClicks(page.name, "threads")
    bench.qtbot.keyClick(page.name, Qt.Key.Key_Return)
    assert bench.widget.explorer.read_notes().names == {4: "threads"}


def test_a_channel_is_made_of_features(bench: Bench) -> None:
    page = bench.open(ChannelPage)
    bench.click(bench.canvas, bench.place_of_patch(1))
    page.source_box.setCurrentIndex(page.source_box.findData("selection"))
    bench.run()
    assert page.channels.model.rowCount() == 16
    assert "Channel" in page.note.text()
    assert len(page.chart.curves["explained"]) == page.features.model.rowCount() > 0
    bench.wait(page.query.answered, lambda: bench.click_row(page.channels, 3))
    assert str(page.channels.model.latent_at(3)) in page.note.text()


def test_a_feature_is_taken_away_and_pushed(bench: Bench) -> None:
    page = bench.open(EffectPage)
    bench.study.show_feature(4)
    bench.run()
    assert bench.widget.run_bar.message.tone == "good", bench.widget.run_bar.message.text
    assert "No class: all patches are of one genotype" in page.note.text()
    without = page.table.model.data(page.table.model.index(0, 3))
    page.factor.setValue(1.0)
    bench.run()
    unchanged = page.table.model.data(page.table.model.index(0, 3))
    assert abs(float(unchanged)) < 1e-3 < abs(float(without))


def test_cnn_channels_are_compared_shown_and_explained(bench: Bench) -> None:
    page, display = bench.open(ComparePage), bench.widget.explorer.display
    bench.study.selection.select([0, 1, 2])
    page.choose_groups("selection")
    page.form.editor("values").show("cnn")
    bench.run()
    assert "channels differ" in page.note.text()
    bench.qtbot.wait(50)
    place = page.volcano.place_of(page.table.model.latent_at(1))
    channel = page.volcano.latent_at(place)  # that one, or one drawn over it
    drawing = bench.widget.channel_drawing
    bench.wait(drawing.answered, lambda: bench.click(page.volcano, place))
    assert display.shown_channel.channel == channel
    assert display.shown == ()  # the latent of the same number is something else
    layer = bench.viewer.layers[f"field · channel_{channel:05d}"]
    side = bench.study.current.side_px
    cnn = bench.study.table.obsm[Keys.CNN]
    # The mean of absolute values is at least the absolute mean, which is what was compared.
    assert np.nanmean(layer.data[:side, :side]) >= 0.95 * abs(cnn[0, channel])
    channels = bench.widget.page(ChannelPage)
    bench.wait(channels.query.answered, lambda: bench.click(page.explain_button))
    assert bench.widget.current_page is channels
    assert f"Channel {channel}:" in channels.note.text()
    channels.way_box.setCurrentIndex(1)
    bench.wait(channels.query.answered, lambda: channels.way_box.activated.emit(1))
    assert f"Channel {channel}, patch" in channels.note.text()
    assert "as published" in channels.note.text()
    assert channels.chart.curves["covered"].size == channels.features.model.rowCount() > 0
    bench.click(bench.widget.legend.clear_button)
    assert display.shown_channel is None
    assert all("channel_" not in layer.name for layer in bench.viewer.layers)


def test_examples_of_images_that_are_not_open_are_read_from_disk(
    bench: Bench, elsewhere: Path
) -> None:
    from napari_bio_superposition.features.table import concat_tables, read_table

    other = read_table(elsewhere / "result" / "patches.h5ad")
    bench.study.set_table(concat_tables([bench.study.table, other]))
    page = bench.open(FeaturePageView)
    latent = int(np.asarray(other.X.mean(axis=0)).ravel().argmax())
    bench.wait(page.query.answered, lambda: bench.study.show_feature(latent))
    blank = [one for row in page.gallery.rows for one in row.pictures if one.note]
    assert blank
    assert "not open" in blank[0].tip
    assert "neither open nor found" in page.message.text
    bench.wait(page.reader.idle, lambda: page.find_images(elsewhere / "result"))
    pictures = [one for row in page.gallery.rows for one in row.pictures]
    assert not [one.tip for one in pictures if one.note]
    assert not page.find_button.isVisible()
    place = page.gallery.place_of(blank[0].key)
    gallery = page.gallery
    bench.wait(
        bench.widget.opener.ended, lambda: bench.qtbot.mouseDClick(gallery, _LEFT, pos=place)
    )
    image = str(other.obs[Keys.IMAGE].iloc[0])
    assert bench.study.current.analysis.image.id == image
    assert bench.widget.explorer.image().analysis.tokens is not None
    assert f"{image} · nuclei" in bench.viewer.layers
    np.testing.assert_allclose(
        np.array(bench.viewer.scene.camera.center)[-2:],
        _centre_of(bench.study, blank[0].key),
        atol=1e-6,
    )


def test_a_file_that_is_gone_is_named(bench: Bench, elsewhere: Path, tmp_path: Path) -> None:
    import shutil

    from napari_bio_superposition.features.table import concat_tables, read_table

    shutil.copytree(elsewhere / "result", tmp_path / "result")
    source = tmp_path / "result" / "images"
    for path in source.glob("*/result.json"):
        path.write_text(path.read_text().replace(str(elsewhere), str(tmp_path / "gone")))
    other = read_table(elsewhere / "result" / "patches.h5ad")
    bench.study.set_table(concat_tables([bench.study.table, other]))
    page = bench.open(FeaturePageView)
    latent = int(np.asarray(other.X.mean(axis=0)).ravel().argmax())
    bench.wait(page.query.answered, lambda: bench.study.show_feature(latent))
    bench.wait(page.reader.idle, lambda: page.find_images(tmp_path / "result"))
    blank = [one for row in page.gallery.rows for one in row.pictures if one.note]
    assert blank
    assert "is not there any more" in blank[0].tip


def _centre_of(study: Study, row: int) -> Any:
    image = study.current
    patch = int(np.flatnonzero(image.rows == row)[0])
    return image.geometry.to_world(image.origins[patch] + image.side_px / 2)


def test_patches_of_a_region_are_selected_for_a_comparison(bench: Bench) -> None:
    page, layer = _paint_two_regions(bench)
    page.region_box.setCurrentIndex(1)
    bench.click(page.select_button)
    image = bench.study.current
    covers = ((image.origins <= (200, 150)) & (image.origins + 128 > (200, 150))).all(axis=1)
    assert set(image.rows[covers]) <= set(bench.study.selection.rows)
    assert 0 not in bench.study.selection.rows  # the first patch is in the other region
    labels = np.where(layer.data == 2, 2, 0)
    labels[:2, :2] = 1
    bench.wait(page.query.failed, lambda: setattr(layer, "data", labels))
    assert "Paint a larger region" in page.message.text
    assert page.table.model.rowCount() == 0


def test_an_image_is_made_for_a_feature_and_can_be_cancelled(bench: Bench) -> None:
    page = bench.open(MaximizePage)
    bench.study.show_feature(4)
    bar, runner = bench.widget.run_bar, bench.widget.runner
    runner.progressed.connect(lambda _: bench.click(bar.cancel_button))
    bench.wait(runner.cancelled, lambda: bench.click(bar.run_button))
    bench.qtbot.waitUntil(lambda: bar.state == "idle")
    assert page.gallery.rows == ()
    runner.progressed.disconnect()
    runner.progressed.connect(bar.report)
    page.form.editor("n_steps").show(3)
    bench.run()
    assert bar.message.tone == "good", bar.message.text
    assert [row.caption.split()[0] for row in page.gallery.rows] == ["Made", "Real"]
    assert "hard gate" in page.note.text()


def test_legend_keeps_recolours_and_hides(bench: Bench) -> None:
    display, legend = bench.widget.explorer.display, bench.widget.legend
    bench.study.show_feature(1)
    display.show(2)
    assert [(one.latent, one.pinned) for one in display.shown] == [(1, False), (2, True)]
    legend.style_box.setCurrentIndex(1)
    assert display.look.style == "contour"
    display.set_colormap(2, "jet")
    bench.click(legend.clear_button)
    assert display.shown == ()
    assert all("latent" not in layer.name for layer in bench.viewer.layers)


def test_closing_the_dock_leaves_the_study(bench: Bench) -> None:
    bench.viewer.window.remove_dock_widget(bench.widget)
    assert bench.study.table is not None
    assert json.loads(bench.study.table.uns["bio_superposition"])["models"]
