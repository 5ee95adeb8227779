"""Plots of the Explore dock as PDF, SVG or PNG through matplotlib, with text that stays text.

No Qt. matplotlib is imported when a figure is saved: it draws no plot of the window.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_bio_superposition.core.errors import OutputError, list_choices
from napari_bio_superposition.core.files import replaced_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_bio_superposition.manifold.dynamics import FeatureDynamics
    from napari_bio_superposition.manifold.trajectory import PagaGraph
    from napari_bio_superposition.widgets.explore_trajectory import TrajectoryPanel
    from napari_bio_superposition.widgets.scatter_colour import Colouring
    from napari_bio_superposition.widgets.scatter_scene import Mask

FORMATS: Final = (".pdf", ".svg", ".png")
_EDITABLE: Final = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "bio-superposition",
}
_VECTOR_POINTS: Final = 20_000
"""More points than these become pixels inside the figure; axes and text stay vectors."""
_DPI: Final = 300
_FADED: Final = 0.12
_MOST_ENTRIES: Final = 20


@contextmanager
def figure_for(path: Path, width_in: float = 5.0, height_in: float = 4.2) -> "Iterator[Figure]":
    """Give an empty figure that is written to *path* when the block ends well.

    Raises
    ------
    OutputError
        Where the name ends in no known format, or the place cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"{path.name} is no name of a figure. End it in one of: {list_choices(FORMATS)}."
        )
    import matplotlib as mpl
    from matplotlib.figure import Figure

    options: Any = _EDITABLE  # the stubs list every key as a literal
    with mpl.rc_context(options):
        figure = Figure((width_in, height_in), layout="constrained")
        yield figure
        with replaced_file(path) as part:
            figure.savefig(part, dpi=_DPI, metadata=_undated(path))


def _undated(path: Path) -> dict[str, Any] | None:
    """Leave the date out: the same plot gives the same file."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())


def draw_scatter(
    axes: "Axes", points: Any, colouring: "Colouring", selected: "Mask | None", size: float = 4.0
) -> None:
    """Draw points with their colours and a legend.

    Parameters
    ----------
    axes
        To draw on.
    points
        ``(n, 2)``; rows that are not finite are left out.
    colouring
        As on screen; a density is drawn as one colour with transparency.
    selected
        Points that keep their colour while others fade; ``None``: all keep it.
    size
        Of a point, square points.
    """
    colours = colouring.table[colouring.codes] / 255
    alpha = np.ones(len(points))
    if colouring.is_density:
        colours, alpha = np.tile(colouring.table[128] / 255, (len(points), 1)), alpha * 0.3
    if selected is not None and selected.any():
        alpha = np.where(selected, 1.0, _FADED)
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    order = np.random.default_rng(0).permutation(known)
    rgba = np.concatenate([colours, alpha[:, np.newaxis]], axis=1)[order]
    x, y = np.asarray(points)[order].T
    axes.scatter(
        x,
        y,
        c=rgba,
        s=size,
        linewidths=0,
        rasterized=len(order) > _VECTOR_POINTS,
    )
    axes.spines[["top", "right"]].set_visible(False)
    _draw_legend(axes, colouring)


def _draw_legend(axes: "Axes", colouring: "Colouring") -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.lines import Line2D

    if colouring.limits is not None:
        shades = ListedColormap(colouring.table[1:] / 255)
        scale = ScalarMappable(Normalize(*colouring.limits), shades)
        axes.figure.colorbar(scale, ax=axes, label=colouring.title, shrink=0.7)
    elif colouring.entries:
        handles = [
            Line2D([], [], marker="o", linestyle="", color=_shares(entry.colour), label=entry.name)
            for entry in colouring.entries[:_MOST_ENTRIES]
        ]
        axes.legend(
            handles=handles, title=colouring.title, loc="upper left",
            bbox_to_anchor=(1, 1), frameon=False, fontsize="small",
        )  # fmt: skip


def _shares(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


def save_scatter(
    path: Path, points: Any, colouring: "Colouring", names: tuple[str, str], selected: "Mask | None"
) -> None:
    """Save a layout as it is coloured."""
    with figure_for(path) as figure:
        axes = figure.add_subplot()
        draw_scatter(axes, points, colouring, selected)
        axes.set(xlabel=names[0], ylabel=names[1], xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")


def save_trajectory(path: Path, panel: "TrajectoryPanel", selected: "Mask | None") -> None:
    """Save an outcome along pseudotime with its curve and stages."""
    with figure_for(path) as figure:
        axes = figure.add_subplot()
        draw_scatter(axes, panel.points(), panel.view.scene.colouring, selected)
        curve = panel.curve
        if curve is not None:
            axes.fill_between(curve.x, curve.low, curve.high, color="tab:orange", alpha=0.35)
            axes.plot(curve.x, curve.y, color="tab:orange", linewidth=2)
        for edge in panel.stage_edges:
            axes.axvline(edge, color="0.4", linestyle="--", linewidth=0.8)
        axes.set(xlabel="pseudotime", ylabel=panel.outcome)


def save_graph(path: Path, graph: "PagaGraph", colours: dict[str, Any]) -> None:
    """Save the graph of clusters, a pie for each."""
    with figure_for(path) as figure:
        axes = figure.add_subplot()
        positions = graph.positions
        extent = float(np.ptp(positions, axis=0).max()) or 1.0
        for first, second, weight in graph.edges():
            ends = positions[[first, second]].T
            axes.plot(*ends, color="0.5", linewidth=4 * min(1.0, weight), zorder=1)
        for cluster, name in enumerate(graph.names):
            share = float(graph.sizes[cluster]) / max(1, int(graph.sizes.max()))
            counts = graph.composition.iloc[cluster]
            axes.pie(
                counts, center=positions[cluster], radius=0.05 * extent * max(0.35, share**0.5),
                colors=[colours[str(group)] for group in counts.index], frame=True,
            )  # fmt: skip
            axes.annotate(name, positions[cluster], ha="center", va="center", fontsize=7, zorder=9)
        axes.set_aspect("equal")
        axes.autoscale()
        axes.margins(0.1)
        axes.axis("off")


def save_dynamics(path: Path, dynamics: "FeatureDynamics") -> None:
    """Save the heat map of features along pseudotime."""
    with figure_for(path, 5.5, 6.5) as figure:
        axes = figure.add_subplot()
        picture = axes.imshow(
            dynamics.profiles, aspect="auto", cmap="RdBu_r", vmin=-2, vmax=2,
            interpolation="nearest",
        )  # fmt: skip
        axes.set(xlabel="pseudotime, early to late", ylabel="features by cluster", xticks=[])
        axes.set_yticks([])
        figure.colorbar(picture, ax=axes, label="standard deviations", shrink=0.6)
