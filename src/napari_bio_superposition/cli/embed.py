"""``bio-superposition embed TABLE.h5ad --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from napari_bio_superposition.cli.parse import Common, find_option, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.embed_config import EmbedConfig, choose_embed_preset


@dataclass(frozen=True, kw_only=True)
class EmbedCommand:
    """Lay out patches (PHATE, UMAP), order them in pseudotime, and test an outcome along it.

    Writes embedded.h5ad (opens in scanpy), summary.json, settings.toml, tables as CSV, and
    figures as PNG and SVG.
    """

    table: tyro.conf.Positional[Path]
    """Table of patches (.h5ad or .zarr)."""

    out: Path
    """Folder for the results; made where it does not exist."""

    preset: Literal["default", "paper"] = "default"
    """Settings to start from: corrected, or those of the published scripts. A --config file and
    flags beside it win."""

    settings: Annotated[EmbedConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    preset = find_option(argv, "--preset")
    base = None if preset is None else choose_embed_preset(preset)
    command = parse_command(EmbedCommand, EmbedConfig, "embed", argv, base)
    from napari_bio_superposition.workflows.embed_files import embed_files

    with Reporter(as_json=command.common.json) as reporter:
        result = run(embed_files(command.table, command.settings, command.out), reporter)
        values = {"out": str(command.out), **result.as_plain()}
        reporter.result([*result.as_lines(), f"Written to {command.out}"], values)
    return 0
