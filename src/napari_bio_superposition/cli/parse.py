"""Flags from config dataclasses (tyro), with --config for a TOML file below them."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from napari_bio_superposition.cli import PROGRAM
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.imaging.roles import parse_roles
from napari_bio_superposition.workflows.config_files import read_config

Command = TypeVar("Command")

registry = tyro.constructors.ConstructorRegistry()


@registry.primitive_rule
def _roles_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """Read roles as ``nuclei=H33342,mitochondria=MitoTDR``."""
    if type_info.type_origin is not Mapping:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="ROLE=CHANNEL,...",
        instance_from_str=lambda texts: parse_roles(texts[0]),
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda roles: [",".join(f"{k}={v}" for k, v in roles.items())],
    )


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Options of every command."""

    config: Path | None = None
    """TOML file with settings; flags given beside it win."""

    json: bool = False
    """Print progress and result as one JSON object per line on standard output."""


Common = Annotated[CommonOptions, tyro.conf.arg(name="")]


def parse_command(
    command_type: type[Command],
    settings_type: type[Any],
    name: str,
    argv: Sequence[str],
    base: Any = None,
) -> Command:
    """Build a command from its flags.

    Parameters
    ----------
    command_type
        A dataclass whose field ``settings`` holds the config of the step.
    settings_type
        The type of that config, which ``--config FILE.toml`` is read into.
    name
        The command's name, for messages.
    argv
        The words behind the command's name.
    base
        Settings below file and flags, for instance a preset; the type's defaults where omitted.

    Raises
    ------
    ConfigError
        In one line, where flags or file do not fit.
    SystemExit
        With code 0 after ``--help``.
    """
    config_file = find_option(argv, "--config")
    path = None if config_file is None else Path(config_file)
    settings = settings_type() if base is None else base
    if path is not None:
        settings = read_config(path, settings_type, base=base)
    required = {
        field.name: tyro.MISSING
        for field in dataclasses.fields(command_type)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING
    }
    common = CommonOptions(config=path)
    default = command_type(**(required | {"settings": settings, "common": common}))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                command_type,
                prog=f"{PROGRAM} {name}",
                description=command_type.__doc__,
                args=list(argv),
                default=default,
                registry=registry,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(_one_line(complaint.getvalue(), name)) from None


def find_option(argv: Sequence[str], flag: str) -> str | None:
    """Return the value of a flag that decides how the others are read; None where it is absent."""
    for position, word in enumerate(argv):
        if word == flag and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return None


def _one_line(complaint: str, name: str) -> str:
    """Turn tyro's box of an error into one line."""
    text = re.sub(r"[\u2500-\u257f]+|-{5,}", " ", complaint)  # frames, and what ASCII has for them
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s*(For full helptext|Full helptext).*$", "", text)
    return f"{text.removeprefix('Parsing error').strip()} (see {PROGRAM} {name} --help)"
