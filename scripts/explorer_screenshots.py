"""Take the pictures of the walk-through of the dock Features: a real window, real clicks.

Run it with a screen (``scripts/with_screen python scripts/explorer_screenshots.py``). Nothing is
faked: the analysis runs, the region is painted over the nuclei that it found, and every answer is
what the dock shows. Real images are taken, too, where a folder with them is given or lies beside
the repository.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

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

N_STEPS: Final = 48
"""Of activation maximisation: a picture for a page, not a result."""
ZOOM: Final = 2.6
"""Of the sample, so that its nuclei are more than dots."""
_THEMES: Final = (("dark", ""), ("light", "_light"))
_IN_BOTH_THEMES: Final = ("region", "feature", "compare")
_REAL: Final = {
    "bbbc022": ("bbbc022/plate1_A14_site1_5ch.ome.tiff", ("nuclei=H33342", "mitochondria=MitoTDR")),
    "neuron": ("neuron_4ch/neuron-4Ch.tiff", ("nuclei=DAPI", "lysosomes=AF568")),
}
"""Image below the folder of real data, and the channels that play roles in it."""


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


def click(button: Any, place: QPoint | None = None) -> None:
    """Click a widget, in its middle or at a place."""
    options = {} if place is None else {"pos": place}
    QTest.mouseClick(button, Qt.MouseButton.LeftButton, **options)


def click_run(widget: FeaturesWidget) -> None:
    """Click Run and wait for the end."""
    wait(widget.runner.ended, lambda: click(widget.run_bar.run_button))
    if widget.run_bar.message.tone != "good":
        raise SystemExit(f"This failed: {widget.run_bar.message.text}")


def paint_nuclei(viewer: Any, widget: FeaturesWidget) -> None:
    """Paint a region over the nuclei, look at the best feature, and keep the next."""
    page = widget.page(RegionPage)
    widget.show_page(RegionPage)
    click(page.paint_button)
    layer = viewer.layers.selection.active
    nuclei = next(one for one in viewer.layers if one.name.endswith("nuclei"))
    wait(page.query.idle, lambda: setattr(layer, "data", (nuclei.data > 0).astype("uint8")))
    layer.visible = nuclei.visible = False
    if page.table.model.rowCount() > 1:
        widget.explorer.study.show_feature(page.table.model.latent_at(0))
        widget.explorer.display.show(page.table.model.latent_at(1))


def scroll_down(widget: FeaturesWidget) -> None:
    """Show the end of a long page."""
    scroll = widget.tabs.currentWidget().verticalScrollBar()
    scroll.setValue(scroll.maximum())


def take_feature(widget: FeaturesWidget, save: Callable[[str], None]) -> None:
    """Look at one feature, and at those that differ between two groups."""
    study = widget.explorer.study
    page = widget.page(FeaturePageView)
    widget.show_page(FeaturePageView)
    wait(page.query.idle, page.ask)
    save("feature")
    scroll_down(widget)
    save("examples")
    study.selection.select(range(study.table.n_obs // 3), source="plot")
    compare = widget.page(ComparePage)
    widget.show_page(ComparePage)
    compare.form.editor("level").show("patch")
    click_run(widget)
    save("compare")


def take_others(widget: FeaturesWidget, save: Callable[[str], None]) -> None:
    """Go through the other pages and save each."""
    widget.show_page(FindPage)
    click_run(widget)
    save("find")
    take_channels(widget, save)
    widget.show_page(MaximizePage)
    widget.page(MaximizePage).form.editor("n_steps").show(N_STEPS)
    click_run(widget)
    save("maximise")
    widget.show_page(EffectPage)
    click_run(widget)
    save("effect")


def take_channels(widget: FeaturesWidget, save: Callable[[str], None]) -> None:
    """Compare CNN channels, look at one, and split it in both ways."""
    compare, page = widget.page(ComparePage), widget.page(ChannelPage)
    widget.show_page(ComparePage)
    compare.form.editor("values").show("cnn")
    click_run(widget)
    settle()
    volcano = compare.volcano
    place = volcano.place_of(compare.table.model.latent_at(0))
    wait(widget.channel_drawing.idle, lambda: click(volcano, place))
    save("compare_cnn")
    wait(page.query.idle, lambda: click(compare.explain_button))
    save("channel")
    page.way_box.setCurrentIndex(1)
    wait(page.query.idle, lambda: page.way_box.activated.emit(1))
    save("channel_greedy")
    click(widget.legend.clear_button)
    widget.explorer.study.show_feature(widget.page(RegionPage).table.model.latent_at(0))


def keep_dock(widget: FeaturesWidget, path: Path) -> None:
    """Cut the dock out of a picture of the window: a tenth of the bytes."""
    corner = widget.mapTo(widget.window(), QPoint(0, 0))
    with Image.open(path) as picture:
        left, top = max(0, corner.x() - 4), max(0, corner.y() - 4)
        right = min(picture.width, left + widget.width() + 8)
        box = left, top, right, min(picture.height, top + widget.height() + 8)
        dock = picture.crop(box)
    dock.save(path, optimize=True)


def take_session(
    theme: str, image: Path | None, roles: Sequence[str], out: Callable[[str], Path]
) -> None:
    """Take the pictures of one image: all pages of the sample, the region of a real one."""
    with explore(theme, image, roles) as (viewer, widget):

        def save(name: str) -> None:
            if theme != "dark" and name not in _IN_BOTH_THEMES:
                return
            take(viewer, out(name))
            if name != "region":
                keep_dock(widget, out(name))

        if image is None:
            viewer.scene.camera.zoom *= ZOOM
        paint_nuclei(viewer, widget)
        save("region")
        if image is None:
            take_feature(widget, save)
            if theme == "dark":
                take_others(widget, save)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take all pictures of the walk-through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--real", type=Path, default=Path("../shared/data"), help="real images")
    options = parser.parse_args(arguments)
    for theme, suffix in _THEMES:
        take_session(
            theme, None, (), lambda name, end=suffix: options.out / f"explorer_{name}{end}.png"
        )
    for key, (name, roles) in _REAL.items():
        image = options.real / name
        if image.is_file():
            take_session(
                "dark",
                image,
                roles,
                lambda name, key=key: options.out / f"explorer_{key}_{name}.png",
            )


if __name__ == "__main__":
    main()
