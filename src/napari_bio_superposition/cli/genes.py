"""``bio-superposition genes DIR --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.genes_config import GenesConfig


@dataclass(frozen=True, kw_only=True)
class GenesCommand:
    """Rank genes by how well images predict them, beside the controls that decide what it means.

    Writes genes.parquet, controls.parquet, genes.json (figures and verdict), controls.json, the
    gene landscape, alternative couplings, and report.html.
    """

    folder: tyro.conf.Positional[Path]
    """Folder that `couple` wrote."""

    out: Path
    """Folder for the results; made where it does not exist."""

    settings: Annotated[GenesConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(GenesCommand, GenesConfig, "genes", argv)
    from napari_bio_superposition.workflows.genes import predict_genes_files

    with Reporter(as_json=command.common.json) as reporter:
        result = run(predict_genes_files(command.folder, command.settings, command.out), reporter)
        lines = [*result.as_lines(), f"Written to {command.out}"]
        reporter.result(lines, {"out": str(command.out), **result.as_plain()})
    return 0
