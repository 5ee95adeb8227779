"""The GW-map part of the demo's report: pictures and what is said beside them. No analysis."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.transcriptome.clusters import CLUSTER
from napari_bio_superposition.workflows.demo_genes import FOUND, RnaComparison
from napari_bio_superposition.workflows.figures import draw_maps
from napari_bio_superposition.workflows.genes_result import find_genes
from napari_bio_superposition.workflows.report import Picture, Section

_UNPAIRED = (
    "The RNA cells are others than the imaged ones; both were drawn from the same rules. The "
    "coupling compares the shapes of the two clouds of points. It was told the genotypes, and "
    "couples cells of one genotype only; no step was told the states of cells. So what is right "
    "about differences between genotypes was given, not found."
)


def gene_sections(result: RnaComparison) -> list[Section]:
    """Return the sections on the coupling with RNA, and on genes."""
    return [_coupling_section(result), _genes_section(result)]


def _coupling_section(result: RnaComparison) -> Section:
    coupling, table = result.coupled.coupling, result.rna.table
    maps = {
        "Cluster": table.obs[CLUSTER].astype(str),
        "Genotype": table.obs[Keys.GENOTYPE].astype(str),
        "True progression": table.obs["progression"],
    }
    names = {
        "spearman": "Spearman",
        "null_low": "null low",
        "null_high": "null high",
        "within": "within genotypes",
        "n_patches": "patches",
    }
    return Section(
        f"Coupling with RNA: {coupling.verdict}",
        paragraphs=[
            _UNPAIRED,
            " ".join([*coupling.explanation, *coupling.warnings]),
            *result.as_lines()[2:4],
            "The table carries the true states of the RNA cells to the patches by the coupling and "
            "correlates them with the true states of the patches: over all patches, where the "
            "genotypes, which were given, account for much of it, and within genotypes (mean of "
            "them), where only the coupling can be right.",
        ],
        pictures=[
            Picture("rna_map", draw_maps(table.obsm["X_umap"], maps, "UMAP"), "The RNA cells."),
            Picture(
                "coupling_nulls",
                draw_nulls(result),
                "Loss of the data (lines) and of rebuilt geometries (points) on equally many "
                "cells: an alignment shows as lines left of the points.",
            ),
        ],
        table=result.states.rename(columns=names | {"n_patches": "patches", "n_wells": "wells"}),
    )


def _genes_section(result: RnaComparison) -> Section:
    shown = result.recovered.rename(
        columns={
            "auroc": "AUROC of z",
            "auroc_split_cells": "AUROC of z, other cells",
            "linked": "follow the images",
            "found_linked": "found, follow",
            "found_others": "found, do not",
        }
    )
    counts = dict.fromkeys(("genes", "follow the images", "found, follow", "found, do not"), str)
    return Section(
        "Genes predicted from images",
        paragraphs=[
            result.genes.banner or "The coupling holds for single cells.",
            "Ridge regression predicts the expression of coupled cells from image features, over "
            "all patches, for wells that did not teach it. The simulation knows which genes "
            "follow what images show. AUROC: how well a gene's z tells these from the others, 0.5 "
            "is chance; “other cells” is learned on one half of the RNA cells and scored on the "
            f"other. Found: q below {FOUND:g} there, R2 above 0.",
            _say_what_is_wrong(result),
        ],
        pictures=[
            Picture(
                "gene_scores",
                draw_gene_scores(result),
                "z on other cells, by what a gene follows in truth.",
            )
        ],
        table=shown.astype(counts),
    )


def _say_what_is_wrong(result: RnaComparison) -> str:
    """Return how many finds are wrong, and which unlinked modules hold most of them."""
    found = set(find_genes(result.genes.genes, "_split_cells"))
    if not found:
        return "No gene was found."
    about = result.coupled.rna.var
    wrong = about.index.isin(found) & ~about["linked"].to_numpy(bool)
    if not wrong.any():
        return f"All {len(found)} genes that were found follow the images."
    counts = about.loc[wrong, "module"].astype(str).value_counts()
    sizes = about["module"].astype(str).value_counts()
    worst = ", ".join(f"{name} {n} of {sizes[name]}" for name, n in counts.head(3).items())
    return (
        f"{int(wrong.sum())} of the {len(found)} genes that were found are wrong: no image shows "
        f"what they follow (by module: {worst}). A list of found genes from such a coupling is not "
        "to be believed gene by gene."
    )


def draw_nulls(result: RnaComparison) -> Figure:
    """Draw the losses of rebuilt geometries beside that of the data."""
    coupling = result.coupled.coupling
    figure = Figure(figsize=(4.6, 2.6), layout="constrained")
    axis = figure.subplots()
    for place, losses in enumerate(coupling.null_losses.values()):
        axis.scatter(losses, np.full(len(losses), place), s=18, color="#44608f", linewidths=0)
    for loss in coupling.null_observed:
        axis.axvline(loss, color="#d97a7a", linewidth=2)
    names = list(coupling.null_losses)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(-0.6, max(0, len(names) - 1) + 0.6)
    axis.set_xlabel("Gromov-Wasserstein loss")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_gene_scores(result: RnaComparison) -> Figure:
    """Draw the distribution of z over genes for each planted module, by class."""
    genes = result.genes.genes
    module = result.coupled.rna.var["module"].astype(str)
    linked = result.coupled.rna.var["linked"]
    order = sorted(module.unique(), key=lambda name: (not linked[module == name].any(), name))
    classes = list(genes["class"].unique())
    figure = Figure(figsize=(2.5 * len(classes), 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(classes), sharey=True))
    for axis, name in zip(axes, classes, strict=True):
        rows = genes[genes["class"] == name].set_index("gene")["z_split_cells"]
        _draw_modules(axis, rows, module, linked, order)
        axis.set_title(name, fontsize=10, loc="left")
    axes[0].set_yticks(range(len(order)), order, fontsize=8)
    axes[0].invert_yaxis()
    return figure


def _draw_modules(
    axis: Axes, z: pd.Series, module: pd.Series, linked: pd.Series, order: list[str]
) -> None:
    rng = np.random.default_rng(0)
    of_gene = module.reindex(z.index)
    for place, name in enumerate(order):
        values = z[of_gene == name].to_numpy()
        color = "#44608f" if linked[module == name].any() else "#b0b0b0"
        spread = place + 0.6 * (rng.random(len(values)) - 0.5)
        axis.scatter(values, spread, s=4, color=color, linewidths=0, alpha=0.7)
    axis.axvline(0, color="#999999", linewidth=0.8)
    axis.set_xlabel("z, other cells")
    axis.spines[["top", "right"]].set_visible(False)
