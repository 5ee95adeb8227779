"""``bio-superposition import-sae DIR MODEL --out MODEL``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.export_sae import ExchangeConfig
from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter


@dataclass(frozen=True, kw_only=True)
class ImportSaeCommand:
    """Join an SAE in SAELens's layout (jumprelu or standard) with the encoder of a model.

    Where export-sae wrote the SAE, its preprocessing comes along; otherwise that of the model is
    used, and it is yours to know that the SAE was trained on such tokens.
    """

    folder: tyro.conf.Positional[Path]
    """Folder with cfg.json and sae_weights.safetensors."""

    model: tyro.conf.Positional[str]
    """Model whose encoder is used, by name or folder."""

    out: Path
    """Folder of the new model."""

    settings: Annotated[ExchangeConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(ImportSaeCommand, ExchangeConfig, "import-sae", argv)
    from napari_bio_superposition.workflows.exchange import import_sae

    with Reporter(as_json=command.common.json) as reporter:
        card = import_sae(command.folder, command.model, command.out)
        values = {"out": str(command.out), "name": card.name, "n_latents": card.n_latents}
        reporter.result([f"Written to {command.out}: {card.n_latents} latents"], values)
    return 0
