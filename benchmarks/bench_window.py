"""The dock Explore in a real napari window: frames while panning, lasso to plot and image.

Needs a screen (``make bench`` brings a virtual one, with OpenGL in software). A frame counts from
the move of the mouse until Qt has put the window on the screen: napari's canvas has OpenGL, so that
a docked plot waits for the whole window to be composed, and a floating one does not. A lasso counts
from the release of the button until plot and image are both drawn anew, patches and nuclei marked.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "settings.yaml"))

import napari
import numpy as np
import pandas as pd
from anndata import AnnData
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.simulation.field import FieldSpec, simulate_field
from napari_bio_superposition.imaging.simulation_config import SimulationConfig
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import ImageAnalysis, analyze_image
from napari_bio_superposition.workflows.loading import LoadedModels, load_models

_PLUGIN = "napari-bio-superposition"
_WINDOW_PX = (1366, 768)
_FIELD_PX = 1024
_N_POINTS = (10_000, 100_000, 1_000_000)
_N_FRAMES = 60
_N_LASSOS = 7
_TOO_LONG_S = 30.0
_NO_BUTTON, _LEFT, _RIGHT = (
    Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton,
)  # fmt: skip


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per number of points; none without a screen."""
    if not (os.environ.get("DISPLAY") or os.name == "nt"):
        return [{"what": "left out: no screen"}]
    spec = FieldSpec(plate="p1", well="A01", site="1", genotype="GBA", line="SIM-GBA-1")
    config = SimulationConfig(side_px=_FIELD_PX)
    image = simulate_field(spec, config, np.random.default_rng(0)).image
    models = run(load_models(AnalyzeConfig(device="cpu")))
    analysis = run(analyze_image(image, models=models))
    rows = []
    for n_points in _N_POINTS:
        with _window(analysis, models) as (viewer, widget):  # of its own: a first lasso comes once
            rows.append(_row(viewer, widget, n_points))
    return rows


@contextmanager
def _window(analysis: ImageAnalysis, models: LoadedModels) -> Iterator[tuple[Any, Any]]:
    """Open napari with the dock and one analysed image."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*_WINDOW_PX)
    for data, options, _ in make_image_layers(analysis.image):
        viewer.add_image(data, **options)
    _, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, "Explore")
    widget.study.add_analysis(analysis, models)
    yield viewer, widget
    widget.runner.shut_down()
    viewer.close()


def _row(viewer: Any, widget: Any, n_points: int) -> dict[str, Any]:
    _show_points(widget, n_points)
    lassos = _lasso_times(viewer, widget)  # first of all: nobody looked at the image yet
    dock = _dock_of(widget)
    docked = _frame_times(widget.embedding.view)
    dock.setFloating(True)
    _settle()
    floating = _frame_times(widget.embedding.view)
    dock.setFloating(False)
    _settle()
    return {
        "what": f"window with {n_points:,} points",
        "ms per frame, docked": 1000 * float(np.median(docked)),
        "ms per frame, docked, 9 of 10": 1000 * float(np.quantile(docked, 0.9)),
        "ms per frame, floating": 1000 * float(np.median(floating)),
        "ms from first lasso to plot and image": 1000 * lassos[0],
        "ms from lasso to plot and image": 1000 * float(np.median(lassos[1:])),
    }


def _show_points(widget: Any, n_points: int) -> None:
    """Show a table of so many rows, the first those of the open image.

    These lie on a line from the middle outwards, so that every larger lasso has more of them.
    """
    rng = np.random.default_rng(0)
    (image,) = widget.study.images.values()
    ids = list(image.analysis.table.obs_names)
    names = [*ids, *(f"far/{place}" for place in range(n_points - len(ids)))]
    points = rng.normal(size=(n_points, 2)).astype(np.float32)
    points[: len(ids)] = np.outer(np.linspace(0, 4, len(ids)), (1, 0))
    table = AnnData(
        np.zeros((n_points, 1), np.float32),
        obs=pd.DataFrame({"value": rng.normal(size=n_points)}, index=names),
        obsm={"X_umap": points},
    )
    widget.study.set_table(table)
    _settle()
    widget.embedding.colour_box.setCurrentText("value")
    _settle()


def _frame_times(view: Any) -> list[float]:
    """Return the seconds of each frame while the view is dragged by the right button."""
    times = []
    with _painting(view) as painted:
        _send(view, QEvent.Type.MouseButtonPress, (100, 100), _RIGHT)
        for place in range(_N_FRAMES):
            painted.clear()
            start = time.perf_counter()
            _send(view, QEvent.Type.MouseMove, (100 + place % 40, 100 + place % 30), _RIGHT)
            times.append(_seconds_until(start, lambda: bool(painted)))
        _send(view, QEvent.Type.MouseButtonRelease, (100, 100), _RIGHT)
    _settle()
    return times


def _lasso_times(viewer: Any, widget: Any) -> list[float]:
    """Return the seconds from the end of each lasso; the first one is the first in this image."""
    children = widget.window().findChildren(QWidget)
    canvas = next(child for child in children if hasattr(child, "_vispy_canvas"))
    drawn: list[bool] = []
    canvas._vispy_canvas.events.draw.connect(lambda _: drawn.append(True))
    widget.embedding.view.show_all()
    times = [
        _lasso_time(widget.embedding.view, 60 + 8 * place, drawn) for place in range(_N_LASSOS)
    ]
    widget.study.selection.clear()
    _settle()
    return times


def _lasso_time(view: Any, reach: float, drawn: list[bool]) -> float:
    angles = np.linspace(0, 2 * np.pi, 60)
    middle = view.width() / 2, view.height() / 2
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach + middle
    _send(view, QEvent.Type.MouseButtonPress, outline[0], _LEFT)
    for corner in outline:
        _send(view, QEvent.Type.MouseMove, corner, _LEFT)
    _settle()
    with _painting(view) as painted:
        drawn.clear()
        start = time.perf_counter()
        _send(view, QEvent.Type.MouseButtonRelease, outline[-1], _LEFT)
        return _seconds_until(start, lambda: bool(painted and drawn))


@contextmanager
def _painting(view: Any) -> Iterator[list[bool]]:
    """Give a list that gets an entry whenever the view is painted."""
    paint = type(view).paintEvent
    painted: list[bool] = []

    def paint_and_tell(self: Any, event: Any) -> None:
        paint(self, event)
        if self is view:
            painted.append(True)

    type(view).paintEvent = paint_and_tell
    try:
        yield painted
    finally:
        type(view).paintEvent = paint


def _seconds_until(start: float, done: Callable[[], bool]) -> float:
    while not done():
        QApplication.processEvents()
        if time.perf_counter() - start > _TOO_LONG_S:
            raise SystemExit("The window was not drawn.")
    QApplication.processEvents()
    return time.perf_counter() - start


def _send(view: Any, kind: QEvent.Type, place: Any, button: Qt.MouseButton) -> None:
    point = QPointF(float(place[0]), float(place[1]))
    changed = _NO_BUTTON if kind == QEvent.Type.MouseMove else button
    held = _NO_BUTTON if kind == QEvent.Type.MouseButtonRelease else button
    on_screen = QPointF(view.mapToGlobal(point.toPoint()))
    event = QMouseEvent(kind, point, on_screen, changed, held, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(view, event)


def _settle(seconds: float = 0.5) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()


def _dock_of(widget: Any) -> QDockWidget:
    parent = widget.parent()
    while not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent
