"""``bio-superposition explore TABLE --do list|compare|region|gallery|maximize``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.explore_config import ExploreConfig


@dataclass(frozen=True, kw_only=True)
class ExploreCommand:
    """Ask a table of patches which features there are, where they live and how groups differ."""

    source: tyro.conf.Positional[Path]
    """Table (.h5ad, .zarr), or a folder that analyze wrote."""

    out: Path = Path("explored")
    """Folder for what is written; made where it does not exist."""

    images: tuple[Path, ...] = ()
    """Images behind the table, or their folder: for regions and pictures."""

    mask: Path | None = None
    """For regions: image of whole numbers (TIFF, PNG), each a region; 0 is background."""

    settings: Annotated[ExploreConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(ExploreCommand, ExploreConfig, "explore", argv)
    from napari_bio_superposition.workflows.explore import explore

    with Reporter(as_json=command.common.json) as reporter:
        job = explore(
            command.source,
            command.settings,
            command.out,
            images=command.images,
            mask=command.mask,
        )
        result = run(job, reporter)
        shown = result.found.to_string(index=False, float_format=lambda value: f"{value:.4g}")
        written = [f"Written to {path}" for path in result.files]
        reporter.result([shown, *result.notes, *written], result.as_plain())
    return 0
