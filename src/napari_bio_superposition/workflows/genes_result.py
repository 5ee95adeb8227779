"""What gene prediction returns: tables, controls, landscape, and the words beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from napari_bio_superposition.alignment.genes_controls import Control
from napari_bio_superposition.alignment.genes_couplings import Alternative
from napari_bio_superposition.alignment.genes_landscape import Landscape
from napari_bio_superposition.alignment.genes_null import GeneScores
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.genes_config import GenesConfig
from napari_bio_superposition.workflows.genes_data import CoupledStudy, banner_of, choose_labels

Matrix = npt.NDArray[Any]
FOUND = 0.05
"""q below which a gene counts as found."""
BESIDE = {
    "found_on_held_out_wells": ("_held_out", "on held-out wells and other RNA cells"),
    "found_on_other_cells": ("_split_cells", "on other RNA cells"),
}
"""Controls that genes are to be read by, the strictest first: the figure in ``genes.json``, the
suffix of the control's columns, and what it is in words."""


@dataclass(frozen=True, eq=False)
class GenesResult:
    """Genes predicted from images, and everything that they have to be read beside.

    Parameters
    ----------
    genes
        One row per gene and class; see docs/genes.md for its columns.
    controls
        What was run, and what was not and why.
    landscape
        Genes by the z of two classes; ``None`` where there are no two classes.
    enrichment
        Over-representation of the user's sets among the genes found in each class (see
        `strictest`), and in each cluster of the landscape's top genes.
    latent
        R2 of latent dimensions by XGBoost, by class.
    alternatives
        Couplings that cannot be dismissed.
    study, config
        What it was made from.
    notes
        What the user should know.
    """

    genes: pd.DataFrame
    controls: tuple[Control, ...]
    landscape: Landscape | None
    enrichment: pd.DataFrame | None
    latent: Mapping[str, GeneScores]
    alternatives: tuple[Alternative, ...]
    study: CoupledStudy
    config: GenesConfig
    notes: tuple[str, ...]

    def control_table(self) -> pd.DataFrame:
        """Return every control's scores: one row per control, class and gene."""
        tested = self.genes["gene"].drop_duplicates().tolist()
        parts = [
            as_frame(scores, tested if control.same_genes else None).assign(
                control=control.name, **{"class": name}
            )
            for control in self.controls
            for name, scores in control.scores.items()
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["control"])

    def summarize_controls(self) -> dict[str, Any]:
        """Return each control in figures beside those of the table, by class."""
        return {control.name: self._summarize(control) for control in self.controls}

    def _summarize(self, control: Control) -> dict[str, Any]:
        summary: dict[str, Any] = {"run": bool(control.scores), "reason": control.reason}
        for name, scores in control.scores.items():
            rows = self.genes[self.genes["class"] == name]
            figures = describe_scores(scores)
            if control.same_genes and len(rows) == len(scores.z):
                known = np.isfinite(scores.z) & np.isfinite(rows["z"].to_numpy())
                figures["spearman_with_table"] = _correlate(
                    scores.z[known], rows["z"].to_numpy()[known]
                )
            summary.setdefault("classes", {})[name] = figures
        return summary

    def as_plain(self) -> dict[str, Any]:
        """Return all figures as JSON values; the tables are files of their own."""
        label, label_rna = choose_labels(self.study, self.config)
        by_class = {
            str(name): {
                "genes": len(rows),
                "r2_median": float(rows["r2"].median()),
                "z_median": float(rows["z"].median()),
                "found": len(find_genes(rows)),
                **{
                    key: len(find_genes(rows, suffix))
                    for key, (suffix, _) in BESIDE.items()
                    if f"q{suffix}" in rows and rows[f"q{suffix}"].notna().any()
                },
            }
            for name, rows in self.genes.groupby("class")
        }
        return {
            "verdict": self.study.verdict,
            "banner": self.banner,
            "classes": by_class,
            "controls": self.summarize_controls(),
            "latent": {name: describe_scores(scores) for name, scores in self.latent.items()},
            "alternatives": [
                {"kind": other.kind, "k": list(other.k), "gap": other.gap}
                for other in self.alternatives
            ],
            "used": {
                "labels": f"{label} and {label_rna}: genes are predicted within classes"
                if label
                else "none: all patches are one class"
            },
            "notes": list(self.notes),
            "settings": config_to_plain(self.config),
            "versions": package_versions(),
        }

    @property
    def banner(self) -> str:
        """What stands above everything where the coupling is not to be trusted; else empty."""
        return banner_of(self.study.verdict)

    def as_lines(self) -> list[str]:
        """Return the outcome as a person reads it."""
        lines = [self.banner] if self.banner else []
        for name, figures in self.as_plain()["classes"].items():
            lines.append(
                f"{name}: {figures['found']} of {figures['genes']} genes beat permuted couplings "
                f"(q < {FOUND:g}, R2 > 0; expected of any smooth map){say_beside(figures)}"
            )
        skipped = [control.name for control in self.controls if not control.scores]
        if skipped:
            lines.append(f"Controls that were not run: {', '.join(skipped)} (reasons in the file).")
        return [*lines, *self.notes]


def as_frame(scores: GeneScores, genes: list[str] | None = None) -> pd.DataFrame:
    """Return scores as one row per gene; numbered where names are not given."""
    names = genes or [str(number) for number in range(len(scores.z))]
    columns = {
        name: getattr(scores, name) for name in ("r2", "null_mean", "null_sd", "z", "p", "q")
    }
    return pd.DataFrame({"gene": names, **columns, "n_permutations": scores.n_permutations})


def strictest(genes: pd.DataFrame) -> tuple[str, str]:
    """Return the suffix of the columns that genes are to be read by, and what they are, in words.

    Held-out wells where that control was run, else other RNA cells, else the table itself.
    """
    for suffix, words in BESIDE.values():
        if f"q{suffix}" in genes and genes[f"q{suffix}"].notna().any():
            return suffix, words
    return "", "against permuted couplings alone, which any smooth map beats"


def say_beside(figures: Mapping[str, Any]) -> str:
    """Return how many genes of a class the controls find, of its entry in ``genes.json``."""
    return "".join(
        f", {figures[key]} {words}" for key, (_, words) in BESIDE.items() if key in figures
    )


def find_genes(rows: pd.DataFrame, column: str = "") -> list[str]:
    """Return the genes of q < 0.05 and R2 above 0.

    Permuted couplings often have R2 below 0; beating them does not yet mean to predict anything.
    """
    found = (rows[f"q{column}"] < FOUND) & (rows[f"r2{column}"] > 0)
    return [str(gene) for gene in rows.loc[found, "gene"]]


def describe_scores(scores: GeneScores) -> dict[str, float | None]:
    """Return the scores of all genes in four figures; ``None`` where no gene has one."""
    known = np.isfinite(scores.r2)
    if not known.any():
        return {"r2_mean": None, "null_mean": None, "z_median": None, "share_found": None}
    return {
        "r2_mean": float(scores.r2[known].mean()),
        "null_mean": float(scores.null_mean[known].mean()),
        "z_median": float(np.median(scores.z[known])),
        "share_found": float(np.mean((scores.q[known] < FOUND) & (scores.r2[known] > 0))),
    }


def _correlate(first: Matrix, second: Matrix) -> float | None:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
