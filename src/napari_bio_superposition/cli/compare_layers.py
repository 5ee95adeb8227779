"""``bio-superposition compare-layers MODEL FOLDER --out DIR [--death TABLE.h5ad]``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.compare_layers_config import CompareLayersConfig


@dataclass(frozen=True, kw_only=True)
class CompareLayersCommand:
    """Measure each layer of an encoder by one protocol, to choose the one for train-sae --tap.

    A linear probe of the classes and, with --death, a regression of the death rate, both in folds
    of whole wells on the same patches; writes layers.csv.
    """

    model: tyro.conf.Positional[str]
    """Folder that train-encoder wrote, or a complete model by name or folder."""

    folder: tyro.conf.Positional[tuple[Path, ...]]
    """Images, folders of images, or one store of patches."""

    table: Path | None = None
    """CSV with what the file names do not say."""

    death: Path | None = None
    """Table (.h5ad) that analyze wrote of the same images, for the death rate of each patch."""

    out: Path
    """Folder for layers.csv."""

    settings: Annotated[CompareLayersConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(CompareLayersCommand, CompareLayersConfig, "compare-layers", argv)
    from napari_bio_superposition.workflows.compare_layers import compare_layers, describe_layers

    images = command.folder[0] if len(command.folder) == 1 else command.folder
    rates = None
    if command.death is not None:
        from napari_bio_superposition.workflows.embed_files import read_any_table

        rates = read_any_table(command.death).obs[Keys.DEATH]
    with Reporter(as_json=command.common.json) as reporter:
        job = compare_layers(
            command.model,
            images,
            command.settings,
            command.out,
            table=command.table,
            death=rates,
        )
        layers = run(job, reporter)
        values = {"out": str(command.out), "layers": layers.to_dict("index")}
        reporter.result([*describe_layers(layers), f"Written to {command.out}"], values)
    return 0
