"""What a trained encoder is worth, as values, lines and a file. No training."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.evaluation.probes import ProbeResult
from napari_bio_superposition.evaluation.splits import Split

REPORT: Final = "report.json"
_LOSSES_AT_THE_END = 20


@dataclass(kw_only=True)
class EncoderReport:
    """Outcome of a training; figures of a probe are None where there are no classes."""

    split_unit: str
    leaking: bool
    n_patches: Mapping[str, int]
    """Patches by part."""
    n_units: Mapping[str, int]
    """Wells (or plates, images, patches) by part."""
    n_steps: int
    kept_epoch: int
    first_loss: float | None
    final_loss: float | None
    """Mean over the last steps."""
    class_names: Sequence[str] = ()
    accuracy: float | None = None
    accuracy_interval: Sequence[float] | None = None
    """95 % interval by a bootstrap over test wells."""
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    chance: float | None = None
    confusion: Sequence[Sequence[int]] = ()
    """Test patches by true class (row) and found class (column)."""
    notes: Sequence[str] = ()
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        tested: ProbeResult | None,
        split: Split,
        *,
        counts: Mapping[str, int],
        losses: Sequence[float],
        **about: Any,
    ) -> Self:
        """Put a report together from the probe on the test part."""
        figures: dict[str, Any] = {}
        if tested is not None:
            names = ("class_names", "accuracy", "balanced_accuracy", "macro_f1", "chance")
            figures = {name: getattr(tested, name) for name in names}
            figures["confusion"] = tested.confusion.tolist()
            if tested.interval is not None:
                figures["accuracy_interval"] = tuple(tested.interval)
        return cls(
            split_unit=split.unit,
            leaking=split.leaking,
            n_patches=counts,
            n_units={part: len(getattr(split, part)) for part in counts},
            n_steps=len(losses),
            first_loss=losses[0] if losses else None,
            final_loss=float(np.mean(losses[-_LOSSES_AT_THE_END:])) if losses else None,
            **figures,
            **about,
        )

    def as_plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return dataclasses.asdict(self)

    def as_measurements(self) -> dict[str, Any]:
        """Return the figures for the card of the model."""
        names = ("accuracy", "accuracy_interval", "balanced_accuracy", "macro_f1", "chance")
        kept = (*names, "split_unit", "leaking", "n_patches", "n_units", "kept_epoch", "final_loss")
        return {name: value for name in kept if (value := getattr(self, name)) is not None}

    def as_lines(self) -> list[str]:
        """Return the outcome as a person reads it."""
        lines = [f"warning: {note}" for note in self.notes]
        patches = ", ".join(f"{part} {n}" for part, n in self.n_patches.items())
        units = ", ".join(f"{part} {n}" for part, n in self.n_units.items())
        lines.append(f"Patches: {patches}; split by {self.split_unit}: {units}.")
        if self.final_loss is not None:
            lines.append(
                f"{self.n_steps} steps; the loss went from {self.first_loss:.3f} to "
                f"{self.final_loss:.3f}; kept epoch {self.kept_epoch}."
            )
        if self.accuracy is None:
            return [*lines, "No classes, so no probe."]
        where = "test patches (LEAKING split)" if self.leaking else "patches of held-out wells"
        interval = ""
        if self.accuracy_interval is not None:
            low, high = self.accuracy_interval
            interval = f" (95 % interval {low:.1%} to {high:.1%})"
        lines.append(
            f"A linear probe finds {self.accuracy:.1%}{interval} of the classes of {where}; "
            f"chance {self.chance:.1%}, macro-F1 {self.macro_f1:.3f}."
        )
        return [*lines, f"{self.seconds:.0f} s."]


def read_report(folder: Path) -> EncoderReport:
    """Read the report of a training that is complete.

    Raises
    ------
    ModelError
        Where it is missing or damaged.
    """
    path = folder / REPORT
    try:
        return EncoderReport(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"The report {path} cannot be read ({error}). Train again in another folder."
        ) from error
