"""What all configs share: ranges on fields, self-checking, and descriptions for forms.

A config is a frozen dataclass whose fields carry their range in the annotation and their meaning in
the docstring below them. Command-line flags (tyro), TOML files (cattrs) and the napari form
(magicgui) are derived from that; no default is written twice. No config of a particular step here.
"""

import dataclasses
import functools
import math
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser

from napari_bio_superposition.core.errors import ConfigError, list_choices


@dataclass(frozen=True)
class Range:
    """Valid closed range of a numeric field, with its unit and the step of a spin box."""

    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    step: float | None = None


@dataclass(frozen=True)
class FieldDescription:
    """Everything a form needs to know about one field of a config."""

    name: str
    type: Any
    """The annotation without `Annotated` and without `None`."""
    optional: bool
    default: Any
    range: Range | None
    choices: tuple[Any, ...]
    doc: str


def describe_fields(config_type: type) -> tuple[FieldDescription, ...]:
    """Return the fields of a config dataclass, in order, as a form shows them."""
    return _parse_fields(config_type)


@functools.cache
def _parse_fields(config_type: type) -> tuple[FieldDescription, ...]:
    """Read annotations and docstrings once per class: configs are checked at every construction."""
    hints = get_type_hints(config_type, include_extras=True)
    docs = {
        param.arg_name: " ".join((param.description or "").split())
        for param in docstring_parser.parse_from_object(config_type).params
    }
    return tuple(
        _describe(field, hints[field.name], docs.get(field.name, ""))
        for field in dataclasses.fields(config_type)
    )


def _describe(field: "dataclasses.Field[Any]", hint: Any, doc: str) -> FieldDescription:
    inner, field_range, optional = _unwrap(hint)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return FieldDescription(
        name=field.name,
        type=inner,
        optional=optional,
        default=default,
        range=field_range,
        choices=get_args(inner) if get_origin(inner) is Literal else (),
        doc=doc,
    )


def _unwrap(hint: Any) -> tuple[Any, Range | None, bool]:
    """Take `Annotated` and ``| None`` off an annotation."""
    field_range, optional = None, False
    while True:
        if get_origin(hint) is Annotated:
            hint, *metadata = get_args(hint)
            field_range = next((m for m in metadata if isinstance(m, Range)), field_range)
        elif get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
            remaining = tuple(arg for arg in get_args(hint) if arg is not type(None))
            if len(remaining) > 1:
                return typing.Union[remaining], field_range, True  # noqa: UP007 (built at run time)
            hint, optional = remaining[0], True
        else:
            return hint, field_range, optional


def check_fields(config: Any) -> None:
    """Check the types, ranges and choices of a config; call it from ``__post_init__``.

    Raises
    ------
    ConfigError
        Naming the field, its value and what is valid.
    """
    for field in describe_fields(type(config)):
        value = getattr(config, field.name)
        if value is None and field.optional:
            continue
        where = f"{type(config).__name__}.{field.name}"
        if field.choices and value not in field.choices:
            raise ConfigError(
                f"{where} is {value!r}. Choose one of: {list_choices(field.choices)}."
            )
        if field.type in (int, float):
            _check_number(where, value, field)


def _check_number(where: str, value: Any, field: FieldDescription) -> None:
    is_number = isinstance(value, int if field.type is int else (int, float))
    if not is_number or isinstance(value, bool):
        kind = "a whole number" if field.type is int else "a number"
        raise ConfigError(f"{where} is {value!r}; it has to be {kind}.")
    bounds = field.range or Range()
    if not bounds.low <= value <= bounds.high:  # also catches nan
        unit = f" {bounds.unit}" if bounds.unit else ""
        raise ConfigError(
            f"{where} is {value}{unit}. "
            f"Choose a value from {_show(bounds.low)} to {_show(bounds.high)}{unit}."
        )


def _show(bound: float) -> str:
    """Write whole bounds in full: 2147483647, where ``:g`` would say 2.14748e+09."""
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
