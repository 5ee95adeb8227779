"""Folders, plates, clusters: plan, run and collect as one job, or one by one. No Qt."""

import csv
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.files import remove_leftovers, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.workflows.batch_config import BatchConfig, ResourceConfig
from napari_bio_superposition.workflows.batch_executors import Cluster, ProcessPool, work_here
from napari_bio_superposition.workflows.batch_plan import (
    IMAGES,
    PLAN,
    UNITS,
    BatchPlan,
    Unit,
    log_event,
    plan_batch,
    read_plan,
    write_plan,
)
from napari_bio_superposition.workflows.batch_report import write_report
from napari_bio_superposition.workflows.batch_summary import BatchSummary, prefixed, retold
from napari_bio_superposition.workflows.batch_unit import Outcome, find_done, read_failure
from napari_bio_superposition.workflows.batch_wells import (
    CONTROLS,
    WELL_FEATURES,
    WELLS,
    write_wells,
)
from napari_bio_superposition.workflows.collect import MANIFEST, collect_results
from napari_bio_superposition.workflows.config_files import config_to_plain, write_config
from napari_bio_superposition.workflows.result_folder import SavedResult

SUMMARY: Final = "summary.json"
SETTINGS: Final = "settings.toml"
FAILED: Final = "failures.csv"
REPORT: Final = "report.html"
_WRITTEN: Final = (
    *(PLAN, UNITS, SUMMARY, SETTINGS, FAILED, REPORT, MANIFEST),
    *(WELLS, WELL_FEATURES, CONTROLS),
)
_STEP: Final = "Analysing fields"


class _Executor(Protocol):
    def outcomes(self, units: Sequence[Unit]) -> Iterable[Outcome]: ...


@dataclass(frozen=True, eq=False)
class Status:
    """Where every field of a plan stands."""

    done: Mapping[str, SavedResult]
    failed: Mapping[str, str]
    """Field to the reason of its failure."""
    missing: tuple[str, ...]
    """Fields that were never done, or whose results are damaged."""


def run_batch(
    paths: str | Path | Sequence[str | Path],
    config: BatchConfig | None = None,
    out: str | Path = "batch",
    *,
    metadata: str | Path | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Job[BatchSummary]:
    """Plan, run and collect; fields that are done there already are not done again.

    Parameters
    ----------
    paths, config, out, metadata
        As for `plan_batch`.
    on_outcome
        Called as each field ends, well or not.

    Returns
    -------
    BatchSummary
        Fields that failed are in it with their reasons, and did not stop the others.
    """
    plan = yield from plan_batch(paths, config, out, metadata=metadata)
    yield from run_plan(plan, on_outcome=on_outcome)
    return (yield from collect_batch(plan))


def run_plan(
    plan: BatchPlan, *, shard: str = "", on_outcome: Callable[[Outcome], None] | None = None
) -> Job[tuple[Outcome, ...]]:
    """Do all fields of a plan that are not done, failed ones included.

    Parameters
    ----------
    plan
        From `plan_batch` or `read_plan`.
    shard
        ``"2/8"`` does every eighth field from the second: one of eight jobs that share the plan.
    on_outcome
        Called as each field ends.

    Returns
    -------
    tuple of Outcome
        Of the fields that were done now.
    """
    chosen = plan.select(shard)
    pending = []
    for number, unit in enumerate(chosen):
        if find_done(plan, unit) is None:
            pending.append(unit)
        yield Progress("Looking for what is done", number + 1, len(chosen), "fields")
    remove_leftovers(plan.folder / IMAGES, {plan.shard(unit).name for unit in pending})
    if not pending:
        return ()
    log_event(plan, f"running {len(pending)} of {len(chosen)} fields")

    def report(outcome: Outcome) -> None:
        log_event(plan, _describe(outcome) or f"{outcome.id} done")
        if on_outcome is not None:
            on_outcome(outcome)

    if plan.config.resources.scheduler:
        return (yield from _run_elsewhere(Cluster(plan), pending, report))
    if plan.config.resources.processes > 1:
        return (yield from _run_elsewhere(ProcessPool(plan), pending, report))
    return (yield from _run_here(plan, pending, report))


def _run_here(
    plan: BatchPlan, units: Sequence[Unit], report: Callable[[Outcome], None]
) -> Job[tuple[Outcome, ...]]:
    outcomes: list[Outcome] = []
    yield Progress(_STEP, 0, len(units), "fields")
    for unit, job in zip(units, work_here(plan, units), strict=True):
        job = prefixed(job, f"{unit.id}: ")
        outcome = yield from job if len(units) == 1 else _within(job, len(outcomes), len(units))
        outcomes.append(outcome)
        report(outcome)
        yield Progress(_STEP, len(outcomes), len(units), "fields", _describe(outcome))
    return tuple(outcomes)


def _within(job: Job[Outcome], done: int, total: int) -> Job[Outcome]:
    """Report how far the run is, in place of the steps of one field: that is what takes time."""
    whole = Progress(_STEP, done, total, "fields")
    return retold(job, lambda progress: dataclasses.replace(whole, notice=progress.notice))


def _run_elsewhere(
    executor: AbstractContextManager[_Executor],
    units: Sequence[Unit],
    report: Callable[[Outcome], None],
) -> Job[tuple[Outcome, ...]]:
    outcomes = []
    yield Progress(_STEP, 0, len(units), "fields")
    with executor as workers:
        for outcome in workers.outcomes(units):
            outcomes.append(outcome)
            report(outcome)
            yield Progress(_STEP, len(outcomes), len(units), "fields", _describe(outcome))
    return tuple(outcomes)


def _describe(outcome: Outcome) -> str:
    return f"{outcome.id} failed: {outcome.failure}" if outcome.failure else ""


def read_status(plan: BatchPlan) -> Status:
    """Return where every field stands, by what is on disk."""
    done, failed, missing = {}, {}, []
    for unit in plan.units:
        if (result := find_done(plan, unit)) is not None:
            done[unit.id] = result
        elif reason := read_failure(plan, unit):
            failed[unit.id] = reason
        else:
            missing.append(unit.id)
    return Status(done, failed, tuple(missing))


def collect_batch(plan: BatchPlan, *, allow_missing: bool = False) -> Job[BatchSummary]:
    """Merge the results of a plan into one table, manifest, wells, summary and report.

    Parameters
    ----------
    plan
        From `plan_batch` or `read_plan`.
    allow_missing
        Go on where fields were never done; they are named in the summary.

    Raises
    ------
    TableError
        Where fields are missing, naming them. Fields that failed with a reason are not missing.
    """
    yield Progress("Looking for what is done")
    status = read_status(plan)
    if status.missing and not allow_missing:
        more = f" and {len(status.missing) - 10} more" if len(status.missing) > 10 else ""
        raise TableError(
            f"{len(status.missing)} of {len(plan.units)} fields are not done: "
            f"{list_choices(status.missing[:10])}{more}. Run the plan again, or collect with "
            "allow_missing (--allow-missing)."
        )
    gone = dict.fromkeys(status.missing, "not done yet, or its result is damaged")
    failures = {**status.failed, **gone}
    config, out = plan.config, plan.folder
    results = list(status.done.values())
    table_name = f"patches.{config.table_format}"
    remove_leftovers(out, {table_name, *_WRITTEN})
    collected = yield from collect_results(results, config.analysis, out, table_name=table_name)
    outputs = {"summary": SUMMARY, "settings": SETTINGS, "failures": FAILED, **collected.outputs}
    wells = yield from write_wells(collected, config, out)
    outputs |= wells.outputs
    summary = BatchSummary(
        images=collected.images,
        failures=failures,
        not_images=plan.not_images,
        warnings=(*plan.notes, *collected.warnings, *wells.warnings),
        settings=config_to_plain(config),
        versions=plan.versions,
        outputs={**outputs, "report": REPORT},
    )
    _write_failures(plan, failures)
    write_config(config, out / SETTINGS)
    with replaced_file(out / SUMMARY) as part:
        part.write_text(to_json(summary.as_plain(), indent=2), encoding="utf-8")
    write_report(plan, summary, wells, out / REPORT)
    log_event(plan, f"collected {len(results)} fields, {len(failures)} failed or missing")
    yield Progress("Gathering results", len(results), len(results), "fields")
    return summary


def with_resources(plan: BatchPlan, resources: ResourceConfig) -> BatchPlan:
    """Return the plan with other processes, devices or scheduler; its results stay the same."""
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, resources=resources))


def rerun_batch(
    folder: str | Path,
    out: str | Path,
    resources: ResourceConfig | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
) -> Job[BatchSummary]:
    """Do the run of *folder* again from its plan: the same files, settings and models, into *out*.

    Parameters
    ----------
    folder
        Of the earlier run.
    out
        Of the new one.
    resources
        Where the work is done; as before where ``None``.
    changes
        Settings of the analysis that shall differ, such as the device or the seed.

    Raises
    ------
    TableError
        Where there is no plan, or *out* is the same folder.
    BioSuperpositionError
        Where the models are others by now. A field whose files have changed fails by itself.
    """
    if Path(out).resolve() == Path(folder).resolve():
        raise TableError("Choose another folder for the new run; the old one is kept as it is.")
    plan = dataclasses.replace(read_plan(folder), folder=Path(out))
    plan = with_resources(plan, resources or plan.config.resources)
    analysis = dataclasses.replace(plan.config.analysis, **(changes or {}))
    plan = dataclasses.replace(plan, config=dataclasses.replace(plan.config, analysis=analysis))
    write_plan(plan)
    yield from run_plan(plan)
    return (yield from collect_batch(plan))


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Return in how far two runs gave the same: fields whose files have the same bytes, and others.

    Times and versions in ``result.json`` do not count.
    """
    plans = [read_plan(first), read_plan(second)]
    statuses = [read_status(plan) for plan in plans]
    differing = []
    for name in sorted({*statuses[0].done, *statuses[1].done}):
        results = [status.done.get(name) for status in statuses]
        files = [None if result is None else result.values["files"] for result in results]
        if files[0] != files[1]:
            differing.append(name)
    return {"fields": len(plans[0].units), "differing": differing}


def _write_failures(plan: BatchPlan, failures: Mapping[str, str]) -> None:
    """Write the CSV of what went wrong, one field a line; only a heading where nothing did."""
    units = {unit.id: unit for unit in plan.units}
    with (
        replaced_file(plan.folder / FAILED) as part,
        part.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(("id", "path", "entry", "reason"))
        for name, reason in failures.items():
            unit = units[name]
            writer.writerow((name, unit.path, unit.entry, reason))


def describe_progress(folder: Path) -> dict[str, Any]:
    """Return how far a run is, as JSON values."""
    plan = read_plan(folder)
    status = read_status(plan)
    counts = {
        "done": len(status.done),
        "failed": len(status.failed),
        "missing": len(status.missing),
    }
    return {"fields": len(plan.units), **counts, "failures": dict(status.failed)}
