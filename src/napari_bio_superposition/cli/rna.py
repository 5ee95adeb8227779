"""``bio-superposition rna INPUT... --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.rna_config import RnaPreparationConfig


@dataclass(frozen=True, kw_only=True)
class RnaCommand:
    """Read scRNA-seq counts, judge cells, find a latent space and clusters.

    Writes rna.h5ad (for couple and genes), summary.json, cells.csv (every cell with its verdict)
    and report.html.
    """

    inputs: tyro.conf.Positional[tuple[Path, ...]]
    """10x h5 files or folders, .h5ad, .zarr, .csv or .csv.gz with raw counts, one per sample."""

    out: Path
    """Folder for the results; made where it does not exist."""

    samples: Path | None = None
    """CSV with a column sample (the files' names) and any of genotype, flow_cell, sex, subclone."""

    settings: Annotated[RnaPreparationConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(RnaCommand, RnaPreparationConfig, "rna", argv)
    from napari_bio_superposition.workflows.rna import prepare_rna_files

    with Reporter(as_json=command.common.json) as reporter:
        job = prepare_rna_files(
            command.inputs, command.settings, command.out, samples=command.samples
        )
        result = run(job, reporter)
        lines = [*result.as_lines(), f"Written to {command.out}"]
        reporter.result(lines, {"out": str(command.out), **result.as_plain()})
    return 0
