"""Writing label images and multichannel images as TIFF, whole or not at all. No reading."""

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_bio_superposition.core.errors import (
    ChannelError,
    OutputError,
    list_choices,
)
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.types import LabelImage

_UM_PER_CM = 1e4
_ZLIB_LEVEL = 6
_SOFTWARE = "napari-bio-superposition"
_INT32_MAX = np.iinfo(np.int32).max
_OME_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")


class ImageWriteError(OutputError):
    """An array cannot be written as an image: its shape, type or values do not allow it."""


def write_labels(
    labels: LabelImage, path: str | Path, *, pixel_size_um: float | None = None
) -> Path:
    """Write a label image as a compressed int32 TIFF.

    Parameters
    ----------
    labels
        Whole numbers from 0 to 2**31 - 1, ``(height, width)``; 0 is background.
    path
        File to write; an existing one is replaced, and only by a complete one.
    pixel_size_um
        Edge of a pixel in micrometre, kept in the resolution tags (pixels per centimetre).

    Returns
    -------
    Path
        *path*.

    Raises
    ------
    ImageWriteError
        Where the array is no label image, or the file cannot be written.
    """
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "iub" or 0 in array.shape:
        raise ImageWriteError(
            f"A label image holds whole numbers with the axes (height, width); this array has the "
            f"shape {array.shape} and the type {array.dtype}. Convert it first."
        )
    if array.min() < 0 or array.max() > _INT32_MAX:
        raise ImageWriteError(
            f"Labels run from {array.min()} to {array.max()}, outside 0 to {_INT32_MAX}. "
            "Renumber them first."
        )
    with replaced_file(Path(path)) as temporary:
        _write_tiff(
            temporary, array.astype(np.int32), _resolution(pixel_size_um), metadata={"axes": "YX"}
        )
    return Path(path)


def write_image(
    pixels: Any,
    path: str | Path,
    *,
    channel_names: Sequence[str],
    pixel_size_um: float | None = None,
) -> Path:
    """Write a multichannel image as a compressed OME-TIFF; the same pixels give the same bytes.

    Parameters
    ----------
    pixels
        Counts, ``(channel, height, width)``, numpy or dask; any integer type of at most 32 bits
        or a float.
    path
        File to write, best named ``*.ome.tif``; an existing one is replaced only by a complete one.
    channel_names
        One per channel.
    pixel_size_um
        Edge of a pixel in micrometre; left out where it is not known.

    Returns
    -------
    Path
        *path*.

    Raises
    ------
    ChannelError
        Where the names do not fit the channels.
    ImageWriteError
        Where the array is no multichannel image, or the file cannot be written.
    """
    array = np.ascontiguousarray(pixels)
    if array.ndim != 3 or array.dtype.name not in _OME_DTYPES or 0 in array.shape:
        raise ImageWriteError(
            f"A multichannel image has the axes (channel, height, width) and one of the types "
            f"{list_choices(_OME_DTYPES)}; this array has the shape {array.shape} and the type "
            f"{array.dtype}. Convert it first."
        )
    if len(channel_names) != len(array):
        raise ChannelError(
            f"{len(channel_names)} channel names for {len(array)} channels. "
            "Give one name per channel."
        )
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "Name": Path(path).name.split(".")[0],
        "Channel": {"Name": list(channel_names)},
        "UUID": _content_uuid(array, channel_names),
    }
    if pixel_size_um is not None:
        metadata |= dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY"), float(pixel_size_um))
        metadata |= dict.fromkeys(("PhysicalSizeXUnit", "PhysicalSizeYUnit"), "µm")
    with replaced_file(Path(path)) as temporary:
        _write_tiff(temporary, array, _resolution(pixel_size_um), metadata=metadata, ome=True)
    return Path(path)


def _write_tiff(
    path: Path,
    array: Any,
    resolution: dict[str, Any],
    *,
    metadata: dict[str, Any],
    ome: bool = False,
) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        array,
        ome=ome,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": _ZLIB_LEVEL},
        predictor=array.dtype.kind != "f",
        software=_SOFTWARE,
        metadata=metadata,
        **resolution,
    )


def _resolution(pixel_size_um: float | None) -> dict[str, Any]:
    """Return the resolution tags, or none where the pixel size is not known."""
    if pixel_size_um is None:
        return {}
    if not 0 < pixel_size_um < np.inf:
        raise ImageWriteError(
            f"The pixel size is {pixel_size_um} um; it has to be a positive number, or None."
        )
    per_cm = _UM_PER_CM / pixel_size_um
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}


def _content_uuid(array: Any, channel_names: Sequence[str]) -> str:
    """Return an identifier made of the content: a random one would change the file's hash."""
    digest = hashlib.sha256(repr((array.shape, array.dtype.str, tuple(channel_names))).encode())
    digest.update(array.data)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, digest.hexdigest()))
