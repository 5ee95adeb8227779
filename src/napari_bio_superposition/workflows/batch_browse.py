"""Looking at a batch run field by field: where each stands, a small picture, its result. No Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import Acquisition
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.imaging.read_config import ReadConfig
from napari_bio_superposition.workflows.analyze import ImageAnalysis, restore_tokens
from napari_bio_superposition.workflows.batch_plan import PLAN, BatchPlan, Unit, read_plan
from napari_bio_superposition.workflows.batch_summary import find_fields, name_skipped
from napari_bio_superposition.workflows.batch_unit import find_done, read_failure
from napari_bio_superposition.workflows.loading import LoadedModels, load_models
from napari_bio_superposition.workflows.metadata import Metadata, read_metadata
from napari_bio_superposition.workflows.result_folder import SavedResult, load_analysis

Standing = Literal["waiting", "done", "failed"]


@dataclass(frozen=True)
class FieldRow:
    """One field as a list shows it."""

    acquisition: Acquisition
    path: Path
    entry: str
    standing: Standing = "waiting"
    detail: str = ""
    """What was found, or why it failed."""

    @property
    def id(self) -> str:
        """Identity of the image."""
        return self.acquisition.id


@dataclass(frozen=True, eq=False)
class FieldRows:
    """All fields of a run or of a choice of files."""

    rows: tuple[FieldRow, ...]
    not_images: Mapping[str, str]
    """What is left out, with the reason."""
    notes: tuple[str, ...] = ()


def list_choice(
    paths: str | Path | Sequence[str | Path],
    reading: ReadConfig | None = None,
    *,
    metadata: Path | None = None,
    run: Path | None = None,
) -> Job[FieldRows]:
    """Return the fields behind paths, without reading a pixel.

    Parameters
    ----------
    paths
        Images, folders of images, exports, plates.
    reading
        How names are understood.
    metadata
        CSV table; see `read_metadata`.
    run
        Folder of a run, whose results of the same fields are shown as done.
    """
    yield Progress("Looking for images")
    found = find_fields(paths, reading or ReadConfig())
    known = Metadata() if metadata is None else read_metadata(metadata)
    before: Mapping[str, FieldRow] = {}
    if run is not None and (run / PLAN).is_file():
        earlier = yield from list_run(run)
        before = {row.id: row for row in earlier.rows}
    rows = []
    for reference in found:
        row = FieldRow(known.describe(reference.acquisition), reference.path, reference.field)
        standing = before.get(row.id)
        if standing is not None:
            row = replace(row, standing=standing.standing, detail=standing.detail)
        rows.append(row)
    return FieldRows(tuple(rows), name_skipped(found), tuple(known.explain_gaps(found)))


def list_run(folder: Path) -> Job[FieldRows]:
    """Return where each field of a run stands, by what is on disk."""
    plan = read_plan(folder)
    rows = []
    for number, unit in enumerate(plan.units):
        rows.append(_row_of(plan, unit))
        yield Progress("Reading the run", number + 1, len(plan.units), "fields")
    return FieldRows(tuple(rows), plan.not_images, plan.notes)


def _row_of(plan: BatchPlan, unit: Unit) -> FieldRow:
    row = FieldRow(unit.acquisition, Path(unit.path), unit.entry)
    if (result := find_done(plan, unit)) is not None:
        return replace(row, standing="done", detail=describe_result(result))
    if reason := read_failure(plan, unit):
        named = reason.replace(unit.path, row.path.name)  # the folder is that of all fields
        return replace(row, standing="failed", detail=named)
    return row


def describe_result(result: SavedResult) -> str:
    """Return what was found in one field as a short line."""
    values = result.values
    parts = [] if values["n_nuclei"] is None else [f"{values['n_nuclei']} nuclei"]
    parts.append(f"{values['patches']['accepted']} of {values['patches']['total']} patches")
    parts += [f"no {step}" for step in values["skipped"]]
    return ", ".join(parts)


def describe_field(plan: BatchPlan, image_id: str) -> FieldRow:
    """Return where one field of a run stands now."""
    return _row_of(plan, _find_unit(plan, image_id))


def read_thumbnail(
    row: FieldRow, reading: ReadConfig | None = None, *, side_px: int = 64
) -> npt.NDArray[np.uint8]:
    """Return a small colour picture of a field, ``(h, w, 3)`` with at most *side_px* a side."""
    from napari_bio_superposition.features.overlays import choose_colours, composite

    image = _read(row, reading or ReadConfig())
    step = max(1, -(-max(image.shape) // side_px))
    small = replace(image, pixels=image.pixels[:, ::step, ::step])
    colours = choose_colours(small) or {small.channel_names[0]: (1.0, 1.0, 1.0)}
    return np.rint(255 * composite(small, colours)).astype(np.uint8)


def open_field(
    folder: Path, image_id: str, models: LoadedModels | None = None
) -> Job[tuple[ImageAnalysis, LoadedModels]]:
    """Read the image of one field and bring its saved result back, ready for overlays.

    Parameters
    ----------
    folder
        Of the run.
    image_id
        Which field.
    models
        Networks of an earlier field of the same run.

    Raises
    ------
    TableError
        Where the run has no such field, or it is not done.
    """
    yield Progress("Opening the field")
    plan = read_plan(folder)
    unit = _find_unit(plan, image_id)
    if find_done(plan, unit) is None:
        raise TableError(f"{image_id} has no result yet. Run the batch first.")
    row = FieldRow(unit.acquisition, Path(unit.path), unit.entry)
    image = _read(row, plan.config.analysis.reading)
    analysis = load_analysis(plan.shard(unit), image)
    if models is None:
        models = yield from load_models(plan.config.analysis)
    if analysis.table is not None:
        analysis = yield from restore_tokens(analysis, models)
    return analysis, models


def _read(row: FieldRow, reading: ReadConfig) -> Any:
    reading = replace(reading, series=row.entry) if row.entry else reading
    return read_field(FieldReference(row.id, row.path, row.entry, row.acquisition), reading)


def _find_unit(plan: BatchPlan, image_id: str) -> Unit:
    unit = next((unit for unit in plan.units if unit.id == image_id), None)
    if unit is None:
        raise TableError(f"The run {plan.folder.name} has no field {image_id!r}.")
    return unit
