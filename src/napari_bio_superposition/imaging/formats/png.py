"""PNG: a single plane, 8 or 16 bit grey. Nothing about channels or sizes can be known from it."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.stack import (
    FieldEntry,
    Plane,
    Stack,
    check_shape,
    lazy_planes,
)
from napari_bio_superposition.imaging.read_config import ReadConfig

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">8s4x4sIIBB")
_CHUNK_START: Final = struct.Struct(">I4s")
_CHECKSUM: Final = struct.Struct(">I")
_MAX_SAMPLES: Final = 4
_ALWAYS_FINE_BYTES: Final = 1 << 16
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_COLOURS: Final = ("red", "green", "blue")


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    bits: int
    colour: int


@dataclass(frozen=True)
class _PngPlanes:
    """Load one plane: the grey values, or one colour."""

    path: Path
    shape: tuple[int, int]
    dtype: str

    def __call__(self, channel: int, plane: int) -> Plane:
        del plane
        import imagecodecs

        with explaining(self.path):
            content = self.path.read_bytes()
            _check_chunks(content, self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize)
            decoded: Any = imagecodecs.png_decode(content)
            pixels: Plane = decoded if decoded.ndim == 2 else decoded[..., channel]
        if pixels.shape != self.shape or pixels.dtype != np.dtype(self.dtype):
            raise ImageReadError(f"{self.path} is not what its header says. Export it again.")
        return pixels


def list_entries(path: Path) -> tuple[FieldEntry, ...]:
    """Return the only image of a PNG file, after a look at its header."""
    _read_header(path)
    return (FieldEntry(),)


def open_stack(path: Path, entry: FieldEntry, config: ReadConfig) -> Stack:
    """Return the plane of a PNG file; see `tiff.open_stack`."""
    del entry
    header = _read_header(path)
    is_colour = header.colour in (_RGB, _RGBA)
    if is_colour and not config.rgb_as_channels:
        raise ImageReadError(
            f"{path} is a colour image (RGB), whose intensities may be mixed for display. Export "
            "the channels as greyscale, or set `rgb_as_channels` to read red, green and blue."
        )
    names = _COLOURS if is_colour else ("",)
    shape = (len(names), 1, header.height, header.width)
    check_shape(shape, path)
    dtype = "uint16" if header.bits == 16 else "uint8"
    planes = _PngPlanes(path, (header.height, header.width), dtype)
    return Stack(
        pixels=lazy_planes(planes, shape, dtype),
        present=np.ones((len(names), 1), bool),
        channel_names=names,
    )


def _check_chunks(content: bytes, grey_bytes: int) -> None:
    """Refuse what libpng would report on standard error and then decode all the same.

    *grey_bytes* is the size of the plane without colours, filters and interlacing.
    """
    limit = _MAX_SAMPLES * 2 * grey_bytes + _ALWAYS_FINE_BYTES
    decompressor, unpacked = zlib.decompressobj(), 0
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = _CHUNK_START.unpack_from(content, position)
        end = position + _CHUNK_START.size + length
        (checksum,) = _CHECKSUM.unpack_from(content, end)
        if zlib.crc32(content[position + 4 : end]) != checksum:
            raise ValueError("a part of it has a wrong checksum")
        if kind == b"IDAT":
            packed = content[end - length : end]
            unpacked += len(decompressor.decompress(packed, limit + 1 - unpacked))
        if unpacked > limit:
            raise ValueError("it unpacks to more than its header says")
        position = end + _CHECKSUM.size
    if not decompressor.eof or unpacked < grey_bytes:
        raise ValueError("its pixels break off")


def _read_header(path: Path) -> _Header:
    with explaining(path):
        with path.open("rb") as stream:
            start = stream.read(_HEADER.size)
        if len(start) < _HEADER.size:
            raise ImageReadError(f"{path} is empty or truncated. Copy or export it again.")
        signature, chunk, width, height, bits, colour = _HEADER.unpack(start)
    if signature != _SIGNATURE or chunk != b"IHDR":
        raise ImageReadError(f"{path} is no PNG file, whatever its name says. Export it again.")
    if colour not in (_GREY, _RGB, _RGBA, _GREY_ALPHA) or bits not in (8, 16):
        raise ImageReadError(
            f"{path} is a PNG with {bits} bits and the colour type {colour}; intensities need 8 or "
            "16 bit grey. Export it again."
        )
    return _Header(width, height, bits, colour)
