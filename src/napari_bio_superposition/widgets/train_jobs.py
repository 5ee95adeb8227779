"""What the Train widget runs in a thread, and how it is held up meanwhile. No Qt.

The workflows are imported when a job runs: the widget opens without torch.
"""

import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.preload import gentle_imports

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.train_model import TrainedModel
    from napari_bio_superposition.workflows.train_model_config import TrainModelConfig
    from napari_bio_superposition.workflows.training_data import TrainingPreview
    from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig

T = TypeVar("T")
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class TrainingRequest:
    """What is trained on, and where the results go."""

    paths: tuple[Path, ...]
    table: Path | None
    name: str
    work: Path
    """Folder of patches, encoder, split and curves; an unfinished training there is gone on."""


class Gate:
    """Opened and closed by the window; a job that passes it waits while it is closed."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether jobs go on."""
        return self._open.is_set()

    def open(self) -> None:
        """Let jobs go on."""
        self._open.set()

    def close(self) -> None:
        """Hold jobs up at their next report."""
        self._open.clear()

    def wait(self) -> bool:
        """Wait a moment for the gate to open; return whether it is open."""
        return self._open.wait(_LOOK_EVERY_S)


def pausable(job: Job[T], gate: Gate) -> Job[T]:
    """Return *job*, held up between two of its steps while *gate* is closed.

    It goes on reporting while it waits, so that Cancel works at once.
    """
    last = Progress("Paused")
    try:
        while True:
            while not gate.wait():
                yield Progress("Paused", last.done, last.total, last.unit)
            last = next(job)
            yield last
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        job.close()


def preview(
    request: TrainingRequest, config: "TrainingDataConfig"
) -> "Generator[Progress, None, TrainingPreview]":
    """Count images and wells by class, line and plate."""
    yield Progress("Listing images")
    from napari_bio_superposition.workflows.training_data import preview_training

    return (yield from preview_training(list(request.paths), request.table, config))


def train(
    request: TrainingRequest, config: "TrainModelConfig"
) -> "Generator[Progress, None, TrainedModel]":
    """Train encoder and SAE, and install the model under its name."""
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.workflows.train_model import train_model

    yield Progress("Loading libraries")
    return (
        yield from train_model(
            list(request.paths), request.table, config, name=request.name, work=request.work
        )
    )


def read_columns(table: Path) -> tuple[str, ...]:
    """Return the names of the columns of a CSV file; empty where it cannot be read."""
    import csv

    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            return tuple(name.strip() for name in next(csv.reader(stream), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def read_past(work: Path) -> tuple[list[tuple[float, float]], list[dict[str, float]]]:
    """Return what an unfinished training in *work* has measured so far, to be drawn again.

    Returns
    -------
    tuple
        Pairs of step and loss; figures of each probe. Empty where there is nothing.
    """
    rows = [_read_rows(work / "encoder" / name) for name in ("curve.csv", "validation.csv")]
    losses = [(row["step"], row["loss"]) for row in rows[0]]
    return losses, rows[1]


def _read_rows(path: Path) -> list[dict[str, float]]:
    import csv

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    except (OSError, ValueError, TypeError, csv.Error):
        return []


def paths_of_layers(layers: "list[Any]") -> tuple[Path, ...]:
    """Return the files behind open layers, each once; layers without a file are left out."""
    paths = [getattr(layer.source, "path", None) for layer in layers]
    return tuple(dict.fromkeys(Path(path) for path in paths if path))
