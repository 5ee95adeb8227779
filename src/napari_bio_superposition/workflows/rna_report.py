"""The page on the quality of RNA cells: what was dropped and why, clusters. No analysis."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_bio_superposition.transcriptome.clusters import CLUSTER, LINEAGE
from napari_bio_superposition.transcriptome.quality import ACCEPTED, VERDICTS
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.figures import draw_maps
from napari_bio_superposition.workflows.report import Picture, Report, Section

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.rna import PreparedRna

_COLORS = dict(zip(VERDICTS, ("#44608f", "#c9b458", "#d97a7a", "#8f5fa8"), strict=True))
_MAX_SAMPLES = 6
_MAX_POINTS = 20_000


def build_rna_report(result: "PreparedRna") -> Report:
    """Put quality control, latent space and clusters on one page."""
    n_samples = result.cells[result.config.counts.sample_key].nunique()
    return Report(
        title="RNA cells: quality and clusters",
        lead="Which cells were kept to be coupled with images, and why the others were not.",
        cards=[
            (f"{result.table.n_obs:,} of {len(result.cells):,}", "cells kept"),
            (f"{result.table.n_vars:,}", "genes"),
            (f"{int(result.table.var['highly_variable'].sum()):,}", "variable genes"),
            (str(n_samples), "samples"),
            (str(len(result.clusters)), "clusters"),
            (result.representation, "to be coupled"),
        ],
        notices=result.notes,
        sections=[_quality_section(result), _cluster_section(result)],
        details={"Settings": str(config_to_plain(result.config))},
    )


def _quality_section(result: "PreparedRna") -> Section:
    quality = result.config.quality
    doublets = {
        "both": f"above percentile {quality.doublet_percentile:g} of its sample in genes and in "
        "counts",
        "either": f"above percentile {quality.doublet_percentile:g} of its sample in genes or in "
        "counts",
        "none": "not looked for",
    }[quality.doublet_rule]
    return Section(
        "Quality of cells",
        paragraphs=[
            f"Dropped: fewer than {quality.min_genes} genes; more than "
            f"{quality.max_mitochondrial:.0%} mitochondrial counts; doublets: {doublets}. Genes in "
            f"fewer than {quality.min_cells} cells"
            + (", of the Y chromosome, XIST and TTTY*" if quality.drop_sex_genes else "")
            + " were dropped, too. "
            + (
                "Ambient RNA was taken out of the counts of the kept cells by DecontX."
                if result.config.counts.ambient == "decontx"
                else "Ambient RNA was not corrected."
            ),
        ],
        pictures=[
            Picture("quality", draw_quality(result), "Every cell that was read, by verdict."),
        ],
        table=result.verdicts(),
    )


def _cluster_section(result: "PreparedRna") -> Section:
    table = result.table
    colorings = {"Cluster": table.obs[CLUSTER].astype(str)}
    if table.obs[LINEAGE].nunique() > 1:
        colorings["Lineage"] = table.obs[LINEAGE].astype(str)
    for column in (result.config.counts.sample_key, result.config.latent.genotype_key):
        if column in table.obs and 1 < table.obs[column].nunique() <= _MAX_SAMPLES:
            colorings[column.capitalize()] = table.obs[column].astype(str)
    colorings["Counts per cell"] = table.obs["n_counts"]
    rows = np.arange(table.n_obs)[:: max(1, table.n_obs // _MAX_POINTS)]
    shown = {name: values.iloc[rows] for name, values in colorings.items()}
    columns = ["cells", LINEAGE, "markers"]
    return Section(
        "Clusters of the kept cells",
        paragraphs=[
            "Leiden clusters of the latent space, named after the marker list with the highest "
            "mean score. Names are a suggestion: look at the genes."
        ],
        pictures=[
            Picture("map", draw_maps(table.obsm["X_umap"][rows], shown, "UMAP"), "UMAP of cells.")
        ],
        table=result.clusters[columns],
    )


def draw_quality(result: "PreparedRna") -> Figure:
    """Draw genes against counts, and genes against the mitochondrial share, by verdict."""
    cells = result.cells.iloc[:: max(1, len(result.cells) // _MAX_POINTS)]
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, x, label in (
        (axes[0], "n_counts", "counts per cell"),
        (axes[1], "mitochondrial", "mitochondrial share"),
    ):
        for verdict in VERDICTS:
            rows = cells[cells["verdict"] == verdict]
            size = 4 if verdict == ACCEPTED else 12
            axis.scatter(
                rows[x],
                rows["n_genes"],
                s=size,
                color=_COLORS[verdict],
                linewidths=0,
                alpha=0.6,
                label=f"{verdict} ({_count(result.cells, verdict)})",
            )
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_xscale("log")
    axes[0].set_ylabel("genes per cell")
    quality = result.config.quality
    for axis in axes:
        axis.axhline(quality.min_genes, color="#999999", linewidth=0.8, linestyle="--")
    axes[1].axvline(quality.max_mitochondrial, color="#999999", linewidth=0.8, linestyle="--")
    axes[1].legend(fontsize=8, frameon=False, markerscale=2)
    return figure


def _count(cells: pd.DataFrame, verdict: str) -> int:
    return int((cells["verdict"] == verdict).sum())
