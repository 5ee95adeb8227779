"""TIFF in its dialects (OME, ImageJ, plain): the images of a file and their lazy planes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats import imagej
from napari_bio_superposition.imaging.formats.ome_tiff import is_ome, locate_planes
from napari_bio_superposition.imaging.formats.ome_xml import OmeDescription, parse_ome
from napari_bio_superposition.imaging.formats.stack import (
    MAX_PLANES,
    MIN_SIDE_PX,
    FieldEntry,
    Stack,
    check_shape,
    choose_time,
    lazy_planes,
    mean_pixel_size,
)
from napari_bio_superposition.imaging.formats.tiff_axes import arrange_pages, name_page_axes
from napari_bio_superposition.imaging.formats.tiff_file import (
    PlaneLocation,
    TiffPlanes,
    check_storage,
    describe_photometric,
    get_page,
    open_tiff,
    sample_names,
    split_samples,
)
from napari_bio_superposition.imaging.read_config import ReadConfig

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_UM_PER_RESOLUTION_UNIT = {"CENTIMETER": 1e4, "MILLIMETER": 1e3, "MICROMETER": 1.0}


def list_entries(path: Path) -> tuple[FieldEntry, ...]:
    """Return the images that a TIFF file holds.

    Raises
    ------
    ImageReadError
        Where the file or its description is damaged.
    """
    with open_tiff(path) as (tiff, _):
        description = _read_ome(tiff, path)
        names = (
            [image.name for image in description.images]
            if description
            else [series.name for series in tiff.series]
        )
    if len(names) == 1:
        return (FieldEntry(name=names[0]),)
    return tuple(FieldEntry(key=str(number), name=name) for number, name in enumerate(names))


def list_companions(path: Path) -> frozenset[str]:
    """Return the names of further files that the images of *path* are spread over."""
    with open_tiff(path) as (tiff, _):
        description = _read_ome(tiff, path)
    if description is None:
        return frozenset()
    return frozenset(
        name for image in description.images for name in image.file_names if name != path.name
    )


def open_stack(path: Path, entry: FieldEntry, config: ReadConfig) -> Stack:
    """Return the lazy planes of one image of a TIFF file.

    Parameters
    ----------
    path
        The file.
    entry
        One of `list_entries`.
    config
        Time point, axes and the treatment of colour images.

    Raises
    ------
    ImageReadError
        Where the file is damaged or truncated, or its axes need a decision by the user.
    """
    with open_tiff(path) as (tiff, messages):
        description = _read_ome(tiff, path)
        number = int(entry.key or 0)
        if description is not None:
            stack = _open_ome(tiff, path, description, number, config)
        elif number < len(tiff.series):
            stack = _open_series(tiff, path, tiff.series[number], config)
        else:
            raise ImageReadError(f"{path} holds no image that can be arranged. Export it again.")
        if any("<tifffile.TiffPages" in message for message in messages):
            # Otherwise a truncated file would pass for one with fewer channels.
            raise ImageReadError(
                f"{path} breaks off before its last plane ({messages[0]}). Copy or export it again."
            )
        return dataclasses.replace(stack, warnings=(*stack.warnings, *messages))


def _read_ome(tiff: "TiffFile", path: Path) -> OmeDescription | None:
    text = get_page(tiff, 0).description
    return parse_ome(text, path) if is_ome(text) else None


def _open_ome(
    tiff: "TiffFile", path: Path, description: OmeDescription, number: int, config: ReadConfig
) -> Stack:
    image = description.images[number]
    time = choose_time(image.size_czt[2], config.time, path)
    # The shape is checked before any table of that size is made.
    check_shape((*image.size_czt[:2], MIN_SIDE_PX, MIN_SIDE_PX), path)
    locations = locate_planes(path, description, image, time, len(tiff.pages))
    stack = _make_stack(tiff, path, locations, image.channel_names, config)
    return dataclasses.replace(
        stack,
        pixel_size_um=image.pixel_size_um,
        warnings=(*stack.warnings, *image.warnings),
    )


def _open_series(
    tiff: "TiffFile", path: Path, series: "TiffPageSeries", config: ReadConfig
) -> Stack:
    axes = name_page_axes(series.axes, series.shape, series.keyframe.axes, config.axes, path)
    if math.prod(axes.shape) > MAX_PLANES:
        check_shape((1, math.prod(axes.shape), MIN_SIDE_PX, MIN_SIDE_PX), path)
    pages = arrange_pages(axes, config.time, path)
    locations = [[_locate_page(path, series, int(page)) for page in row] for row in pages]
    metadata = tiff.imagej_metadata or {}
    names = imagej.read_labels(metadata, pages)
    stack = _make_stack(tiff, path, locations, names, config)
    size_um, odd = _read_pixel_size(series.keyframe, metadata)
    return dataclasses.replace(
        stack, pixel_size_um=size_um, warnings=(*stack.warnings, *axes.warnings, *odd)
    )


def _locate_page(path: Path, series: "TiffPageSeries", number: int) -> PlaneLocation | None:
    if series.dataoffset is not None:
        return PlaneLocation(
            path, number, offset=series.dataoffset + number * series.keyframe.nbytes
        )
    page = series[number]
    if page is None:
        return None
    if len(page.treeindex) > 1:
        raise ImageReadError(f"{path}: plane {number} is a preview. Save the image as OME-TIFF.")
    return PlaneLocation(path, page.index)


def _make_stack(
    tiff: "TiffFile",
    path: Path,
    locations: Sequence[Sequence[PlaneLocation | None]],
    channel_names: Sequence[str],
    config: ReadConfig,
) -> Stack:
    """Check the planes that lie in this file and make them lazy."""
    first = next((location for row in locations for location in row if location), None)
    if first is None:
        raise ImageReadError(f"{path} holds none of the planes it describes. Export it again.")
    page = _read_header(tiff, path, first)
    _check_planes(tiff, path, page, locations)
    if page.dtype is None or page.axes not in ("YX", "YXS", "SYX"):
        raise ImageReadError(
            f"{path} holds planes with the axes {page.axes} and the type {page.dtype}, which are "
            "no greyscale planes (Y, X). Save the image as OME-TIFF."
        )
    samples = sample_names(page, path, as_channels=config.rgb_as_channels)
    split = split_samples(locations, len(samples))
    planes = TiffPlanes(split, page.shape, page.axes, page.dtype.newbyteorder("="))
    shape = (len(split), len(split[0]), *planes.shape)
    check_shape(shape, path)
    return Stack(
        pixels=lazy_planes(planes, shape, planes.dtype),
        present=np.array([[location is not None for location in row] for row in split]),
        channel_names=_name_channels(channel_names, samples, len(locations)),
        warnings=describe_photometric(page),
    )


def _read_header(tiff: "TiffFile", path: Path, location: PlaneLocation) -> "TiffPage":
    if location.path == path:
        return get_page(tiff, 0 if location.offset is not None else location.page)
    with open_tiff(location.path) as (other, _):
        return get_page(other, location.page)


def _check_planes(
    tiff: "TiffFile",
    path: Path,
    page: "TiffPage",
    locations: Sequence[Sequence[PlaneLocation | None]],
) -> None:
    size = tiff.filehandle.size
    for location in (one for row in locations for one in row if one and one.path == path):
        if location.offset is None:
            check_storage(tiff, get_page(tiff, location.page))
        elif location.offset + page.nbytes > size:
            raise ImageReadError(
                f"{path}: plane {location.page} ends behind the end of the file, which is "
                "truncated. Copy or export it again."
            )


def _name_channels(
    names: Sequence[str], samples: Sequence[str], n_channels: int
) -> tuple[str, ...]:
    known = [names[index] if index < len(names) else "" for index in range(n_channels)]
    if not samples:
        return tuple(known)
    return tuple(f"{name} {sample}".strip() for name in known for sample in samples)


def _read_pixel_size(
    page: "TiffPage", imagej_metadata: Mapping[str, Any]
) -> tuple[float | None, tuple[str, ...]]:
    resolution = tuple(_read_resolution(page, tag) for tag in ("XResolution", "YResolution"))
    if imagej_metadata:
        return imagej.read_pixel_size(imagej_metadata, (resolution[0], resolution[1]))
    um = _UM_PER_RESOLUTION_UNIT.get(getattr(page.resolutionunit, "name", ""))
    if um is None:
        # Inches: a printing resolution, which says nothing about the microscope.
        return None, ()
    return mean_pixel_size(*(um / per_unit if per_unit else None for per_unit in resolution))


def _read_resolution(page: "TiffPage", name: str) -> float | None:
    """Return pixels per unit; ``None`` where the tag is missing or zero."""
    tag = page.tags.get(name)
    value = None if tag is None else tag.value
    if not isinstance(value, tuple) or len(value) != 2 or not all(value):
        return None
    return float(value[0] / value[1])
