"""``bio-superposition train-encoder FOLDER --table TABLE.csv --out MODEL --preset small``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from napari_bio_superposition.cli.parse import Common, find_option, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.train_encoder_config import (
    TrainEncoderConfig,
    training_preset,
)


@dataclass(frozen=True, kw_only=True)
class TrainEncoderCommand:
    """Train an encoder on a folder of images, and measure it on wells that it never saw.

    Writes encoder.safetensors and encoder.json (for train-sae), split.json, curve.csv,
    validation.csv, confusion.csv, report.json and TensorBoard events. Stopped, it goes on with
    --resume where it was.
    """

    folder: tyro.conf.Positional[tuple[Path, ...]]
    """Images, folders of images, or Harmony export folders."""

    table: Path | None = None
    """CSV with a column image, or plate and well, and any of plate, well, line, genotype,
    treatment, or classes of your own: what the file names do not say."""

    out: Path
    """Folder of the model."""

    preset: Literal["paper", "small"] = "paper"
    """Settings to start from: exactly the published recipe (GPU-hours), or a small encoder and a
    short recipe that learns in minutes on a processor. Other flags change single settings."""

    resume: bool = False
    """Go on with the training that the folder holds, with the same settings."""

    settings: Annotated[TrainEncoderConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    preset = find_option(argv, "--preset") or "paper"
    base = training_preset(preset)
    command = parse_command(TrainEncoderCommand, TrainEncoderConfig, "train-encoder", argv, base)
    from napari_bio_superposition.workflows.train_encoder import train_encoder_model

    with Reporter(as_json=command.common.json) as reporter:
        job = train_encoder_model(
            command.folder, command.table, command.settings, command.out, resume=command.resume
        )
        report = run(job, reporter)
        values = {"out": str(command.out), **report.as_plain()}
        reporter.result([*report.as_lines(), f"Written to {command.out}"], values)
    return 0
