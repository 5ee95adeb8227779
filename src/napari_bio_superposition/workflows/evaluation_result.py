"""What the evaluations of SAEs, encoders and sweeps share: data, tables, provenance. No scores."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.provenance import Provenance, package_versions
from napari_bio_superposition.models.card import Card
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.evaluate_config import EvaluateConfig, SweepConfig
from napari_bio_superposition.workflows.evaluation_data import EvaluationData


@dataclass(eq=False)
class Evaluation:
    """Figures of a model, as they are written to JSON.

    Parameters
    ----------
    model
        What was measured, and where its weights come from.
    data
        Patches, wells, split, and notes.
    skipped
        Measure to why it is missing.
    provenance
        What everything depends on.
    """

    model: dict[str, Any]
    data: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return dataclasses.asdict(self)

    def probe_lines(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the probe of each row as a person reads it, then warnings and what is missing."""
        lines = [
            f"{row['name']}: probe {row['accuracy']:.1%} ({row['accuracy_low']:.1%} to "
            f"{row['accuracy_high']:.1%}, null {row['accuracy_null']:.1%})"
            for row in rows
            if row.get("accuracy") is not None
        ]
        lines += [f"warning: {note}" for note in self.data["notes"]]
        return lines + [f"not measured, {name}: {why}" for name, why in self.skipped.items()]

    def notices(self) -> list[str]:
        """Return what the reader of a page has to know first."""
        simulated = "The images are simulated; nothing here is a measurement of biology."
        return [
            *([simulated] if self.data["simulated"] else []),
            *self.data["notes"],
            *(f"Not measured: {name} ({why})." for name, why in self.skipped.items()),
        ]

    def write(self, path: Path, tables: Sequence[str]) -> None:
        """Write everything as JSON to *path*, and the named lists of rows as CSV beside it."""
        with replaced_file(path) as part:
            part.write_text(to_json(self.as_plain(), indent=2), encoding="utf-8")
        for name in tables:
            if rows := getattr(self, name):
                with replaced_file(path.parent / f"{name}.csv") as part:
                    pd.DataFrame(rows).to_csv(part, index=False)


def describe_data(data: EvaluationData) -> dict[str, Any]:
    """Return how many patches and wells there are, and how they were split."""
    return {
        "n_patches": len(data.obs),
        "n_groups": len(set(data.groups)),
        "n_plates": len(set(data.plates)),
        "classes": sorted(set(data.classes)),
        "n_train": len(data.train),
        "n_test": len(data.test),
        "n_test_groups": len(set(data.groups[data.test])),
        "split_unit": data.split.unit,
        "leaking": data.split.leaking,
        "simulated": data.study is not None,
        "notes": list(data.notes),
    }


def explain_skipped(data: EvaluationData) -> dict[str, str]:
    """Return what the data leave out, and why."""
    skipped = {}
    if not data.has_classes:
        skipped["probe"] = "the patches have one class or none (--table, --class-column)"
    if data.outcome is None:
        skipped["outcome"] = "no table gives an outcome per patch (--outcome)"
    if data.truth is None:
        skipped["recovery"] = "the images are no simulated study, so no truth is known"
    return skipped


def describe_provenance(
    card: Card,
    data: EvaluationData,
    config: EvaluateConfig | SweepConfig,
    *,
    device: str,
    seed: int,
) -> dict[str, Any]:
    """Return settings, versions, and the hashes of images and model of the model."""
    provenance = Provenance(
        config=config_to_plain(config),
        versions=package_versions(),
        seed=seed,
        device=device,
        inputs=dict(data.store.info.inputs),
        models={card.name: card.weights_sha256},
        flags=card.flags,
    )
    return dataclasses.asdict(provenance)


def flatten(values: Mapping[str, Any], name: str, main: str) -> dict[str, Any]:
    """Return a score as columns: the figure by *name*, its interval as two columns."""
    low, high = values["interval"]
    others = {k: v for k, v in values.items() if k not in (main, "interval")}
    return {name: values[main], f"{name}_low": low, f"{name}_high": high, **others}
