"""``bio-superposition couple IMAGE.h5ad RNA.h5ad --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.couple_config import CoupleConfig


@dataclass(frozen=True, kw_only=True)
class CoupleCommand:
    """Couple patches with RNA cells by the shapes of their clouds, and say how far to trust it.

    Writes plan.npz (scipy sparse, rows are patches), coupling.json (verdict in words and all
    figures) and coupled.h5ad (the patches with their partners).
    """

    image: tyro.conf.Positional[Path]
    """Table of patches (.h5ad)."""

    rna: tyro.conf.Positional[Path]
    """Table of RNA cells (.h5ad)."""

    out: Path
    """Folder for the results; made where it does not exist."""

    settings: Annotated[CoupleConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(CoupleCommand, CoupleConfig, "couple", argv)
    from napari_bio_superposition.workflows.couple import couple_files

    with Reporter(as_json=command.common.json) as reporter:
        job = couple_files(command.image, command.rna, command.settings, command.out)
        result = run(job, reporter)
        values = {"out": str(command.out), **result.as_plain()}
        reporter.result([*result.as_lines(), f"Written to {command.out}"], values)
    return 0
