"""Take the screenshots of the documentation: a real napari window, the sample, real clicks.

Run it with a screen (``scripts/with_screen python scripts/make_screenshots.py``). Nothing is faked:
the window is 1366 x 768, the analysis runs, and the overlays are those of the top of the list.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before napari reads them: the settings of whoever runs this are neither used nor changed.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QEventLoop, QPoint, Qt, QTimer
from qtpy.QtGui import QImage
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run as run_job
from napari_bio_superposition.features.table import read_table
from napari_bio_superposition.widgets.analyse import AnalyseWidget
from napari_bio_superposition.widgets.explore_images import open_image
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.widgets.job_dock import JobDock
from napari_bio_superposition.widgets.readers import open_sample, read_layers
from napari_bio_superposition.widgets.study import Study

PLUGIN = "napari-bio-superposition"
WIDTH_PX, HEIGHT_PX = 1366, 768
RARE = 0.5
"""Firing rate up to which a feature is silent in most places."""
ZOOM = 1.8
SETTLE_MS = 400
"""What the window needs to draw itself after a change."""


@contextmanager
def open_window(theme: str, image: Path | None) -> Iterator[tuple[Any, AnalyseWidget]]:
    """Open napari with the widget and the sample, or with an image file."""
    viewer = napari.Viewer(show=True)
    try:
        viewer.theme = theme
        viewer.window.resize(WIDTH_PX, HEIGHT_PX)
        layers = open_sample() if image is None else read_layers(str(image))
        for data, options, kind in layers:
            getattr(viewer, f"add_{kind}")(data, **options)
        _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyse")
        settle()
        viewer.fit_to_view()
        yield viewer, widget
    finally:
        viewer.close()


def settle(milliseconds: int = SETTLE_MS) -> None:
    """Let the window draw."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def run(widget: JobDock) -> None:
    """Click the button of the run bar and wait for the end."""
    loop = QEventLoop()
    widget.runner.ended.connect(loop.quit)
    QTest.mouseClick(widget.run_bar.run_button, Qt.MouseButton.LeftButton)
    loop.exec()
    if widget.run_bar.message.tone != "good":
        raise SystemExit(f"The run failed: {widget.run_bar.message.text}")


def show_overlays(viewer: Any, widget: AnalyseWidget, n_overlays: int) -> None:
    """Show features that are strong in some places and silent in most: maps worth looking at."""
    statistics = widget.controller.statistics
    if statistics is None:
        return
    strength = statistics.mean * (statistics.firing_rate < RARE)
    for latent in strength.argsort()[::-1][:n_overlays]:
        widget.result.features.show_feature(int(latent))
    for layer in viewer.layers:
        if layer.name.endswith("patches"):
            layer.visible = False
    viewer.scene.camera.zoom *= ZOOM


def explore(viewer: Any, analyse: AnalyseWidget, out: Path, suffix: str) -> None:
    """Lay out the patches of the analysed sample, draw around some, and take pictures."""
    viewer.window.remove_dock_widget(analyse)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Explore")
    settle()
    run(widget)
    widget.embedding.size_box.setValue(9)
    widget.embedding.choose_layout("UMAP")
    widget.embedding.colour_box.setCurrentText(Keys.NUCLEAR_AREA)
    view = widget.embedding.view
    settle()
    width, height = view.width(), view.height()
    start = QPoint(4, height // 2)
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    for place in (QPoint(4, height - 4), QPoint(width // 2, height - 4), QPoint(width // 2, 90)):
        QTest.mouseMove(view, place)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(width // 2, 90))
    viewer.fit_to_view()
    take(viewer, out / f"explore{suffix}.png")
    widget.tabs.setCurrentWidget(widget.groups)
    QTest.mouseClick(widget.groups.gallery_button, Qt.MouseButton.LeftButton)
    take(viewer, out / f"explore_groups{suffix}.png")


def show_demo(viewer: Any, demo: Path) -> Study:
    """Show the table of `make demo` and one of its images."""
    study = Study.of(viewer)
    study.set_table(read_table(demo / "patches.h5ad"))
    image_id = str(study.table.obs[Keys.IMAGE].iloc[0])
    opened = run_job(open_image(image_id, demo / "study" / "images", demo / "analysis"))
    for data, options, _ in make_image_layers(opened.image):
        viewer.add_image(data, **options)
    study.add_analysis(opened.analysis, opened.models)
    viewer.fit_to_view()
    return study


def explore_demo(viewer: Any, out: Path, suffix: str) -> None:
    """Compute the trajectory of the demo's table; show every tab, and a dock that floats."""
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Explore")
    settle()
    run(widget)
    widget.embedding.colour_box.setCurrentText(Keys.PSEUDOTIME)
    for index in range(widget.tabs.count()):
        widget.tabs.setCurrentIndex(index)
        settle()
        if widget.tabs.currentWidget() is widget.dynamics:
            place = widget.dynamics.view.map_area.center().toPoint()
            QTest.mouseClick(widget.dynamics.view, Qt.MouseButton.LeftButton, pos=place)
        name = widget.tabs.tabText(index).lower()
        take(viewer, out / f"explore_tab_{name}{suffix}.png")
    widget.tabs.setCurrentWidget(widget.embedding)
    dock.setFloating(True)
    dock.setGeometry(330, 60, 640, 620)
    take_screen(out / f"explore_floating{suffix}.png")
    if not dock.isFloating() or not dock.isWindow():
        raise SystemExit("The dock does not float.")
    dock.setFloating(False)
    take(viewer, out / f"explore_docked_again{suffix}.png")


def couple(viewer: Any, demo: Path, out: Path, suffix: str) -> None:
    """Show the coupling that `make demo` made, light up cells, paint a gene, and take pictures."""
    study = show_demo(viewer, demo)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "GW-map")
    settle()

    def do(action: Any) -> None:
        loop = QEventLoop()
        widget.runner.ended.connect(loop.quit)
        action()
        loop.exec()
        if widget.run_bar.message.tone == "error" and not widget.painting.shown:
            raise SystemExit(f"GW-map failed: {widget.run_bar.message.text}")

    do(lambda: widget.open_cells(demo / "rna"))
    do(lambda: widget.open_coupling(demo / "coupling"))
    do(lambda: widget.open_genes(demo / "genes"))
    viewer.fit_to_view()
    widget.rna.view.set_diameter(5)
    study.selection.select([0, 1, 2, 3, 4], source="image")
    take(viewer, out / f"gw_map_rna{suffix}.png")
    widget.tabs.setCurrentIndex(1)
    take(viewer, out / f"gw_map_couple{suffix}.png")
    widget.tabs.setCurrentIndex(2)
    study.selection.clear()
    table = widget.genes.table.view
    place = table.visualRect(table.model().index(0, 0)).center()
    settle()
    do(lambda: QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place))
    take(viewer, out / f"gw_map{suffix}.png")
    widget.tabs.setCurrentIndex(3)
    take(viewer, out / f"gw_map_landscape{suffix}.png")


def take(viewer: Any, path: Path) -> None:
    """Save what the whole window shows."""
    settle()
    save(viewer.window.screenshot(canvas_only=False, flash=False), path)


def take_screen(path: Path) -> None:
    """Save the whole screen: a dock that floats is a window of its own."""
    settle()
    picture = QApplication.primaryScreen().grabWindow(0).toImage()
    picture = picture.convertToFormat(QImage.Format.Format_RGBA8888)
    pixels = np.frombuffer(picture.constBits().asarray(picture.sizeInBytes()), np.uint8)
    save(pixels.reshape(picture.height(), picture.width(), 4), path)


def save(picture: Any, path: Path) -> None:
    """Save a picture with 256 colours: a third of the bytes, and git keeps every version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture[..., :3]).quantize(256).save(path, optimize=True)
    print(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take all screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--image", type=Path, help="a further image, for instance a BBBC022 field")
    parser.add_argument("--model", help="name or folder of a feature model; default: the last one")
    parser.add_argument("--overlays", type=int, default=3)
    parser.add_argument("--demo", type=Path, help="folder of `make demo`, for Explore and GW-map")
    parser.add_argument("--only-demo", action="store_true", help="nothing but the demo's docks")
    options = parser.parse_args(arguments)
    themes = (("dark", ""), ("light", "_light"))
    for theme, suffix in themes if options.demo is not None else ():
        with open_window(theme, None) as (viewer, widget):
            viewer.layers.clear()
            viewer.window.remove_dock_widget(widget)
            couple(viewer, options.demo, options.out, suffix)
        with open_window(theme, None) as (viewer, widget):
            viewer.layers.clear()
            viewer.window.remove_dock_widget(widget)
            show_demo(viewer, options.demo)
            explore_demo(viewer, options.out, suffix)
    if options.only_demo:
        return
    for theme, suffix in themes:
        with open_window(theme, None) as (viewer, widget):
            if options.model:
                widget.setup.models.choose_model(options.model)
            take(viewer, options.out / f"analyse_setup{suffix}.png")
            run(widget)
            take(viewer, options.out / f"analyse_result{suffix}.png")
            show_overlays(viewer, widget, options.overlays)
            take(viewer, options.out / f"analyse{suffix}.png")
            widget.result.features.hide_all()
            explore(viewer, widget, options.out, suffix)
    if options.image is not None:
        with open_window("dark", options.image) as (viewer, widget):
            if options.model:
                widget.setup.models.choose_model(options.model)
            widget.setup.missing_roles.show("blank")
            run(widget)
            show_overlays(viewer, widget, options.overlays)
            take(viewer, options.out / "analyse_real_image.png")


if __name__ == "__main__":
    main()
