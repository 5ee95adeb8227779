"""``bio-superposition batch FILES... --out DIR``: plan, run, collect, or one of these steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter, conclude
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.core.progress import Job, run
from napari_bio_superposition.workflows.batch_config import BatchConfig

Step = Literal["all", "plan", "run", "collect", "status"]


@dataclass(frozen=True, kw_only=True)
class BatchCommand:
    """Analyse a folder, a plate or a list of files; go on after whatever interrupted it.

    Writes plan.json and units.csv (fields with the hashes of their files), a folder per field, and
    at the end patches.h5ad, manifest.csv, wells.csv, failures.csv, summary.json and report.html.
    """

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Images, folders of images, Harmony exports, OME-Zarr images and plates. Not needed for the
    steps run, collect and status, which take the plan in --out."""

    out: Path
    """Folder of the run; made where it does not exist."""

    step: Step = "all"
    """Everything, or one step: plan (find and hash the files), run (do what is not done), collect
    (merge; refuses where fields are missing), status (say how far it is)."""

    shard: str = ""
    """Part of the plan that the step run does, as 1/8: for arrays of a queueing system."""

    allow_missing: bool = False
    """Let the step collect go on without fields that are not done; they are named."""

    table: Path | None = None
    """CSV with a column image, or plate and well, and any of plate, well, field, line, genotype,
    treatment: what the file names do not say."""

    settings: Annotated[BatchConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command; 1 where some fields failed."""
    command = parse_command(BatchCommand, BatchConfig, "batch", argv)
    _check(command)
    with Reporter(as_json=command.common.json) as reporter:
        if command.step in ("all", "collect"):
            summary = run(_summarize(command), reporter)
            reporter.result(summary.as_lines(), summary.as_plain())
            return conclude(summary)
        values = run(_do_step(command), reporter)
        reporter.result([f"{name}: {value}" for name, value in values.items()], values)
    return 1 if values.get("failures") else 0


def _check(command: BatchCommand) -> None:
    if command.step in ("all", "plan") and not command.files:
        raise ConfigError("No input is given. Name images or folders, for instance plate1/.")
    if command.step not in ("all", "plan") and command.files:
        raise ConfigError(f"The step {command.step} takes its files from the plan; name none.")
    if command.shard and command.step != "run":
        raise ConfigError("A shard belongs to --step run; plan before, and collect afterwards.")


def _summarize(command: BatchCommand) -> Job[Any]:
    from napari_bio_superposition.workflows.batch import collect_batch, run_batch
    from napari_bio_superposition.workflows.batch_plan import read_plan

    if command.step == "collect":
        plan = read_plan(command.out)
        return (yield from collect_batch(plan, allow_missing=command.allow_missing))
    job = run_batch(command.files, command.settings, command.out, metadata=command.table)
    return (yield from job)


def _do_step(command: BatchCommand) -> Job[dict[str, Any]]:
    from napari_bio_superposition.workflows.batch import (
        describe_progress,
        run_plan,
        with_resources,
    )
    from napari_bio_superposition.workflows.batch_plan import plan_batch, read_plan

    if command.step == "plan":
        job = plan_batch(command.files, command.settings, command.out, metadata=command.table)
        plan = yield from job
        return {"fields": len(plan.units), "not_images": dict(plan.not_images)}
    if command.step == "status":
        return describe_progress(command.out)
    plan = with_resources(read_plan(command.out), command.settings.resources)
    outcomes = yield from run_plan(plan, shard=command.shard)
    failures = {outcome.id: outcome.failure for outcome in outcomes if outcome.failure}
    return {"done": len(outcomes) - len(failures), "failures": failures}
