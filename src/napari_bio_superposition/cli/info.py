"""``bio-superposition info [PATHS...]``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from napari_bio_superposition.cli.parse import Common, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.workflows.info_config import InfoConfig


@dataclass(frozen=True, kw_only=True)
class InfoCommand:
    """Show versions, devices and models; or what images, results, tables and models hold."""

    settings: Annotated[InfoConfig, tyro.conf.arg(name="")]
    common: Common
    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Images, Harmony folders, result folders, tables (.h5ad, .zarr), or models by folder or name;
    nothing for this computer."""


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    command = parse_command(InfoCommand, InfoConfig, "info", argv)
    from napari_bio_superposition.workflows.info import describe_computer, describe_path

    with Reporter(as_json=command.common.json) as reporter:
        if not command.paths:
            values = describe_computer(command.settings)
            reporter.result(_as_lines(values), values)
        for path in command.paths:
            values = describe_path(path, command.settings)
            reporter.result([str(path), *_as_lines(values, "  ")], {"path": str(path), **values})
    return 0


def _as_lines(values: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{name}:")
            lines += _as_lines(value, f"{indent}  ")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            lines.append(f"{indent}{name}: {shown}")
    return lines
