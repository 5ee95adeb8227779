"""``bio-superposition export-sae MODEL --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter


@dataclass(frozen=True, kw_only=True)
class ExchangeConfig:
    """What every command takes; an exchange of files draws nothing at random."""

    device: str = "auto"
    """Not used: weights are only copied."""

    seed: int = 0
    """Not used."""


@dataclass(frozen=True, kw_only=True)
class ExportSaeCommand:
    """Write the SAE of a model as cfg.json and sae_weights.safetensors, folded to JumpReLU.

    SAELens loads it with SAE.load_from_disk. The preprocessing of the tokens is told in cfg.json
    under metadata, and the mean token lies beside.
    """

    model: tyro.conf.Positional[str]
    """A model by name or folder."""

    out: Path
    """Folder, new or empty."""

    settings: Annotated[ExchangeConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(ExportSaeCommand, ExchangeConfig, "export-sae", argv)
    from napari_bio_superposition.workflows.exchange import export_sae

    with Reporter(as_json=command.common.json) as reporter:
        folder = export_sae(command.model, command.out)
        reporter.result([f"Written to {folder}"], {"out": str(folder)})
    return 0
