"""Harmony exports (Opera Phenix, Operetta) as fields: one image per well and field."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError, list_choices
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.flat_field import FlattenedPlanes
from napari_bio_superposition.imaging.formats.harmony_index import (
    ChannelKey,
    HarmonyChannel,
    HarmonyImage,
    parse_index,
    read_reference,
)
from napari_bio_superposition.imaging.formats.stack import (
    FieldEntry,
    Plane,
    Stack,
    check_shape,
    choose_time,
    lazy_planes,
    mean_pixel_size,
)
from napari_bio_superposition.imaging.formats.tiff_file import (
    PlaneLocation,
    TiffPlanes,
    check_storage,
    get_page,
    open_tiff,
)
from napari_bio_superposition.imaging.read_config import ReadConfig

_INDEX_NAMES: Final = ("Index.idx.xml", "Index.xml")
_IMAGE_FOLDER: Final = "Images"
_ROOT_TAG: Final = b"EvaluationInputData"
_SNIFFED_BYTES: Final = 4096
_MEASUREMENT_CHARACTERS: Final = 8


@dataclass(frozen=True)
class HarmonyField:
    """The part of an index that belongs to one field."""

    index: Path
    images: tuple[HarmonyImage, ...]
    channels: Mapping[ChannelKey, HarmonyChannel]


def find_index(path: Path) -> Path | None:
    """Return the index of the export that *path* is: the index, its folder, or the one above.

    ``None`` where there is none. A file with one of the usual names counts unread, so that a
    damaged one is reported as such.
    """
    if path.is_file():
        return path if path.suffix.lower() == ".xml" and _is_index(path) else None
    for folder in (path, path / _IMAGE_FOLDER):
        for name in _INDEX_NAMES:
            if (folder / name).is_file():
                return folder / name
        if folder.is_dir():
            others = sorted(f for f in folder.iterdir() if f.suffix.lower() == ".xml")
            if found := next((file for file in others if _is_index(file)), None):
                return found
    return None


def _is_index(file: Path) -> bool:
    if not file.is_file() or file.name.lower().endswith(".ref.xml"):
        return False
    if file.name in _INDEX_NAMES:
        return True
    with file.open("rb") as stream:
        return _ROOT_TAG in stream.read(_SNIFFED_BYTES)


def list_entries(path: Path) -> tuple[FieldEntry, ...]:
    """Return the fields of an export, by row, column and field.

    Parameters
    ----------
    path
        The index (see `find_index`), or a folder that has one.

    Raises
    ------
    ImageReadError
        Where there is no index, or it is damaged.
    """
    with explaining(path):
        found = find_index(path)
    if found is None:
        raise ImageReadError(
            f"{path} has no index of a Harmony export ({list_choices(_INDEX_NAMES)}). "
            "Choose the folder that Harmony wrote."
        )
    index = parse_index(found)
    by_field = defaultdict(list)
    for image in index.images:
        by_field[image.row, image.column, image.field].append(image)
    measurement = index.measurement[:_MEASUREMENT_CHARACTERS]
    entries = []
    for (row, column, field), images in sorted(by_field.items()):
        well = f"r{row:02d}c{column:02d}"
        key = f"{well}f{field:02d}"
        # The measurement tells two measurements of one plate apart, wherever they are stored.
        name = "-".join(filter(None, (index.plate, measurement)))
        entries.append(
            FieldEntry(
                key=key,
                acquisition={"plate": index.plate, "well": well, "field": str(field)},
                identity="_".join(filter(None, (name, key))),
                origin=found,
                source=HarmonyField(found, tuple(images), index.channels),
            )
        )
    return tuple(entries)


def open_stack(path: Path, entry: FieldEntry, config: ReadConfig) -> Stack:
    """Return the lazy planes of one field; see `tiff.open_stack`."""
    del path  # the entry knows its index
    field: HarmonyField = entry.source
    where = f"{field.index}, {entry.key}"
    times = sorted({image.time for image in field.images})
    time = times[choose_time(len(times), config.time, where)]
    images = [image for image in field.images if image.time == time]
    locations, channels = _locate(field, images, where)
    first = next((location for row in locations for location in row if location), None)
    if first is None:
        raise ImageReadError(f"{where}: none of its files exists. Copy the export again.")
    with open_tiff(first.path) as (tiff, _):
        page = get_page(tiff, 0)
        check_storage(tiff, page)
    if page.axes != "YX" or page.dtype is None:
        raise ImageReadError(f"{first.path} is no greyscale plane. Export the measurement again.")
    planes = TiffPlanes(locations, page.shape, page.axes, page.dtype.newbyteorder("="))
    shape = (len(locations), len(locations[0]), *planes.shape)
    check_shape(shape, where)
    size_um, warnings = mean_pixel_size(*field.channels[channels[0]].pixel_size_um)
    load, more = _flatten(planes, field, channels, config)
    warnings = (*warnings, *more)
    stack = Stack(
        pixels=lazy_planes(load, shape, planes.dtype),
        present=np.array([[location is not None for location in row] for row in locations]),
        channel_names=tuple(field.channels[key].name for key in channels),
        pixel_size_um=size_um,
        warnings=warnings,
    )
    return dataclasses.replace(stack, translate_um=_find_corner(images[0], size_um, planes.shape))


def _flatten(
    planes: TiffPlanes, field: HarmonyField, channels: list[ChannelKey], config: ReadConfig
) -> tuple[Callable[[int, int], Plane], tuple[str, ...]]:
    """Return how planes are loaded, with the correction that was asked for, and warnings."""
    if config.flat_field == "none":
        return planes, ()
    reference = read_reference(field.index)
    profiles = {}
    for position, key in enumerate(channels):
        known = {**reference.get(key.channel, {}), **field.channels[key].flat_fields}
        if config.flat_field in known:
            profiles[position] = known[config.flat_field]
    names = [field.channels[key].name for n, key in enumerate(channels) if n not in profiles]
    warnings = (
        (f"There is no {config.flat_field} profile for {list_choices(names)}; not corrected.",)
        if names
        else ()
    )
    return FlattenedPlanes(planes, profiles), warnings


def _locate(
    field: HarmonyField, images: list[HarmonyImage], where: object
) -> tuple[list[list[PlaneLocation | None]], list[ChannelKey]]:
    """Return where the planes lie, by channel and focal plane, and the channels."""
    channels = sorted({image.channel for image in images})
    numbers = sorted({image.plane for image in images})
    located: dict[tuple[ChannelKey, int], PlaneLocation | None] = {}
    for image in images:
        if (image.channel, image.plane) in located:
            raise ImageReadError(
                f"{where} lists two files for channel {image.channel.channel}, "
                f"plane {image.plane}. Export the measurement again."
            )
        file = _find_file(field.index, image.url)
        located[image.channel, image.plane] = None if file is None else PlaneLocation(file)
    return [[located.get((key, number)) for number in numbers] for key in channels], channels


def list_files(field: HarmonyField) -> list[Path]:
    """Return the files of a field that are there; planes may be missing."""
    found = (_find_file(field.index, image.url) for image in field.images)
    return [file for file in found if file is not None]


def _find_file(index: Path, url: str) -> Path | None:
    """Return the file, which may lie one folder below a V7 index; ``None`` where it is missing."""
    candidates = (index.parent / url, index.parent / _IMAGE_FOLDER / url)
    return next((file for file in candidates if file.is_file()), None)


def _find_corner(
    image: HarmonyImage, pixel_size_um: float | None, shape: tuple[int, int]
) -> tuple[float, float]:
    """Return ``(y, x)`` of the centre of the first pixel; y points down in images, up on stages."""
    if image.position_um is None or pixel_size_um is None:
        return 0.0, 0.0
    x_um, y_um = image.position_um
    height, width = shape
    return (
        -y_um - (height - 1) / 2 * pixel_size_um,
        x_um - (width - 1) / 2 * pixel_size_um,
    )
