"""``bio-superposition demo --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.demo_config import DemoConfig


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Simulate a small study, analyse it, embed the patches, write figures and one HTML report."""

    out: Path
    """Folder for study, analysis, figures and report.html."""

    settings: Annotated[DemoConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(DemoCommand, DemoConfig, "demo", argv)
    from napari_bio_superposition.workflows.demo import run_demo

    with Reporter(as_json=command.common.json) as reporter:
        result = run(run_demo(command.settings, command.out), reporter)
        reporter.result(result.as_lines(), result.as_plain())
    return 0
