"""What the JSON of an OME-Zarr group says, checked strictly (versions 0.4 and 0.5). No pixels."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from napari_bio_superposition.core.errors import ImageReadError, list_choices
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.lengths import um_per_unit
from napari_bio_superposition.imaging.formats.stack import mean_pixel_size

AXES: Final = "tczyx"
_MAX_JSON_BYTES: Final = 64 << 20
_ADVICE: Final = "Convert the image to OME-Zarr 0.4 or 0.5 again."


@dataclass(frozen=True)
class Multiscale:
    """One image of a group, at full resolution.

    Parameters
    ----------
    name
        May be empty.
    axes
        Letters among t, c, z, y, x, in this order.
    level
        Path of the full-resolution array, relative to the group.
    pixel_size_um, translate_um
        See `Stack`.
    channel_names
        Those of the OMERO metadata; empty strings where there are none.
    warnings
        What is odd about it.
    """

    name: str
    axes: str
    level: str
    pixel_size_um: float | None
    translate_um: tuple[float, float]
    channel_names: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def is_zarr_group(folder: Path) -> bool:
    """Whether *folder* holds the metadata of a Zarr group."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


def read_attributes(folder: Path) -> Mapping[str, Any]:
    """Return the OME attributes of a group, the same for both versions.

    Raises
    ------
    ImageReadError
        Where there are none, or they are damaged or of another version.
    """
    new, old = folder / "zarr.json", folder / ".zattrs"
    if new.is_file():
        attributes = _mapping(_load_json(new).get("attributes"), "attributes", new)
        ome = _mapping(attributes.get("ome"), "ome", new)
        _check_version(ome.get("version"), "0.5", new)
        return ome
    if old.is_file():
        return _load_json(old)
    raise ImageReadError(f"{folder} has no OME-Zarr metadata. {_ADVICE}")


def _load_json(file: Path) -> Mapping[str, Any]:
    with explaining(file):
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise ImageReadError(f"{file} has more than {_MAX_JSON_BYTES} bytes. {_ADVICE}")
        return _mapping(json.loads(file.read_text("utf-8")), "metadata", file)


def _check_version(version: Any, expected: str, where: object) -> None:
    if version != expected:
        raise ImageReadError(
            f"{where} is OME-Zarr of the version {str(version)[:20]}; this layout can be read in "
            f"version {expected}. {_ADVICE}"
        )


def parse_multiscales(attributes: Mapping[str, Any], where: object) -> tuple[Multiscale, ...]:
    """Return the images that the attributes of a group describe.

    Raises
    ------
    ImageReadError
        Naming what is missing or of the wrong kind.
    """
    names = _channel_names(attributes.get("omero"))
    listed = _list(attributes.get("multiscales"), "multiscales", where)
    return tuple(_parse_multiscale(item, names, where) for item in listed)


def _parse_multiscale(item: Any, channel_names: tuple[str, ...], where: object) -> Multiscale:
    multiscale = _mapping(item, "multiscales", where)
    if "version" in multiscale:
        version = multiscale["version"]
        _check_version(version, "0.5" if version == "0.5" else "0.4", where)
    letters, units = _parse_axes(multiscale.get("axes"), where)
    dataset = _mapping(_list(multiscale.get("datasets"), "datasets", where)[0], "datasets", where)
    scale, shift = _parse_transformations(dataset, len(letters), where, required=True)
    outer_scale, outer_shift = _parse_transformations(
        multiscale, len(letters), where, required=False
    )
    scale = [inner * outer for inner, outer in zip(scale, outer_scale, strict=True)]
    shift = [a * b + c for a, b, c in zip(shift, outer_scale, outer_shift, strict=True)]
    size_um, translate_um, warnings = _to_micrometre(scale[-2:], shift[-2:], units[-2:])
    name = multiscale.get("name")
    return Multiscale(
        name=name if isinstance(name, str) else "",
        axes=letters,
        level=check_relative_path(dataset.get("path"), where),
        pixel_size_um=size_um,
        translate_um=translate_um,
        channel_names=channel_names,
        warnings=warnings,
    )


def _parse_axes(value: Any, where: object) -> tuple[str, list[str]]:
    axes = [_mapping(axis, "axes", where) for axis in _list(value, "axes", where)]
    names = [str(axis.get("name")) for axis in axes]
    letters = "".join(names)
    in_order = [letter for letter in AXES if letter in names]
    if names != in_order or not letters.endswith("yx"):
        raise ImageReadError(
            f"{where} has the axes {list_choices(names)}; they have to end with y, x and to be "
            f"some of {list_choices(AXES)} in this order. {_ADVICE}"
        )
    return letters, [str(axis.get("unit") or "") for axis in axes]


def _parse_transformations(
    holder: Mapping[str, Any], n_axes: int, where: object, *, required: bool
) -> tuple[list[float], list[float]]:
    """Return scale and translation per axis."""
    scale, shift = [1.0] * n_axes, [0.0] * n_axes
    if holder.get("coordinateTransformations") is None and not required:
        return scale, shift
    listed = _list(holder.get("coordinateTransformations"), "coordinateTransformations", where)
    for item in listed:
        step = _mapping(item, "coordinateTransformations", where)
        if step.get("type") == "scale":
            scale = _numbers(step.get("scale"), n_axes, where)
        elif step.get("type") == "translation":
            shift = _numbers(step.get("translation"), n_axes, where)
        elif step.get("type") != "identity":
            raise ImageReadError(
                f"{where} has the transformation {str(step.get('type'))[:40]!r}; "
                f"only scale and translation can be read. {_ADVICE}"
            )
    if min(scale) <= 0:
        raise ImageReadError(f"{where} has the scale {scale}, which is not positive. {_ADVICE}")
    return scale, shift


def _numbers(value: Any, n_axes: int, where: object) -> list[float]:
    items = value if isinstance(value, list) else []
    numbers = [float(x) for x in items if isinstance(x, int | float) and abs(x) < 1e100]
    if len(numbers) != n_axes or len(items) != n_axes or not all(map(math.isfinite, numbers)):
        raise ImageReadError(
            f"{where} has a transformation without {n_axes} finite numbers, one per axis. {_ADVICE}"
        )
    return numbers


def _to_micrometre(
    scale_yx: Sequence[float], shift_yx: Sequence[float], units_yx: Sequence[str]
) -> tuple[float | None, tuple[float, float], tuple[str, ...]]:
    factors = [um_per_unit(unit) for unit in units_yx]
    y, x = factors
    if y is None or x is None:
        named = list_choices(unit or "(none)" for unit in units_yx)
        note = f"The unit of the pixel size is no length ({named}); the size was ignored."
        return None, (0.0, 0.0), (note,)
    size, warnings = mean_pixel_size(scale_yx[1] * x, scale_yx[0] * y)
    return size, (shift_yx[0] * y, shift_yx[1] * x), warnings


def _channel_names(omero: Any) -> tuple[str, ...]:
    """Return the labels; OMERO metadata are optional, so damage here costs the names only."""
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list):
        return ()
    labels = [channel.get("label") if isinstance(channel, Mapping) else "" for channel in channels]
    return tuple(label.strip() if isinstance(label, str) else "" for label in labels)


def check_relative_path(value: Any, where: object) -> str:
    """Return *value* if it is a path that stays inside its group.

    Raises
    ------
    ImageReadError
        Where it is no text, empty, absolute, or leads upwards.
    """
    text = value if isinstance(value, str) else ""
    parts = PurePosixPath(text).parts
    if not parts or ".." in parts or parts[0] == "/" or any(c in text for c in "\\:\0"):
        raise ImageReadError(
            f"{where} refers to the path {str(value)[:80]!r}, which is empty or leads outside the "
            f"image, and is refused. {_ADVICE}"
        )
    return "/".join(parts)


def _mapping(value: Any, name: str, where: object) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise ImageReadError(f"{where} has no {name!r} object in its OME-Zarr metadata. {_ADVICE}")


def _list(value: Any, name: str, where: object) -> list[Any]:
    if isinstance(value, list) and value:
        return value
    raise ImageReadError(f"{where} has no {name!r} list in its OME-Zarr metadata. {_ADVICE}")
