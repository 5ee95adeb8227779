"""What a batch run has to do: its fields, the hashes of their files, settings, models. No work."""

import csv
import dataclasses
import datetime as dt
import io
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from napari_bio_superposition.core.errors import BioSuperpositionError, TableError
from napari_bio_superposition.core.files import add_line, make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import hash_config, package_versions
from napari_bio_superposition.core.types import Acquisition
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.fingerprint import fingerprint
from napari_bio_superposition.imaging.roles import check_roles
from napari_bio_superposition.workflows.analyze import adapt_to_card, explain_adaptation
from napari_bio_superposition.workflows.batch_config import BatchConfig
from napari_bio_superposition.workflows.batch_summary import find_fields
from napari_bio_superposition.workflows.config_files import config_from_plain, config_to_plain
from napari_bio_superposition.workflows.loading import load_models
from napari_bio_superposition.workflows.metadata import Metadata, read_metadata
from napari_bio_superposition.workflows.result_folder import folder_name

PLAN: Final = "plan.json"
UNITS: Final = "units.csv"
LOG: Final = "log.txt"
IMAGES: Final = "images"
FAILURES: Final = "failures"
_FORMAT: Final = 1
_ACQUISITION: Final = tuple(f.name for f in dataclasses.fields(Acquisition) if f.name != "id")
_OWN: Final = ("path", "entry", "sha256", "problem")
_COLUMNS: Final = ("id", *_OWN, *_ACQUISITION)
_NOT_OF_A_FIELD: Final = ("resources", "positive", "negative", "table_format")
"""Settings of where the work is done, and of what is made of the results of all fields."""


@dataclass(frozen=True)
class Unit:
    """One field of a plan: the smallest piece of work."""

    path: str
    entry: str
    """What chooses the image within its file; empty where there is only one."""
    sha256: str
    """Of the files' bytes; empty where they could not be read."""
    problem: str
    """Why the files could not be read when the plan was made."""
    acquisition: Acquisition

    @property
    def id(self) -> str:
        """Identity of the image."""
        return self.acquisition.id


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Everything that a worker, here or on another computer, has to know."""

    folder: Path
    config: BatchConfig
    models: Mapping[str, str]
    """Model name to SHA-256 of its weights."""
    units: tuple[Unit, ...]
    not_images: Mapping[str, str]
    """What lay in a folder and is no image, with the reason."""
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    created: str
    """When, ISO 8601 in UTC."""

    def shard(self, unit: Unit) -> Path:
        """Return the folder of the unit's result."""
        return self.folder / IMAGES / folder_name(unit.id)

    def failure(self, unit: Unit) -> Path:
        """Return the file that says why the unit failed, where it did."""
        return self.folder / FAILURES / f"{folder_name(unit.id)}.json"

    def key(self, unit: Unit) -> str:
        """Return what the unit's result depends on as one short text."""
        plain = config_to_plain(self.config)
        for name in _NOT_OF_A_FIELD:
            plain.pop(name, None)
        plain["analysis"].pop("device", None)
        return hash_config(
            {
                "settings": plain,
                "models": self.models,
                "entry": unit.entry,
                "sha256": unit.sha256,
                "acquisition": dataclasses.asdict(unit.acquisition),
            }
        )

    def select(self, shard: str) -> tuple[Unit, ...]:
        """Return the units of one part of the plan, ``"2/8"`` for the second of eight; all for "".

        Raises
        ------
        TableError
            Where *shard* is not of this form.
        """
        if not shard:
            return self.units
        number, _, total = shard.partition("/")
        is_valid = number.isdigit() and total.isdigit() and 1 <= int(number) <= int(total)
        if not is_valid:
            raise TableError(
                f"The shard is {shard!r}. Write number/total, as 1/8 for the first of eight."
            )
        return self.units[int(number) - 1 :: int(total)]


def plan_batch(
    paths: str | Path | Sequence[str | Path],
    config: BatchConfig | None = None,
    out: str | Path = "batch",
    *,
    metadata: str | Path | None = None,
) -> Job[BatchPlan]:
    """Find the fields, hash their files, and write ``plan.json`` and ``units.csv``.

    Parameters
    ----------
    paths
        Images, folders of images, Harmony exports, OME-Zarr images and plates.
    config
        Settings; the defaults where omitted.
    out
        Folder of the run. A plan that is there is replaced; results of the same settings, models
        and files stay valid.
    metadata
        CSV table with what file names do not say; see `read_metadata`.

    Raises
    ------
    BioSuperpositionError
        Where there is no image, or settings or models do not fit.
    """
    config, out = config or BatchConfig(), Path(out)
    fields = find_fields(paths, config.analysis.reading)
    known = Metadata() if metadata is None else read_metadata(Path(metadata))
    models = yield from load_models(config.analysis)
    card = models.features.card
    check_roles(config.analysis.roles, extra_roles=card.channel_roles)
    _check_latents(config, card.n_latents, card.name)
    notes = [*explain_adaptation(config.analysis, card), *known.explain_gaps(fields)]
    config = dataclasses.replace(config, analysis=adapt_to_card(config.analysis, card))
    units = []
    for done, reference in enumerate(fields):
        yield Progress("Planning", done, len(fields), "fields")
        units.append(_describe_unit(reference, known))
    plan = BatchPlan(
        folder=out,
        config=config,
        models=models.hashes,
        units=tuple(units),
        not_images={path.name: reason for path, reason in fields.skipped},
        notes=tuple(notes),
        versions=package_versions(),
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )
    write_plan(plan)
    log_event(plan, f"planned {len(units)} fields")
    yield Progress("Planning", len(fields), len(fields), "fields")
    return plan


def write_plan(plan: BatchPlan) -> None:
    """Write a plan into its folder; the units first, so that a plan without them cannot be."""
    make_folder(plan.folder)
    with replaced_file(plan.folder / UNITS) as part:
        part.write_text(_units_to_csv(plan.units), encoding="utf-8", newline="")
    values = {
        "format": _FORMAT,
        "config": config_to_plain(plan.config),
        "models": dict(plan.models),
        "n_units": len(plan.units),
        "not_images": dict(plan.not_images),
        "notes": list(plan.notes),
        "versions": dict(plan.versions),
        "created": plan.created,
    }
    with replaced_file(plan.folder / PLAN) as part:
        part.write_text(to_json(values, indent=2), encoding="utf-8")


def log_event(plan: BatchPlan, event: str) -> None:
    """Add a line to the log of a run: time, computer and process, and what happened."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    line = " ".join((now, platform.node(), str(os.getpid()), *event.split()))
    add_line(plan.folder / LOG, line)


def read_plan(folder: str | Path) -> BatchPlan:
    """Read what `plan_batch` wrote.

    Raises
    ------
    TableError
        Where the folder holds no complete plan.
    """
    folder = Path(folder)
    try:
        values: dict[str, Any] = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        units = _units_from_csv((folder / UNITS).read_text(encoding="utf-8"))
        if values["format"] != _FORMAT or values["n_units"] != len(units):
            raise ValueError("its parts do not belong together")
        return BatchPlan(
            folder=folder,
            config=config_from_plain(values["config"], BatchConfig),
            models=values["models"],
            units=units,
            not_images=values["not_images"],
            notes=tuple(values["notes"]),
            versions=values["versions"],
            created=values["created"],
        )
    except (OSError, ValueError, KeyError, TypeError, BioSuperpositionError) as error:
        raise TableError(
            f"{folder} holds no plan that can be read ({error}). Make one with "
            "`bio-superposition batch FILES --out FOLDER --step plan`."
        ) from error


def _describe_unit(reference: FieldReference, known: Metadata) -> Unit:
    """Return the unit of a field; files that cannot be read make it fail later, not the plan."""
    digest = problem = ""
    try:
        digest = fingerprint(reference)
    except BioSuperpositionError as error:
        problem = str(error)
    return Unit(
        path=str(reference.path.absolute()),
        entry=reference.field,
        sha256=digest,
        problem=problem,
        acquisition=known.describe(reference.acquisition),
    )


def _check_latents(config: BatchConfig, n_latents: int, model: str) -> None:
    if outside := [latent for latent in config.overlays if latent >= n_latents]:
        raise TableError(
            f"There is no latent {outside[0]} in the model {model}; "
            f"choose numbers from 0 to {n_latents - 1}."
        )


def _units_to_csv(units: Iterable[Unit]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, _COLUMNS)
    writer.writeheader()
    for unit in units:
        row = {name: getattr(unit, name) for name in _OWN}
        writer.writerow(row | dataclasses.asdict(unit.acquisition))
    return stream.getvalue()


def _units_from_csv(text: str) -> tuple[Unit, ...]:
    units = []
    for row in csv.DictReader(io.StringIO(text, newline="")):
        acquisition = Acquisition(id=row["id"], **{name: row[name] for name in _ACQUISITION})
        plain = {name: row[name] for name in _OWN}
        units.append(Unit(acquisition=acquisition, **plain))
    return tuple(units)
