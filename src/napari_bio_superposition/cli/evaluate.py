"""``bio-superposition evaluate sae|encoder|sweep MODEL FOLDER --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from napari_bio_superposition.cli import PROGRAM
from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.evaluate_config import EvaluateConfig, SweepConfig


@dataclass(frozen=True, kw_only=True)
class _EvaluateInputs:
    model: tyro.conf.Positional[Path]
    """Name or folder of a model."""

    folder: tyro.conf.Positional[Path]
    """Folder of images, a simulated study, or a store of patches."""

    table: Path | None = None
    """CSV with a column image, or plate and well, and any of line, genotype, treatment."""

    out: Path
    """Folder for the results; made where it does not exist."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSaeCommand(_EvaluateInputs):
    """Measure an SAE on images beside its baselines: sae.json, CSV tables, report.html."""

    settings: Annotated[EvaluateConfig, tyro.conf.arg(name="")]
    common: Common


@dataclass(frozen=True, kw_only=True)
class EvaluateEncoderCommand(_EvaluateInputs):
    """Measure each layer of an encoder by one protocol: encoder.json, CSV tables, report.html."""

    settings: Annotated[EvaluateConfig, tyro.conf.arg(name="")]
    common: Common


@dataclass(frozen=True, kw_only=True)
class EvaluateSweepCommand(_EvaluateInputs):
    """Train SAEs of several sizes at a fixed lambda and at a matched L0: sweep.json, sweep.csv."""

    settings: Annotated[SweepConfig, tyro.conf.arg(name="")]
    common: Common


_COMMANDS: dict[str, tuple[Any, Any]] = {
    "sae": (EvaluateSaeCommand, EvaluateConfig),
    "encoder": (EvaluateEncoderCommand, EvaluateConfig),
    "sweep": (EvaluateSweepCommand, SweepConfig),
}


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    what = argv[0] if argv else ""
    if what in ("-h", "--help"):
        print_usage()
        return 0
    if what not in _COMMANDS:
        raise ConfigError(
            f"What shall be evaluated? {what!r} is none of: {list_choices(_COMMANDS)}. "
            f"For instance: {PROGRAM} evaluate sae small images --out result"
        )
    command_type, settings_type = _COMMANDS[what]
    command = parse_command(command_type, settings_type, f"evaluate {what}", argv[1:])
    with Reporter(as_json=command.common.json) as reporter:
        job = _choose_job(what)(
            command.model, command.folder, command.settings, command.out, table=command.table
        )
        result = run(job, reporter)
        values = {"out": str(command.out), **result.as_plain()}
        reporter.result([*result.as_lines(), f"Written to {command.out}"], values)
    return 0


def print_usage() -> None:
    """Say which kinds of evaluation there are."""
    lines = [f"  {name:<8} {kind.__doc__}" for name, (kind, _) in _COMMANDS.items()]
    usage = f"usage: {PROGRAM} evaluate {{{','.join(_COMMANDS)}}} MODEL FOLDER --out DIR [options]"
    with Reporter(as_json=False) as reporter:
        reporter.result([usage, "", *lines], {})


def _choose_job(what: str) -> Any:
    if what == "sae":
        from napari_bio_superposition.workflows.evaluate_sae import evaluate_sae

        return evaluate_sae
    if what == "encoder":
        from napari_bio_superposition.workflows.evaluate_encoder import evaluate_encoder

        return evaluate_encoder
    from napari_bio_superposition.workflows.evaluate_sweep import sweep_sae

    return sweep_sae
