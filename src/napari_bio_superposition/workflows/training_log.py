"""Curves, probes and confusion of a training as files that are always whole. No training."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.evaluation.probes import ProbeResult
from napari_bio_superposition.workflows.event_file import write_events

CURVE: Final = "curve.csv"
VALIDATION: Final = "validation.csv"
CONFUSION: Final = "confusion.csv"


@dataclass(frozen=True)
class ProbeRow:
    """What the linear probe of one epoch reached on the validation part."""

    epoch: int
    step: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    chance: float


@dataclass
class TrainingLog:
    """Everything that was measured so far; written again as a whole, so that no row is torn."""

    folder: Path
    n_per_epoch: int
    probes: list[ProbeRow] = field(default_factory=list)

    def add_probe(self, step: int, result: ProbeResult) -> ProbeRow:
        """Note a probe after *step* steps."""
        row = ProbeRow(
            epoch=step // self.n_per_epoch,
            step=step,
            accuracy=result.accuracy,
            balanced_accuracy=result.balanced_accuracy,
            macro_f1=result.macro_f1,
            chance=result.chance,
        )
        self.probes.append(row)
        return row

    def best(self) -> ProbeRow | None:
        """Return the first of the probes with the highest balanced accuracy."""
        return max(self.probes, key=lambda row: row.balanced_accuracy, default=None)

    def write(self, losses: Sequence[float], rates: Sequence[float]) -> None:
        """Write ``curve.csv``, ``validation.csv`` and the TensorBoard events."""
        steps = range(1, len(losses) + 1)
        epochs = [(step - 1) // self.n_per_epoch + 1 for step in steps]
        curve = {"step": steps, "epoch": epochs, "loss": losses, "learning_rate": rates}
        _write_csv(pd.DataFrame(curve), self.folder / CURVE)
        _write_csv(pd.DataFrame([asdict(row) for row in self.probes]), self.folder / VALIDATION)
        probes = ("accuracy", "balanced_accuracy", "macro_f1")
        curves = {"loss": list(zip(steps, losses, strict=True))}
        curves |= {
            f"validation/{name}": [(row.step, getattr(row, name)) for row in self.probes]
            for name in probes
        }
        write_events(curves, self.folder)

    def as_plain(self) -> list[dict[str, Any]]:
        """Return the probes as plain values, for a saved state."""
        return [asdict(row) for row in self.probes]


def write_confusion(result: ProbeResult, folder: Path) -> None:
    """Write ``confusion.csv``: true classes in rows, found classes in columns."""
    names = list(result.class_names)
    frame = pd.DataFrame(result.confusion, index=pd.Index(names, name="true"), columns=names)
    with replaced_file(folder / CONFUSION) as part:
        frame.to_csv(part)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with replaced_file(path) as part:
        frame.to_csv(part, index=False)
