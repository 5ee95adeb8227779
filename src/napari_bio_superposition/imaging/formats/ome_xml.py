"""What OME-XML says about images: names, sizes, channels, places of planes. No pixels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final
from xml.etree.ElementTree import Element

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.lengths import um_per_unit
from napari_bio_superposition.imaging.formats.safe_xml import (
    child_text,
    find_child,
    local_name,
    parse_xml,
)
from napari_bio_superposition.imaging.formats.stack import mean_pixel_size

_MAX_NUMBER: Final = 1_000_000
"""Sizes and page numbers above this are damage."""


@dataclass(frozen=True)
class TiffBlock:
    """One ``TiffData`` element: consecutive pages that hold consecutive planes."""

    page: int
    first: tuple[int, int, int]
    """First channel, focal plane and time point."""
    n_pages: int | None
    """``None``: as many as there are."""
    file_name: str = ""
    file_id: str = ""


@dataclass(frozen=True)
class OmeImage:
    """One ``Image`` element.

    Parameters
    ----------
    name
        May be empty.
    size_czt
        Channels (pages, not colour samples), focal planes, time points.
    order
        The letters C, Z, T; the first one changes from page to page.
    blocks
        Where the planes lie; empty where the file does not say.
    channel_names
        One per ``Channel`` element; empty where unnamed.
    pixel_size_um
        ``None`` where it is not given or its unit is no length.
    warnings
        What is odd about it.
    """

    name: str
    size_czt: tuple[int, int, int]
    order: str
    blocks: tuple[TiffBlock, ...]
    channel_names: tuple[str, ...]
    pixel_size_um: float | None
    warnings: tuple[str, ...] = ()

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files that hold the planes, where the description says so."""
        return tuple(dict.fromkeys(block.file_name for block in self.blocks if block.file_name))


@dataclass(frozen=True)
class OmeDescription:
    """A whole OME-XML text: the id of its file, and its images in order."""

    file_id: str
    images: tuple[OmeImage, ...]


def parse_ome(text: str, where: object) -> OmeDescription:
    """Return what an OME-XML text describes.

    Raises
    ------
    ImageReadError
        Where it is damaged, describes no image, or names files outside the folder of the image.
    """
    root = parse_xml(text, f"The OME description of {where}")
    images = tuple(
        _read_image(image, pixels, where)
        for image in root
        if local_name(image) == "Image" and (pixels := find_child(image, "Pixels")) is not None
    )
    if images:
        return OmeDescription(file_id=root.get("UUID", ""), images=images)
    companion = find_child(root, "BinaryOnly")
    if companion is not None:
        raise ImageReadError(
            f"{where} is a part of a data set described by "
            f"{companion.get('MetadataFile', 'another file')!r}. Export it as one file."
        )
    raise ImageReadError(f"The OME description of {where} has no image. Export it again.")


def _read_image(image: Element, pixels: Element, where: object) -> OmeImage:
    n_samples = _channel_samples(pixels, where)
    sizes = [_read_number(pixels, f"Size{axis}", 1, where) for axis in "CZT"]
    if min(sizes) < 1 or sizes[0] % n_samples or math.prod(sizes) > _MAX_NUMBER:
        raise ImageReadError(
            f"The OME description of {where} has impossible sizes: {sizes[0]} channels, "
            f"{sizes[1]} planes, {sizes[2]} time points. Export it again."
        )
    order = pixels.get("DimensionOrder", "XYZCT")
    if sorted(order) != sorted("XYZCT") or not order.startswith("XY"):
        raise ImageReadError(
            f"The OME description of {where} has the dimension order {order!r}; "
            "it has to begin with XY and to hold Z, C and T. Export it again."
        )
    size_um, warnings = _read_pixel_size(pixels)
    return OmeImage(
        name=image.get("Name", "").strip(),
        size_czt=(sizes[0] // n_samples, sizes[1], sizes[2]),
        order=order[2:],
        blocks=tuple(_read_blocks(pixels, where)),
        channel_names=tuple(_channel_names(pixels)),
        pixel_size_um=size_um,
        warnings=(*warnings, *_warn_about_bits(pixels)),
    )


def _read_number(element: Element, name: str, default: int, where: object) -> int:
    text = element.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= _MAX_NUMBER):
        raise ImageReadError(
            f"The OME description of {where} has {name}={text[:40]!r}, "
            f"which is no number from 0 to {_MAX_NUMBER}. Export it again."
        )
    return int(text)


def _channels(pixels: Element) -> list[Element]:
    return [child for child in pixels if local_name(child) == "Channel"]


def _channel_samples(pixels: Element, where: object) -> int:
    samples = {_read_number(child, "SamplesPerPixel", 1, where) for child in _channels(pixels)}
    if len(samples) > 1 or 0 in samples:
        raise ImageReadError(
            f"{where} mixes greyscale and colour channels. Export the channels as greyscale."
        )
    return samples.pop() if samples else 1


def _channel_names(pixels: Element) -> Iterator[str]:
    for channel in _channels(pixels):
        yield (channel.get("Name") or channel.get("Fluor") or "").strip()


def _read_pixel_size(pixels: Element) -> tuple[float | None, tuple[str, ...]]:
    sizes, warnings = [], []
    for axis in "XY":
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        factor = um_per_unit(unit)
        size = _parse_float(pixels.get(f"PhysicalSize{axis}", ""))
        if size is not None and factor is None:
            warnings.append(f"The unit {unit!r} of the pixel size is no length; it was ignored.")
        sizes.append(None if size is None or factor is None else size * factor)
    mean, odd = mean_pixel_size(*sizes)
    return mean, (*dict.fromkeys(warnings), *odd)


def _parse_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_blocks(pixels: Element, where: object) -> Iterator[TiffBlock]:
    for data in pixels:
        if local_name(data) != "TiffData":
            continue
        count = data.get("PlaneCount") or data.get("NumPlanes")
        file = find_child(data, "UUID")
        yield TiffBlock(
            page=_read_number(data, "IFD", 0, where),
            first=(
                _read_number(data, "FirstC", 0, where),
                _read_number(data, "FirstZ", 0, where),
                _read_number(data, "FirstT", 0, where),
            ),
            n_pages=(
                _read_number(
                    data, "PlaneCount" if data.get("PlaneCount") else "NumPlanes", 1, where
                )
                if count
                else (1 if data.get("IFD") else None)
            ),
            file_name="" if file is None else _check_file_name(file.get("FileName", ""), where),
            file_id=child_text(data, "UUID"),
        )


def _check_file_name(name: str, where: object) -> str:
    # Both conventions count: a file may have been written on the other system.
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    is_inside = ".." not in (*windows.parts, *posix.parts)
    if not is_inside or windows.drive or windows.root or posix.is_absolute() or "\0" in name:
        raise ImageReadError(
            f"{where} refers to the file {name!r} outside its own folder, which is refused. "
            "Put the files of a data set into one folder and export the description again."
        )
    return name


def _warn_about_bits(pixels: Element) -> tuple[str, ...]:
    bits = pixels.get("SignificantBits", "")
    if pixels.get("Type") == "uint16" and bits in {str(n) for n in range(9, 16)}:
        return (
            f"The camera recorded {bits} of 16 bits; intensities are still divided by 65535, "
            "so the image looks dark to a model and to absolute quality thresholds.",
        )
    return ()
