"""``bio-superposition analyze FILES... --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter, conclude
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig


@dataclass(frozen=True, kw_only=True)
class AnalyzeCommand:
    """Find nuclei, score cell death and describe patches by SAE features.

    Writes patches.h5ad (opens in scanpy), manifest.csv (every patch with its verdict),
    summary.json, and a folder per image. Run again after an interruption, it goes on.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Images, folders of images, or Harmony export folders."""

    out: Path
    """Folder for the results; made where it does not exist."""

    table: Path | None = None
    """CSV with a column image, or plate and well, and any of plate, well, field, line, genotype,
    treatment: what the file names do not say."""

    settings: Annotated[AnalyzeConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command; 1 where some images failed."""
    command = parse_command(AnalyzeCommand, AnalyzeConfig, "analyze", argv)
    from napari_bio_superposition.workflows.analyze_files import analyze_files

    with Reporter(as_json=command.common.json) as reporter:
        job = analyze_files(command.files, command.settings, command.out, metadata=command.table)
        summary = run(job, reporter)
        reporter.result(summary.as_lines(), summary.as_plain())
    return conclude(summary)
