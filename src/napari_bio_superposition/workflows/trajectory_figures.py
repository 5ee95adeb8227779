"""Figures of trajectories, drawn with matplotlib without a screen; values in, figure out."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_bio_superposition.manifold.dynamics import FeatureDynamics
from napari_bio_superposition.manifold.stages import STAGES
from napari_bio_superposition.manifold.trajectory import PagaGraph
from napari_bio_superposition.workflows.embed_result import Trajectory
from napari_bio_superposition.workflows.figures import group_colors

_INK = "#1d2733"
_GRID_RANGE = (-0.5, -0.15)
"""Colour range of the published heat map; widened where values lie outside."""
_PER_ROW = 3


def draw_pseudotime(trajectories: Mapping[str, Trajectory], outcome: str) -> Figure:
    """Draw an outcome along pseudotime, one panel per group: patches, curve, band over wells."""
    shown = {name: one for name, one in trajectories.items() if one.curve is not None}
    figure, axes = _panels(len(shown), (3.5, 3.2))
    colors = group_colors(list(shown))
    for axis, (name, one) in zip(axes, shown.items(), strict=True):
        curve, found = one.curve, one.correlation["spearman"]
        assert curve is not None
        axis.scatter(one.pseudotime, one.outcome, s=6, color=colors[name], alpha=0.5, linewidths=0)
        axis.fill_between(curve.x, curve.low, curve.high, color=_INK, alpha=0.18, linewidth=0)
        axis.plot(curve.x, curve.y, color=_INK, linewidth=1.8)
        axis.set_title(
            f"{name}: ρ {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]\n"
            f"null [{found.null_low:.2f}, {found.null_high:.2f}], {found.n_wells} wells",
            fontsize=9,
        )
        axis.set_xlabel("diffusion pseudotime")
        axis.set_ylabel(outcome)
    return figure


def draw_stages(trajectories: Mapping[str, Trajectory], outcome: str, cut: str) -> Figure:
    """Draw means of three stages with intervals over wells, one panel per group."""
    shown = {name: one for name, one in trajectories.items() if cut in one.stages}
    figure, axes = _panels(len(shown), (2.7, 2.9))
    colors = group_colors(list(shown))
    for axis, (name, one) in zip(axes, shown.items(), strict=True):
        stage = one.stages[cut]
        table = stage.summary
        reach = np.abs(table[["low", "high"]].sub(table["mean"], axis=0).to_numpy().T)
        axis.bar(STAGES, table["mean"], color=colors[name], width=0.62)
        if np.isfinite(reach).all():
            axis.errorbar(STAGES, table["mean"], reach, fmt="none", ecolor=_INK, capsize=3)
        axis.set_title(f"{name}: trend p {stage.trend.p_wells:.3g}", fontsize=9)
        axis.set_ylabel(outcome)
    return figure


def draw_paga(graph: PagaGraph) -> Figure:
    """Draw clusters as pies of their groups, and how strongly they are connected."""
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axis = figure.subplots()
    for first, second, weight in graph.edges():
        x, y = graph.positions[[first, second]].T
        axis.plot(x, y, color="#9aa5b1", linewidth=0.5 + 4 * weight, zorder=1)
    extent = float(np.ptp(graph.positions, axis=0).max()) or 1.0
    names = sorted(map(str, graph.composition.columns))
    colors = group_colors(names)
    largest = graph.sizes.max(initial=1)
    for place, (x, y) in enumerate(graph.positions):
        radius = extent * (0.02 + 0.045 * float(np.sqrt(graph.sizes[place] / largest)))
        counts = graph.composition.iloc[place][names].to_numpy(float)
        _draw_pie(axis, (float(x), float(y)), radius, counts, [colors[name] for name in names])
        axis.annotate(
            graph.names[place], (x, y + radius), ha="center", va="bottom", fontsize=8, zorder=4
        )
    for name in names:
        axis.scatter([], [], color=colors[name], label=name)
    axis.legend(fontsize=8, frameon=False, loc="best")
    axis.set_aspect("equal")
    axis.margins(0.12)
    axis.set_axis_off()
    return figure


def _draw_pie(
    axis: Axes,
    centre: tuple[float, float],
    radius: float,
    counts: npt.NDArray[Any],
    colors: list[str],
) -> None:
    from matplotlib.patches import Wedge

    ends = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1) * 360
    for start, end, color in zip(ends[:-1], ends[1:], colors, strict=True):
        if end > start:
            axis.add_patch(Wedge(centre, radius, start, end, facecolor=color, zorder=3))
    axis.add_patch(
        Wedge(centre, radius, 0, 360, facecolor="none", edgecolor="white", linewidth=0.8, zorder=3)
    )


def draw_dynamics(dynamics: FeatureDynamics, title: str = "") -> Figure:
    """Draw the heat map of features along pseudotime, clusters marked at its left."""
    figure = Figure(figsize=(6.2, 5.0), layout="constrained")
    axis = figure.subplots()
    heat = axis.imshow(
        dynamics.profiles, aspect="auto", cmap="RdBu_r", vmin=-2, vmax=2, interpolation="nearest"
    )
    starts = np.flatnonzero(np.diff(dynamics.clusters)) + 0.5
    for start in starts:
        axis.axhline(start, color="white", linewidth=1.0)
    ends = [-0.5, *starts, len(dynamics.clusters) - 0.5]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(ends)]
    axis.set_yticks(middles, [str(place) for place in range(len(middles))], fontsize=8)
    axis.set_xticks([0, dynamics.profiles.shape[1] - 1], ["early", "late"])
    axis.set_xlabel("patches in the order of pseudotime")
    axis.set_ylabel(f"clusters of {len(dynamics.features)} features")
    axis.set_title(title, fontsize=10)
    figure.colorbar(heat, ax=axis, label="standard deviations over bins", fraction=0.04)
    return figure


def draw_grid(trajectories: Mapping[str, Trajectory]) -> Figure:
    """Draw the rank correlation over neighbours and principal components, one panel per group."""
    shown = {name: one.grid for name, one in trajectories.items() if one.grid is not None}
    figure, axes = _panels(len(shown), (3.5, 2.6))
    values = pd.concat([grid["spearman"] for grid in shown.values()])
    low, high = min(_GRID_RANGE[0], values.min()), max(_GRID_RANGE[1], values.max())
    heat = None
    for axis, (name, grid) in zip(axes, shown.items(), strict=True):
        table = grid.pivot(index="n_pcs", columns="n_neighbors", values="spearman")
        heat = axis.imshow(table, cmap="viridis_r", vmin=low, vmax=high, aspect="auto")
        axis.set_xticks(range(table.shape[1]), table.columns)
        axis.set_yticks(range(table.shape[0]), table.index)
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("neighbours")
        axis.set_ylabel("principal components")
        axis.spines[:].set_visible(False)
    if heat is not None:
        figure.colorbar(heat, ax=axes, label="Spearman", fraction=0.04)
    return figure


def draw_roots(trajectories: Mapping[str, Trajectory]) -> Figure:
    """Draw the rank correlation from other roots beside that from the chosen one."""
    shown = {name: one for name, one in trajectories.items() if len(one.root_spearman)}
    figure = Figure(figsize=(1.2 * len(shown) + 1.8, 3.0), layout="constrained")
    axis = figure.subplots()
    colors = group_colors(list(shown))
    for place, (name, one) in enumerate(shown.items()):
        spread = place + np.linspace(-0.2, 0.2, len(one.root_spearman))
        axis.scatter(spread, one.root_spearman, s=16, color=colors[name], zorder=2)
        chosen = one.correlation["spearman"].value
        axis.hlines(chosen, place - 0.3, place + 0.3, color=_INK, linewidth=1.5)
    axis.set_xticks(range(len(shown)), list(shown))
    axis.set_ylabel("Spearman, other roots")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _panels(n: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    n_columns = min(_PER_ROW, n)
    n_rows = -(-n // n_columns)
    figure = Figure(figsize=(size[0] * n_columns, size[1] * n_rows), layout="constrained")
    grid = np.asarray(figure.subplots(n_rows, n_columns, squeeze=False), dtype=object).ravel()
    for axis in grid[n:]:
        axis.set_visible(False)
    axes: list[Axes] = list(grid[:n])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes
