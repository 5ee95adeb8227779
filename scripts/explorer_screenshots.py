"""Take the pictures of the walk-through of the dock Features: a real window, real clicks.

Run it with a screen (``scripts/with_screen python scripts/explorer_screenshots.py``). Nothing is
faked: the analysis runs, the region is painted over the nuclei that it found, and every answer is
what the dock shows.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from make_screenshots import PLUGIN, open_window, run, settle, take
from PIL import Image
from qtpy.QtCore import QEventLoop, QPoint, Qt
from qtpy.QtTest import QTest

from napari_bio_superposition.widgets.channel_page import ChannelPage
from napari_bio_superposition.widgets.compare_page import ComparePage
from napari_bio_superposition.widgets.effect_page import EffectPage
from napari_bio_superposition.widgets.feature_page_view import FeaturePageView
from napari_bio_superposition.widgets.features_panel import FeaturesWidget
from napari_bio_superposition.widgets.find_page import FindPage
from napari_bio_superposition.widgets.maximize_page import MaximizePage
from napari_bio_superposition.widgets.region_page import RegionPage

N_STEPS = 48
"""Of activation maximisation: a picture for a page, not a result."""


@contextmanager
def explore(
    theme: str, image: Path | None, roles: Sequence[str]
) -> Iterator[tuple[Any, FeaturesWidget]]:
    """Open a window, analyse the sample or an image, and open the dock Features."""
    with open_window(theme, image) as (viewer, analyse):
        analyse.setup.models.choose_device("cpu")
        if image is not None:
            analyse.setup.missing_roles.show("blank")
            assign_roles(analyse, roles)
        run(analyse)
        _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Features", tabify=True)
        settle()
        for layer in viewer.layers:
            if layer.name.endswith("patches"):
                layer.visible = False
        yield viewer, widget


def assign_roles(analyse: Any, roles: Sequence[str]) -> None:
    """Say which channel plays which role, as ``role=channel``."""
    for role, _, channel in (text.partition("=") for text in roles):
        box = analyse.setup.channels.role_boxes[role]
        box.setCurrentIndex(box.findText(channel))


def wait(signal: Any, action: Callable[[], Any]) -> None:
    """Do something and wait for its end."""
    loop = QEventLoop()
    signal.connect(loop.quit)
    action()
    loop.exec()
    signal.disconnect(loop.quit)


def click_run(widget: FeaturesWidget) -> None:
    """Click Run and wait for the end."""
    button = widget.run_bar.run_button
    wait(widget.runner.ended, lambda: QTest.mouseClick(button, Qt.MouseButton.LeftButton))
    if widget.run_bar.message.tone != "good":
        raise SystemExit(f"This failed: {widget.run_bar.message.text}")


def paint_nuclei(viewer: Any, widget: FeaturesWidget) -> None:
    """Paint a region over the nuclei, look at the best feature, and keep the next."""
    page = widget.page(RegionPage)
    widget.show_page(RegionPage)
    QTest.mouseClick(page.paint_button, Qt.MouseButton.LeftButton)
    layer = viewer.layers.selection.active
    nuclei = next(one for one in viewer.layers if one.name.endswith("nuclei"))
    wait(page.query.idle, lambda: setattr(layer, "data", (nuclei.data > 0).astype("uint8")))
    layer.visible = nuclei.visible = False
    widget.explorer.study.show_feature(page.table.model.latent_at(0))
    widget.explorer.display.show(page.table.model.latent_at(1))


def take_panels(viewer: Any, widget: FeaturesWidget, save: Callable[[str], None]) -> None:
    """Go through the pages and save each."""
    study = widget.explorer.study
    save("region")
    page = widget.page(FeaturePageView)
    widget.show_page(FeaturePageView)
    wait(page.query.idle, page.ask)
    save("feature")
    scroll = widget.tabs.currentWidget().verticalScrollBar()
    scroll.setValue(scroll.maximum())
    save("examples")
    study.selection.select(range(study.table.n_obs // 3), source="plot")
    widget.show_page(ComparePage)
    click_run(widget)
    save("compare")
    widget.show_page(FindPage)
    click_run(widget)
    save("find")
    widget.show_page(ChannelPage)
    click_run(widget)
    save("channel")
    widget.show_page(MaximizePage)
    widget.page(MaximizePage).form.editor("n_steps").show(N_STEPS)
    click_run(widget)
    save("maximise")
    widget.show_page(EffectPage)
    click_run(widget)
    save("effect")


def keep_dock(widget: FeaturesWidget, path: Path) -> None:
    """Cut the dock out of a picture of the window: a tenth of the bytes."""
    corner = widget.mapTo(widget.window(), QPoint(0, 0))
    left, top = max(0, corner.x() - 4), max(0, corner.y() - 4)
    box = left, top, left + widget.width() + 8, top + widget.height() + 8
    with Image.open(path) as picture:
        dock = picture.crop(box)
    dock.save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take all pictures of the walk-through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--image", type=Path, help="a real image instead of the sample")
    parser.add_argument("--role", action="append", default=[], help="role=channel of the image")
    parser.add_argument("--name", default="explorer", help="begin of the names of the pictures")
    options = parser.parse_args(arguments)

    def save(name: str) -> None:
        path = options.out / f"{options.name}_{name}.png"
        take(viewer, path)
        if name != "region":
            keep_dock(widget, path)

    with explore(options.theme, options.image, options.role) as (viewer, widget):
        paint_nuclei(viewer, widget)
        if options.image is None:
            take_panels(viewer, widget, save)
        else:
            save("region")


if __name__ == "__main__":
    main()
