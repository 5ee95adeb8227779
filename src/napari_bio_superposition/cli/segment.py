"""``bio-superposition segment FILES... --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter, conclude
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.segment_config import SegmentConfig


@dataclass(frozen=True, kw_only=True)
class SegmentCommand:
    """Find nuclei; writes STEM_nuclei.tif (int32 labels, 0 is background) for every image."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Images, folders of images, or Harmony export folders."""

    out: Path
    """Folder for the label images; made where it does not exist."""

    settings: Annotated[SegmentConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command; 1 where some images failed."""
    command = parse_command(SegmentCommand, SegmentConfig, "segment", argv)
    from napari_bio_superposition.workflows.segment import segment_files

    with Reporter(as_json=command.common.json) as reporter:
        summary = run(segment_files(command.files, command.settings, command.out), reporter)
        reporter.result(summary.as_lines(), summary.as_plain())
    return conclude(summary)
