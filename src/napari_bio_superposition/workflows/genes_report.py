"""The page of gene prediction: verdict first, then genes beside their controls. No analysis."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from napari_bio_superposition.workflows.genes_result import BESIDE, FOUND, GenesResult, strictest
from napari_bio_superposition.workflows.report import Picture, Report, Section

_N_SHOWN = 25
_N_SETS = 8
_COLORS = ("#44608f", "#d97a7a", "#8cbf88", "#eea363", "#b79ad6", "#6bb8b8", "#d6c25b", "#8c7a6b")
_CIRCULAR = (
    "A target is a smooth function of the image by construction, because the coupling is computed "
    "from the image. A high R2, and beating permuted couplings, is expected of any gene and of any "
    "cloud of RNA cells. Read the columns of the controls: learned from one half of the RNA cells "
    "and scored on the other, on wells that took no part in the coupling."
)


def build_genes_report(result: GenesResult) -> Report:
    """Put genes, controls and landscape on one page."""
    plain = result.as_plain()
    cards = [(result.study.verdict, "verdict of the coupling")]
    for name, figures in plain["classes"].items():
        for key, (_, words) in BESIDE.items():
            if key in figures:
                cards.append((f"{figures[key]} of {figures['genes']}", f"{name}: found {words}"))
                break
    notices = [result.banner] if result.banner else []
    sections = [_controls_section(result), _genes_section(result)]
    if result.landscape is not None:
        sections.append(_landscape_section(result))
    if result.enrichment is not None:
        sections.append(_sets_section(result.enrichment))
    return Report(
        title="Genes predicted from images",
        lead="Which genes an image tells of, by the RNA cells that its patches are coupled with.",
        cards=cards[:6],
        sections=sections,
        notices=[*notices, _CIRCULAR, *result.notes],
        details={"Settings": str(plain["settings"]), "Versions": str(plain["versions"])},
    )


def _controls_section(result: GenesResult) -> Section:
    rows = {}
    for name, summary in result.summarize_controls().items():
        for label, figures in summary.get("classes", {}).items():
            rows[f"{name}, {label}"] = figures
    table = pd.DataFrame.from_dict(rows, orient="index").astype(float) if rows else None
    if table is not None:
        table.index.name = "control, class"
        table = table.rename(columns=lambda name: str(name).replace("_", " "))
    return Section(
        "Controls",
        paragraphs=[
            "The same procedure with one thing taken away. “Share found”: q below 0.05, R2 above 0."
        ],
        pictures=[
            Picture(
                "controls",
                draw_controls(result),
                "R2 of all genes, shown from -1 to 1: the table and its controls.",
            )
        ],
        table=table,
        notes=[
            f"Not run: {control.name}: {control.reason}."
            for control in result.controls
            if not control.scores
        ],
    )


def _genes_section(result: GenesResult) -> Section:
    suffix, words = strictest(result.genes)
    best = result.genes.sort_values(f"z{suffix}", ascending=False).groupby("class").head(_N_SHOWN)
    columns = [
        name
        for name in (
            "class",
            "r2",
            "z",
            "q",
            "z_residual",
            "r2_split_cells",
            "z_split_cells",
            "q_split_cells",
            "r2_held_out",
            "z_held_out",
            "q_held_out",
            "r2_geometry",
        )
        if name in best
    ]
    return Section(
        "Genes",
        paragraphs=[
            f"The {_N_SHOWN} genes of highest z {words}, in each class; all genes are in "
            "genes.parquet."
        ],
        table=best.set_index("gene")[columns],
    )


def _landscape_section(result: GenesResult) -> Section:
    landscape = result.landscape
    if landscape is None:
        return Section("Gene landscape")
    return Section(
        "Gene landscape",
        paragraphs=[
            "Genes by their z in two classes. Clusters gather genes of like predictability, which "
            "is no proof of common regulation."
        ],
        pictures=[
            Picture(
                "landscape",
                draw_plane(landscape.genes, _axes(result)),
                "Genes, by the finest clustering.",
            ),
            Picture("sankey", draw_sankey(landscape.top_flows), "Top genes from coarse to fine."),
        ],
    )


def _sets_section(enrichment: pd.DataFrame) -> Section:
    shown = enrichment[enrichment["q"] < FOUND].groupby("list", sort=False).head(_N_SETS)
    columns = ["set", "overlap", "size", "expected", "odds", "q", "p_matched"]
    text = (
        "One-sided Fisher tests against the tested genes, Benjamini-Hochberg within each list; "
        "p matched: against random lists of like expression, which has to be small, too. "
    )
    found = f"The {_N_SETS} sets of lowest q below {FOUND:g} in each list."
    none = f"No set has q below {FOUND:g} in any of {enrichment['list'].nunique()} lists."
    return Section(
        "Gene sets",
        paragraphs=[text + (found if len(shown) else none) + " All are in enrichment.parquet."],
        table=shown.set_index("list")[columns].rename(columns={"p_matched": "p matched"})
        if len(shown)
        else None,
    )


def draw_controls(result: GenesResult) -> Figure:
    """Draw the distribution of R2 over genes, of the table and of every control, by class."""
    classes = list(result.genes["class"].unique())
    control_table = result.control_table()
    names = ["table", *(control.name for control in result.controls if control.scores)]
    figure = Figure(figsize=(8.5, 0.34 * len(names) * len(classes) + 1.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(classes), 1, sharex=True))
    for axis, label in zip(axes, classes, strict=True):
        samples = []
        for name in names:
            source = result.genes if name == "table" else control_table
            rows = source[source["class"] == label]
            if name != "table":
                rows = rows[rows["control"] == name]
            samples.append(np.clip(rows["r2"].dropna().to_numpy(), -1, 1))
        axis.boxplot(
            samples,
            orientation="horizontal",
            showfliers=False,
            widths=0.6,
            patch_artist=True,
            boxprops={"facecolor": "#c7d1e3"},
            medianprops={"color": "#44608f"},
        )
        axis.set_yticks(range(1, len(names) + 1), names, fontsize=8)
        axis.invert_yaxis()
        axis.axvline(0, color="#999999", linewidth=0.8)
        axis.set_title(label, fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("R2 on held-out wells, all genes")
    return figure


def _axes(result: GenesResult) -> tuple[str, str]:
    """Return the classes on the axes of the landscape."""
    first = result.config.control_class
    others = [name for name in result.genes["class"].unique() if name != first]
    return first, result.config.other_class or others[0]


def draw_plane(genes: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Draw genes on the plane of the z of two classes, coloured by their finest cluster."""
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axis = figure.subplots()
    cluster = genes[genes.columns[-1]].to_numpy()
    for value in np.unique(cluster):
        rows = genes[cluster == value]
        axis.scatter(rows["x"], rows["y"], s=8, linewidths=0, color=_color(value), alpha=0.7)
    axis.axhline(0, color="#bbbbbb", linewidth=0.8)
    axis.axvline(0, color="#bbbbbb", linewidth=0.8)
    axis.set_xlabel(f"z, {classes[0]}")
    axis.set_ylabel(f"z, {classes[1]}")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_sankey(flows: pd.DataFrame) -> Figure:
    """Draw how genes flow from cluster to cluster of successive resolutions."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    levels = list(dict.fromkeys([*flows["from_level"], *flows["to_level"]]))
    places = {level: _stack(flows, level, position) for position, level in enumerate(levels)}
    out_of = {key: bottom for level in places.values() for key, (bottom, _) in level.items()}
    into = dict(out_of)
    for row in flows.itertuples(index=False):
        start, end = (row.from_level, row.from_cluster), (row.to_level, row.to_cluster)
        x = levels.index(row.from_level) + 0.06, levels.index(row.to_level) - 0.06
        _ribbon(axis, x, (out_of[start], into[end]), row.genes, _color(row.from_cluster))
        out_of[start] += row.genes
        into[end] += row.genes
    for position, level in enumerate(levels):
        for (_, cluster), (bottom, size) in places[level].items():
            axis.bar(position, size, 0.12, bottom=bottom, color=_color(cluster))
            axis.text(position, bottom + size / 2, str(cluster), ha="center", va="center", size=7)
    names = [level.removeprefix("leiden_") for level in levels]
    axis.set_xticks(range(len(levels)), [f"resolution {name}" for name in names], fontsize=8)
    axis.set_yticks([])
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    return figure


def draw_network(nodes: pd.DataFrame, edges: pd.DataFrame) -> Figure:
    """Draw the network of a module; nodes grow with their degree."""
    figure = Figure(figsize=(5.0, 5.0), layout="constrained")
    axis = figure.subplots()
    place = nodes.set_index("gene")[["x", "y"]]
    for edge in edges.itertuples(index=False):
        ends = place.loc[[edge.source, edge.target]]
        axis.plot(ends["x"], ends["y"], color="#c0c6d0", linewidth=0.8, zorder=1)
    axis.scatter(nodes["x"], nodes["y"], s=12 * (1 + nodes["degree"]), color="#44608f", zorder=2)
    for node in nodes.nlargest(30, "degree").itertuples(index=False):
        axis.annotate(node.gene, (node.x, node.y), fontsize=6)
    axis.set_axis_off()
    return figure


def _stack(flows: pd.DataFrame, level: str, position: int) -> dict[tuple[str, Any], Any]:
    """Return bottom and height of each cluster of a level."""
    side = "from" if position == 0 else "to"
    rows = flows[flows[f"{side}_level"] == level]
    sizes = rows.groupby(f"{side}_cluster")["genes"].sum().sort_index()
    bottoms = np.cumsum(sizes) - sizes + np.arange(len(sizes)) * 0.02 * sizes.sum()
    return {
        (level, cluster): (float(bottom), float(size))
        for (cluster, size), bottom in zip(sizes.items(), bottoms, strict=True)
    }


def _ribbon(
    axis: Axes, x: tuple[float, float], bottoms: tuple[float, float], size: float, color: str
) -> None:
    middle = sum(x) / 2
    (left, right), (low, high) = x, bottoms
    points = [
        (left, low),
        (middle, low),
        (middle, high),
        (right, high),
        (right, high + size),
        (middle, high + size),
        (middle, low + size),
        (left, low + size),
        (left, low),
    ]
    curve, line = Outline.CURVE4, Outline.LINETO
    codes = [Outline.MOVETO, curve, curve, curve, line, curve, curve, curve, Outline.CLOSEPOLY]
    axis.add_patch(PathPatch(Outline(points, codes), facecolor=color, alpha=0.35, linewidth=0))


def _color(cluster: Any) -> str:
    return _COLORS[int(cluster) % len(_COLORS)]
