"""``bio-superposition simulate --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.demo_config import SimulateConfig


@dataclass(frozen=True, kw_only=True)
class SimulateCommand:
    """Write a simulated study: images, masks, the state of every cell, and RNA counts.

    Everything is synthetic and says so; the truth is saved beside the images.
    """

    out: Path
    """Folder for the study; a complete field that is there already is not drawn again."""

    settings: Annotated[SimulateConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(SimulateCommand, SimulateConfig, "simulate", argv)
    from napari_bio_superposition.workflows.simulate import simulate

    with Reporter(as_json=command.common.json) as reporter:
        folder = run(simulate(command.settings, command.out), reporter)
        reporter.result([f"Simulated study written to {folder}"], {"out": str(folder)})
    return 0
