"""Figures of the report, drawn with matplotlib without a screen; values in, figure out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from napari_bio_superposition.core.types import FloatArray, LabelImage

GROUP_COLORS: Mapping[str, str] = {
    "Control": "#a6a6a6",
    "SNCA": "#d97a7a",
    "GBA": "#eea363",
    "LRRK2": "#7ba4db",
}
"""Colours of the paper's genotypes; other groups take the colours that follow."""

_MORE_COLORS = ("#8cbf88", "#b79ad6", "#8c7a6b", "#d6c25b", "#6bb8b8", "#d68fc0")
_OUTLINE = (1.0, 0.95, 0.35)


def group_colors(groups: Sequence[str]) -> dict[str, str]:
    """Return one colour per group, the paper's where it has one."""
    free = iter(_MORE_COLORS * (len(groups) // len(_MORE_COLORS) + 1))
    return {group: GROUP_COLORS.get(group) or next(free) for group in groups}


def draw_fields(pictures: Mapping[str, tuple[FloatArray, LabelImage | None]]) -> Figure:
    """Draw one composite per title, with the outlines of its nuclei.

    Parameters
    ----------
    pictures
        Title to colour image ``(height, width, 3)`` in ``[0, 1]`` and its nuclei, or ``None``.
    """
    figure = Figure(figsize=(3.1 * len(pictures), 3.4), layout="constrained")
    axes = np.atleast_1d(np.asarray(figure.subplots(1, len(pictures)), dtype=object))
    for axis, (title, (picture, labels)) in zip(axes, pictures.items(), strict=True):
        shown = picture.copy()
        if labels is not None:
            shown[find_boundaries(labels, mode="inner")] = _OUTLINE
        axis.imshow(shown, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    return figure


def draw_groups(table: pd.DataFrame, value: str, group: str, unit: str, label: str) -> Figure:
    """Draw patches as small points and the means of their wells as large ones, by group.

    Parameters
    ----------
    table
        One row per patch.
    value, group, unit
        Columns: what is drawn, what is compared, and the unit of inference (the well).
    label
        Name of the vertical axis.
    """
    groups = sorted(table[group].unique(), key=_control_first)
    colors = group_colors(groups)
    figure = Figure(figsize=(1.1 * len(groups) + 1.6, 3.2), layout="constrained")
    axis = figure.subplots()
    rng = np.random.default_rng(0)  # sideways scatter of points only
    for position, name in enumerate(groups):
        rows = table[table[group] == name].dropna(subset=[value])
        jitter = position + rng.uniform(-0.28, 0.28, len(rows))
        axis.scatter(jitter, rows[value], s=5, color=colors[name], alpha=0.5, linewidths=0)
        wells = rows.groupby(unit, observed=True)[value].mean()
        at = position + np.linspace(-0.12, 0.12, len(wells)) if len(wells) > 1 else [position]
        axis.scatter(at, wells, s=46, color=colors[name], edgecolors="black", zorder=3)
    axis.set_xticks(range(len(groups)), groups)
    axis.set_ylabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_maps(points: npt.NDArray[Any], colorings: Mapping[str, pd.Series], name: str) -> Figure:
    """Draw the same map of patches once per colouring: groups by hue, numbers by a colour bar.

    Parameters
    ----------
    points
        ``(n, 2)``.
    colorings
        Title to one value per point.
    name
        Kind of the map, for the axes: ``PHATE``.
    """
    n_columns = min(2, len(colorings))
    n_rows = -(-len(colorings) // n_columns)
    figure = Figure(figsize=(5.0 * n_columns, 3.9 * n_rows), layout="constrained")
    grid = np.asarray(figure.subplots(n_rows, n_columns, squeeze=False), dtype=object).ravel()
    axes, unused = grid[: len(colorings)], grid[len(colorings) :]
    for axis in unused:
        axis.set_visible(False)
    for axis, (title, values) in zip(axes, colorings.items(), strict=True):
        if pd.api.types.is_numeric_dtype(values):
            _scatter_numbers(figure, axis, points, values.to_numpy(float))
        else:
            _scatter_groups(axis, points, values.astype(str).to_numpy())
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"{name} 1")
        axis.set_ylabel(f"{name} 2")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_examples(examples: Sequence[tuple[FloatArray, FloatArray]], top: float) -> Figure:
    """Draw patches of one feature: composites above, the same with the activation below.

    Parameters
    ----------
    examples
        Composite ``(side, side, 3)`` and activation ``(side, side)`` of each patch.
    top
        Activation at the upper end of the colour scale, the same for all patches.
    """
    figure = Figure(figsize=(1.25 * len(examples) + 0.5, 2.5), layout="constrained")
    axes = np.asarray(figure.subplots(2, len(examples), squeeze=False), dtype=object)
    heat = None
    for column, (picture, activation) in enumerate(examples):
        axes[0, column].imshow(picture)
        axes[1, column].imshow(picture.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
        heat = axes[1, column].imshow(
            activation,
            cmap="inferno",
            vmin=0,
            vmax=top,
            alpha=np.clip(activation / top, 0, 1) ** 0.5,
        )
    for axis in axes.ravel():
        axis.set_axis_off()
    if heat is not None:
        figure.colorbar(heat, ax=axes[1, :].tolist(), fraction=0.03, aspect=12)
    return figure


def draw_agreement(truth: FloatArray, measured: FloatArray, label: str) -> Figure:
    """Draw a measured quantity against the simulated truth, one point per patch."""
    figure = Figure(figsize=(3.2, 3.2), layout="constrained")
    axis = figure.subplots()
    top = float(max(truth.max(initial=0), measured.max(initial=0))) or 1.0
    axis.plot([0, top], [0, top], color="#bbbbbb", linewidth=1)
    axis.scatter(truth, measured, s=8, color="#44608f", alpha=0.6, linewidths=0)
    axis.set_xlabel(f"{label}, truth")
    axis.set_ylabel(f"{label}, measured")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _control_first(group: str) -> tuple[bool, str]:
    return group.lower() not in ("control", "ctrl", "wt"), group


def _scatter_groups(axis: Axes, points: npt.NDArray[Any], groups: npt.NDArray[Any]) -> None:
    names = sorted(set(groups), key=_control_first)
    for name, color in group_colors(names).items():
        chosen = groups == name
        axis.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=7,
            color=color,
            alpha=0.8,
            linewidths=0,
            label=name,
        )
    axis.legend(fontsize=8, frameon=False, markerscale=2)


def _scatter_numbers(
    figure: Figure, axis: Axes, points: npt.NDArray[Any], values: npt.NDArray[np.float64]
) -> None:
    """Draw high values last, so that they are not hidden; missing ones in light grey below."""
    known = np.isfinite(values)
    axis.scatter(points[~known, 0], points[~known, 1], s=5, color="#e4e4e4", linewidths=0)
    order = np.flatnonzero(known)[np.argsort(values[known], kind="stable")]
    top = float(np.quantile(values[known], 0.98)) if known.any() else 1.0
    x, y = points[order].T
    drawn = axis.scatter(x, y, 7, values[order], cmap="viridis", vmin=0, vmax=top or 1, lw=0)
    figure.colorbar(drawn, ax=axis, fraction=0.04)
