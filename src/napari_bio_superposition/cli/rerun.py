"""``bio-superposition rerun FOLDER --out DIR``: reproduce a batch run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter, conclude
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.batch_config import ResourceConfig


@dataclass(frozen=True, kw_only=True)
class RerunCommand:
    """Do a batch run again with the same files, settings and models, and compare the results.

    Files or models that have changed since are refused; they would give something else.
    """

    folder: tyro.conf.Positional[Path]
    """Folder that `batch` wrote."""

    out: Path
    """Folder for the new run; the old one is kept as it is."""

    device: str = ""
    """Compute device: auto, cpu, cuda:0 (any number) or mps; that of the run where empty."""

    seed: int | None = None
    """Another seed than that of the run, to see what depends on it."""

    settings: Annotated[ResourceConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command; 1 where fields failed or differ."""
    command = parse_command(RerunCommand, ResourceConfig, "rerun", argv)
    from napari_bio_superposition.workflows.batch import compare_runs, rerun_batch

    with Reporter(as_json=command.common.json) as reporter:
        changes = {"device": command.device or None, "seed": command.seed}
        chosen = {name: value for name, value in changes.items() if value is not None}
        job = rerun_batch(command.folder, command.out, command.settings, changes=chosen)
        summary = run(job, reporter)
        compared = compare_runs(command.folder, command.out)
        differing = compared["differing"]
        same = "the same bytes as before"
        verdict = f"{len(differing)} fields differ: {', '.join(differing)}" if differing else same
        reporter.result([*summary.as_lines(), verdict], {**summary.as_plain(), **compared})
    return conclude(summary) or (1 if differing else 0)
