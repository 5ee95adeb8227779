"""The index of a Harmony export (Opera Phenix, Operetta; V5, V6, V7): which file is which plane.

Tags are compared without their namespace, which changes with every version. No pixels.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.flat_field import FlatField, parse_flat_fields
from napari_bio_superposition.imaging.formats.lengths import um_per_unit
from napari_bio_superposition.imaging.formats.safe_xml import (
    child_text,
    find_child,
    iterate_xml,
)

_TAGS: Final = ("Plate", "Entry", "Image")
_MAX_NUMBER: Final = 1_000_000
_REFERENCE: Final = "Index.ref.xml"
_DRIVE: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*:")


class ChannelKey(NamedTuple):
    """Channel and FLIM number: together they tell the images of one plane apart."""

    channel: int
    flim: int


class HarmonyImage(NamedTuple):
    """One plane. Positions are micrometre, x to the right and y up, of the centre of the field."""

    row: int
    column: int
    field: int
    plane: int
    time: int
    channel: ChannelKey
    url: str
    position_um: tuple[float, float] | None


@dataclass(frozen=True)
class HarmonyChannel:
    """What all images of a channel share; ``None`` and empty where the index does not say."""

    name: str = ""
    pixel_size_um: tuple[float | None, float | None] = (None, None)
    flat_fields: Mapping[str, FlatField] = field(default_factory=dict)
    """Profiles of illumination: "background", "foreground"."""


@dataclass(frozen=True)
class HarmonyIndex:
    """The whole index; images whose state is not Ok are left out."""

    plate: str
    measurement: str
    images: tuple[HarmonyImage, ...]
    channels: Mapping[ChannelKey, HarmonyChannel]


def parse_index(path: Path) -> HarmonyIndex:
    """Read an index file.

    Raises
    ------
    ImageReadError
        Where it is damaged, holds no image, or names files outside the export.
    """
    plate = measurement = ""
    images: list[HarmonyImage] = []
    own: dict[ChannelKey, HarmonyChannel] = {}
    shared: dict[int, HarmonyChannel] = {}
    with explaining(path), path.open("rb") as stream:
        for element in iterate_xml(stream, _TAGS, path):
            tag = element.tag.rpartition("}")[2]
            if tag == "Plate":
                plate = plate or child_text(element, "Name") or child_text(element, "PlateID")
                measurement = measurement or child_text(element, "MeasurementID")
            elif tag == "Entry":
                number = _parse_int(element.get("ChannelID", ""), "ChannelID", path)
                shared[number] = _merge(_read_channel(element), shared.get(number))
            elif (url := child_text(element, "URL")) and child_text(element, "State") in ("", "Ok"):
                image = _read_image(element, url, path)
                images.append(image)
                if image.channel not in own:
                    own[image.channel] = _read_channel(element)
    if not images:
        raise ImageReadError(f"{path} lists no image. Export the measurement again.")
    channels = {key: _merge(channel, shared.get(key.channel)) for key, channel in own.items()}
    return HarmonyIndex(plate, measurement, tuple(images), channels)


def read_reference(path: Path) -> dict[int, Mapping[str, FlatField]]:
    """Return the flat-field profiles of the file that exports keep them in, by channel number.

    Nothing where there is no such file beside the index.
    """
    profiles: dict[int, Mapping[str, FlatField]] = {}
    reference = path.with_name(_REFERENCE)
    if not reference.is_file():
        return profiles
    with explaining(reference), reference.open("rb") as stream:
        for element in iterate_xml(stream, ("Entry",), reference):
            number = _parse_int(element.get("ChannelID", ""), "ChannelID", reference)
            profiles[number] = _read_channel(element).flat_fields
    return profiles


def _read_image(element: Element, url: str, path: Path) -> HarmonyImage:
    def number(name: str, default: str = "") -> int:
        return _parse_int(child_text(element, name) or default, name, path)

    x_um, y_um = (_read_length(element, f"Position{axis}") for axis in "XY")
    return HarmonyImage(
        row=number("Row"),
        column=number("Col"),
        field=number("FieldID"),
        plane=number("PlaneID", "1"),
        time=number("TimepointID", "0"),
        channel=ChannelKey(number("ChannelID"), number("FlimID", "1")),
        url=_check_url(url, path),
        position_um=None if x_um is None or y_um is None else (x_um, y_um),
    )


def _read_channel(element: Element) -> HarmonyChannel:
    return HarmonyChannel(
        name=child_text(element, "ChannelName"),
        pixel_size_um=(
            _read_length(element, "ImageResolutionX"),
            _read_length(element, "ImageResolutionY"),
        ),
        flat_fields=parse_flat_fields(child_text(element, "FlatfieldProfile")),
    )


def _merge(channel: HarmonyChannel, other: HarmonyChannel | None) -> HarmonyChannel:
    """Fill the gaps of *channel* from *other*: V5 writes per image, V6 and V7 per channel."""
    if other is None:
        return channel
    known = channel.pixel_size_um if any(channel.pixel_size_um) else other.pixel_size_um
    return HarmonyChannel(
        name=channel.name or other.name,
        pixel_size_um=known,
        flat_fields={**other.flat_fields, **channel.flat_fields},
    )


def _read_length(element: Element, name: str) -> float | None:
    """Return a length in micrometre; metre where the unit is not given."""
    child = find_child(element, name)
    if child is None:
        return None
    factor = um_per_unit(child.get("Unit") or "m")
    try:
        length = float(child.text or "") * (factor or math.nan)
    except ValueError:
        return None
    return length if math.isfinite(length) else None


def _parse_int(text: str, name: str, path: Path) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= _MAX_NUMBER):
        raise ImageReadError(
            f"{path} has an image whose {name} is {text[:40]!r}, "
            f"no number from 0 to {_MAX_NUMBER}. Export the measurement again."
        )
    return int(text)


def _check_url(url: str, path: Path) -> str:
    relative = PurePosixPath(url.replace("\\", "/"))
    leaves = relative.is_absolute() or ".." in relative.parts or _DRIVE.match(url)
    if leaves or not relative.name or "\0" in url:
        raise ImageReadError(
            f"{path} refers to {url[:80]!r}, outside the export, which is refused. "
            "Only files beside or below the index are read; export the measurement again."
        )
    return relative.as_posix()
