"""What the Batch widget runs in a thread. No Qt.

The workflows are imported when a job runs: the widget opens without torch and without scanpy.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.preload import gentle_imports

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_bio_superposition.workflows.analyze import ImageAnalysis
    from napari_bio_superposition.workflows.batch_browse import FieldRow, FieldRows
    from napari_bio_superposition.workflows.batch_config import BatchConfig
    from napari_bio_superposition.workflows.batch_summary import BatchSummary
    from napari_bio_superposition.workflows.loading import LoadedModels

_STARTING = Progress("Loading libraries")


@dataclass(frozen=True)
class BatchRequest:
    """What is analysed, how, and where the results go."""

    paths: tuple[Path, ...]
    out: Path
    table: Path | None
    config: "BatchConfig"


def list_request(request: BatchRequest) -> "Job[FieldRows]":
    """Find the fields of a request, and what an earlier run in the same folder has done."""
    yield _STARTING
    with gentle_imports():
        from napari_bio_superposition.workflows.batch_browse import list_choice

    reading = request.config.analysis.reading
    job = list_choice(request.paths, reading, metadata=request.table, run=request.out)
    return (yield from job)


def list_folder(folder: Path) -> "Job[FieldRows]":
    """Read where the fields of a run stand."""
    yield _STARTING
    with gentle_imports():
        from napari_bio_superposition.workflows.batch_browse import list_run

    return (yield from list_run(folder))


def run_request(request: BatchRequest, report: "Callable[[FieldRow], None]") -> "Job[BatchSummary]":
    """Plan, run and collect.

    Parameters
    ----------
    request
        What to do.
    report
        Called, in the thread of the job, as each field ends.
    """
    yield _STARTING
    with gentle_imports():
        from napari_bio_superposition.workflows.batch import run_batch
        from napari_bio_superposition.workflows.batch_browse import describe_field
        from napari_bio_superposition.workflows.batch_plan import read_plan

    read_once = functools.cache(read_plan)  # the plan is there by the time the first field ends

    def tell(outcome: Any) -> None:
        report(describe_field(read_once(request.out), outcome.id))

    job = run_batch(
        request.paths, request.config, request.out, metadata=request.table, on_outcome=tell
    )
    return (yield from job)


def read_thumbnails(
    rows: "Sequence[FieldRow]",
    request: BatchRequest | None,
    show: Callable[[str, npt.NDArray[np.uint8] | None], None],
) -> Job[None]:
    """Read small pictures of fields; *show* gets each, or ``None`` for what cannot be read."""
    from napari_bio_superposition.workflows.batch_browse import read_thumbnail

    reading = None if request is None else request.config.analysis.reading
    for number, row in enumerate(rows):
        yield Progress("Reading pictures", number, len(rows), "fields")
        try:
            picture = read_thumbnail(row, reading)
        except BioSuperpositionError:
            picture = None
        show(row.id, picture)


def open_one(
    folder: Path, image_id: str, models: "LoadedModels | None"
) -> "Job[tuple[ImageAnalysis, LoadedModels]]":
    """Bring one field of a run back, with what overlays need."""
    yield _STARTING
    with gentle_imports():
        from napari_bio_superposition.workflows.batch_browse import open_field

    return (yield from open_field(folder, image_id, models))


def open_run_table(folder: Path) -> "Job[AnnData]":
    """Open the table of a finished run; the features of a large one stay on disk.

    Raises
    ------
    BioSuperpositionError
        Where the run has no table yet.
    """
    yield Progress("Opening the table")
    with gentle_imports():
        from napari_bio_superposition.features.lazy_table import open_table

    found = [folder / f"patches{ending}" for ending in (".h5ad", ".zarr")]
    path = next((path for path in found if path.exists()), None)
    if path is None:
        raise BioSuperpositionError(
            f"{folder.name} holds no table of patches. Run it to its end first; where features "
            "were skipped, the list says why."
        )
    return (yield from open_table(path))
