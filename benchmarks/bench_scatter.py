"""The scatter canvas: frames while panning, frames at rest, lasso with its update, by points.

The baseline is what a plot of this size usually costs: matplotlib's Agg drawing the same points.
Times are the best of some repeats on a canvas of a dock, since another program can only slow them
down; what counts are ratios and the growth.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from napari_bio_superposition.widgets.scatter_colour import colour_by_values
from napari_bio_superposition.widgets.scatter_scene import ScatterScene

_N_POINTS = (10_000, 100_000, 1_000_000)
_CANVAS_PX = (700, 600)
_REPEATS = 15
_BACKGROUND = (20, 22, 26)


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per number of points."""
    return [_row(n_points) for n_points in _N_POINTS]


def _row(n_points: int) -> dict[str, Any]:
    points = np.random.default_rng(0).normal(size=(n_points, 2)).astype(np.float32)
    scene = ScatterScene(*_CANVAS_PX)
    scene.set_points(points)
    scene.set_colouring(colour_by_values("value", points[:, 0]))
    rest_ms = _best_ms(lambda: _pan(scene, draft=False))
    moving_ms = _best_ms(lambda: _pan(scene, draft=scene.is_heavy))
    lasso_ms = _best_ms(lambda: _lasso(scene))
    colour_ms = _best_ms(lambda: scene.set_colouring(colour_by_values("v", points[:, 1])))
    return {
        "what": f"scatter of {n_points:,} points",
        "ms per frame while panning": moving_ms,
        "ms per complete frame": rest_ms,
        "ms from lasso to new picture": lasso_ms,
        "ms to colour anew": colour_ms,
        "bytes per pixel of canvas": _bytes_per_pixel(scene),
        "times faster than Agg": _agg_ms(points) / rest_ms,
    }


def _best_ms(action: Callable[[], Any]) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def _pan(scene: ScatterScene, *, draft: bool) -> None:
    scene.viewport = scene.viewport.panned(1.0, -0.5)
    scene.render(_BACKGROUND, draft=draft)


def _lasso(scene: ScatterScene) -> None:
    """Choose about half of the points by an outline of 200 corners, and draw them."""
    angles = np.linspace(0, 2 * np.pi, 200)
    outline = np.stack([350 + 90 * np.cos(angles), 300 + 90 * np.sin(angles)], axis=1)
    scene.set_selected(scene.rows_in_polygon(outline))
    scene.render(_BACKGROUND)
    scene.set_selected(None)


def _bytes_per_pixel(scene: ScatterScene) -> float:
    picture = scene.render(_BACKGROUND)
    return (picture.nbytes + scene._ranks.nbytes) / picture.size


def _agg_ms(points: np.ndarray) -> float:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((7, 6), dpi=100)
    figure.add_subplot().scatter(*points.T, c=points[:, 0], s=4, linewidths=0)
    start = time.process_time()  # drawn once, so without what other programs took
    FigureCanvasAgg(figure).draw()
    return 1000 * (time.process_time() - start)
