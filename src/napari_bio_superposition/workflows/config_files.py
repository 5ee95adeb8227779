"""Configs as plain values and as TOML files, strictly: no unknown key, no silent conversion."""

import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs
import tomli_w
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.strategies import configure_union_passthrough
from cattrs.v import transform_error

from napari_bio_superposition.core.errors import BioSuperpositionError, ConfigError, list_choices
from napari_bio_superposition.core.files import replaced_file

Config = TypeVar("Config")


def config_to_plain(config: Any) -> dict[str, Any]:
    """Return a config as nested dicts of TOML values; fields that are ``None`` are left out."""
    plain: dict[str, Any] = _without_none(_CONVERTER.unstructure(config))
    return plain


def config_from_plain(plain: dict[str, Any], config_type: type[Config]) -> Config:
    """Build a config from nested dicts; keys that are absent keep their defaults.

    Raises
    ------
    ConfigError
        Where a key is unknown, a value has the wrong type, or the config refuses it.
    """
    try:
        return _CONVERTER.structure(plain, config_type)
    except BaseValidationError as error:
        own = _first_own_error(error)
        if own is not None:
            raise own from error
        problems = "; ".join(transform_error(error, config_type.__name__, _describe))
        message = f"The settings do not fit: {problems}. Correct or remove them."
        raise ConfigError(message) from error


def read_config(path: Path, config_type: type[Config], base: Config | None = None) -> Config:
    """Read a config from a TOML file; what it does not name is as in *base*, or the default.

    Raises
    ------
    ConfigError
        Where the file is missing, is not TOML, or does not fit the config.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The settings file {path.name} cannot be read ({error.strerror}). Check --config."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not a TOML file: {error}. Correct that line.") from error
    if base is not None:
        plain = _merge(config_to_plain(base), plain)
    return config_from_plain(plain, config_type)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay nested values over others."""
    merged = dict(below)
    for name, value in above.items():
        known = merged.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            merged[name] = _merge(known, value)
        else:
            merged[name] = value
    return merged


def write_config(config: Any, path: Path) -> None:
    """Write a config as a TOML file that `read_config` reads back.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    text = tomli_w.dumps(config_to_plain(config))
    with replaced_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value


def _describe(error: BaseException, expected: type | None) -> str:
    """Say what is wrong with one value; cattrs adds where it stands."""
    if isinstance(error, ForbiddenExtraKeysError):
        return f"there is no setting {list_choices(sorted(error.extra_fields))}"
    if isinstance(error, (AttributeError, KeyError, TypeError)):
        return "a table of settings is expected here"
    return str(error)


def _first_own_error(error: BaseException) -> BioSuperpositionError | None:
    """Find the error of a config's own check among those cattrs has collected."""
    if isinstance(error, BioSuperpositionError):
        return error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((own for one in inner if (own := _first_own_error(one)) is not None), None)


def _strict(kind: type, *accepted: type) -> Any:
    """Return a hook that takes a value only as it is: cattrs itself would turn 1.5 into 1."""

    def structure(value: Any, _: Any) -> Any:
        is_bool = isinstance(value, bool) and kind is not bool
        if is_bool or not isinstance(value, accepted or kind):
            raise ValueError(f"{value!r} is not {_NAMES[kind]}")
        return kind(value)

    return structure


def _is_choice(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Literal


def _structure_choice(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if value not in choices:
        raise ValueError(f"{value!r} is not one of: {list_choices(choices)}")
    return value


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _build_converter() -> cattrs.Converter:
    converter = cattrs.Converter(
        forbid_extra_keys=True, unstruct_collection_overrides={tuple: list}
    )
    converter.register_structure_hook(int, _strict(int))
    converter.register_structure_hook(float, _strict(float, int, float))
    converter.register_structure_hook(bool, _strict(bool))
    converter.register_structure_hook(str, _strict(str))
    converter.register_structure_hook_func(_is_choice, _structure_choice)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_unstructure_hook(Path, str)
    configure_union_passthrough(int | float | str | bool | None, converter)
    return converter


_CONVERTER = _build_converter()
