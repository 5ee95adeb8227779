"""RNA as a job: count files in; a table that can be coupled, and a page on its quality, out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import hash_file, package_versions
from napari_bio_superposition.features.table_files import write_h5ad
from napari_bio_superposition.transcriptome.ambient import remove_ambient
from napari_bio_superposition.transcriptome.clusters import (
    LINEAGE,
    choose_lineages,
    cluster_cells,
)
from napari_bio_superposition.transcriptome.latent import add_components, add_latent
from napari_bio_superposition.transcriptome.quality import filter_cells, judge_cells
from napari_bio_superposition.transcriptome.reading import read_samples
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.rna_config import RnaPreparationConfig

if TYPE_CHECKING:
    import anndata

TABLE = "rna.h5ad"


@dataclass(frozen=True, eq=False)
class PreparedRna:
    """RNA cells ready to be coupled, and how they were judged.

    Parameters
    ----------
    table
        The kept cells: log counts in ``X``, ``layers["counts"]``, ``obsm["X_pca"]`` and, with scVI,
        ``obsm["X_scVI"]``.
    cells
        Every cell that was read, with its measurements and verdict.
    clusters
        One row per cluster with its marker scores and lineage.
    n_lineage
        Cells that were left out because of their lineage or cluster.
    notes
        What the user should know.
    config
        The settings.
    """

    table: "anndata.AnnData"
    cells: pd.DataFrame
    clusters: pd.DataFrame
    n_lineage: int
    notes: tuple[str, ...]
    config: RnaPreparationConfig

    @property
    def representation(self) -> str:
        """Key of obsm that is coupled."""
        return "X_scVI" if "X_scVI" in self.table.obsm else Keys.PCA

    def verdicts(self) -> pd.DataFrame:
        """Return the number of cells per sample and verdict, with medians of what was measured."""
        key = self.config.counts.sample_key
        counts = pd.crosstab(self.cells[key], self.cells["verdict"])
        medians = self.cells.groupby(key, observed=True)[["n_genes", "n_counts"]].median()
        result = counts.join(medians.add_prefix("median "))
        result.index.name = "sample"
        return result

    def as_plain(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        verdicts = self.cells["verdict"].value_counts()
        return {
            "cells_read": len(self.cells),
            "cells": self.table.n_obs,
            "genes": self.table.n_vars,
            "variable_genes": int(self.table.var["highly_variable"].sum()),
            "verdicts": {str(name): int(count) for name, count in verdicts.items()},
            "samples": self.verdicts().astype(float).T.to_dict(),
            "left_out_by_lineage": self.n_lineage,
            "clusters": self.clusters.reset_index().to_dict("records"),
            "representation": self.representation,
            "notes": list(self.notes),
            "settings": config_to_plain(self.config),
            "versions": package_versions(),
        }

    def as_lines(self) -> list[str]:
        """Return the outcome as a person reads it."""
        verdicts = self.cells["verdict"].value_counts()
        left_out = {name: n for name, n in verdicts.items() if name != "accepted" and n}
        if self.n_lineage:
            left_out["of other lineages"] = self.n_lineage
        dropped = ", ".join(f"{n} {name}" for name, n in left_out.items())
        return [
            f"{self.table.n_obs} of {len(self.cells)} cells kept"
            + (f" (left out: {dropped})" if dropped else "")
            + f", {self.table.n_vars} genes, {len(self.clusters)} clusters.",
            f"Representation to couple: {self.representation}.",
            *self.notes,
        ]


def prepare_rna(
    paths: Sequence[str | Path],
    config: RnaPreparationConfig | None = None,
    *,
    samples: Path | None = None,
) -> Job[PreparedRna]:
    """Read counts, judge cells, find a latent space, cluster, and keep the chosen lineages.

    Parameters
    ----------
    paths
        10x files or folders, ``.h5ad``, ``.zarr`` or CSV; each a sample unless it names its own.
    config
        Settings; the defaults where omitted.
    samples
        CSV with what is known of the samples (genotype, flow_cell, sex ...).

    Raises
    ------
    TableError
        Where files cannot be used, or no cell passes.
    """
    config = config or RnaPreparationConfig()
    rng = np.random.default_rng(config.seed)
    read = yield from read_samples(paths, config.counts, samples)
    yield Progress("Judging cells")
    key = config.counts.sample_key
    cells = judge_cells(read, config.quality, key)
    kept = filter_cells(read, cells, config.quality)
    device = _choose_device(config)
    ambient: list[str] = []
    if config.counts.ambient == "decontx":
        ambient = yield from remove_ambient(kept, sample_key=key, rng=rng)
    table = yield from add_latent(kept, config.latent, sample_key=key, device=device, rng=rng)
    notes = [*table.uns.pop("notes", []), *ambient]
    if not cells["mitochondrial"].any() and config.quality.max_mitochondrial < 1:
        notes.append(
            f"No gene starts with {config.quality.mitochondrial_prefix} (or none has a count): the "
            "rule on mitochondrial counts had nothing to judge."
        )
    representation = "X_scVI" if config.latent.method == "scvi" else Keys.PCA
    clusters = yield from cluster_cells(table, config.clusters, use_rep=representation, rng=rng)
    scores = clusters.drop(columns=["cells", LINEAGE, "markers"])
    if scores.isna().all(axis=None):
        notes.append(
            "None of the marker genes is among the genes, so clusters have no lineage: "
            f"{list_choices(table.var_names[:3])} are no symbols, or of another species. Give "
            "lists of your own with --clusters.markers."
        )
    chosen = choose_lineages(table, config.clusters)
    n_lineage = table.n_obs - chosen.n_obs
    if n_lineage and config.latent.method == "pca":  # axes of the kept cells, not of what was left
        add_components(chosen, config.latent.n_latent, rng=rng)
    chosen.uns[Keys.PROVENANCE] = to_json(
        {"settings": config_to_plain(config), "versions": package_versions(), "notes": notes}
    )
    return PreparedRna(chosen, cells, clusters, n_lineage, tuple(notes), config)


def prepare_rna_files(
    paths: Sequence[str | Path],
    config: RnaPreparationConfig | None = None,
    out: Path = Path("rna"),
    *,
    samples: Path | None = None,
) -> Job[PreparedRna]:
    """Prepare RNA and write ``rna.h5ad``, ``summary.json``, ``cells.csv`` and ``report.html``.

    Parameters
    ----------
    paths
        Files or folders with counts.
    config
        Settings; the defaults where omitted.
    out
        Folder for the results; made where it does not exist.
    samples
        CSV with what is known of the samples.

    Raises
    ------
    OutputError
        Where the folder cannot be written.
    """
    result = yield from prepare_rna(paths, config, samples=samples)
    yield Progress("Writing results")
    with replaced_file(out / TABLE) as part:
        write_h5ad(result.table, part)
    with replaced_file(out / "cells.csv") as part:
        result.cells.to_csv(part)
    plain = result.as_plain()
    plain["inputs"] = {
        str(Path(path).name): hash_file(Path(path)) if Path(path).is_file() else "folder"
        for path in paths
    }
    with replaced_file(out / "summary.json") as part:
        part.write_text(to_json(plain, indent=2), encoding="utf-8")
    from napari_bio_superposition.workflows.report import write_report
    from napari_bio_superposition.workflows.rna_report import build_rna_report

    write_report(build_rna_report(result), out)
    return result


def _choose_device(config: RnaPreparationConfig) -> str:
    if config.latent.method != "scvi":
        return "cpu"
    from napari_bio_superposition.models.device import choose_device

    return choose_device(config.device)
