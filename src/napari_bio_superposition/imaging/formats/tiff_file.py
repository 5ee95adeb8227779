"""Opening TIFF files and loading single planes through tifffile. No metadata of any dialect."""

import contextlib
import logging
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.stack import Plane

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_SAMPLE_COLOURS: Final = ("red", "green", "blue", "alpha")
_COLOUR_PHOTOMETRICS: Final = ("RGB", "YCBCR", "CIELAB", "SEPARATED")

# A plane that unpacks to more than this is no blank image but a damaged header.
_MAX_COMPRESSION_RATIO: Final = 5000
_ALWAYS_FINE_BYTES: Final = 64 << 20
_MAX_MESSAGES: Final = 3


@dataclass(frozen=True)
class PlaneLocation:
    """Where one plane lies: a page of a file, or an offset where pages follow without headers.

    Parameters
    ----------
    path
        The file.
    page
        Number of the page; 0 where *offset* is given.
    offset
        First byte of an uncompressed plane.
    sample
        Number of the colour sample within the page.
    """

    path: Path
    page: int = 0
    offset: int | None = None
    sample: int | None = None


@dataclass(frozen=True, eq=False)
class TiffPlanes:
    """Load planes of one field on demand; every file is closed again after each plane.

    Parameters
    ----------
    locations
        By channel and focal plane; ``None`` where the plane is missing.
    page_shape, page_axes
        Of one page: YX, or YXS and SYX where it holds samples.
    dtype
        Of the pixels, in the machine's byte order.
    """

    locations: Sequence[Sequence[PlaneLocation | None]]
    page_shape: tuple[int, ...]
    page_axes: str
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        size = dict(zip(self.page_axes, self.page_shape, strict=True))
        return size["Y"], size["X"]

    def __call__(self, channel: int, plane: int) -> Plane:
        """Return the plane ``(height, width)``, zeros where it is missing."""
        location = self.locations[channel][plane]
        if location is None:
            return np.zeros(self.shape, self.dtype)
        with open_tiff(location.path) as (tiff, _):
            loaded = self._load(tiff, location)
        if loaded.shape != self.page_shape or loaded.dtype != self.dtype:
            raise ImageReadError(
                f"{location.path}: plane {location.page} is {loaded.shape} {loaded.dtype}, but the "
                f"first one is {self.page_shape} {self.dtype}. "
                "All planes of a field have to be alike; export it again."
            )
        if location.sample is None:
            return loaded
        sample: Plane = loaded.take(location.sample, axis=self.page_axes.index("S"))
        return sample

    def _load(self, tiff: "TiffFile", location: PlaneLocation) -> Plane:
        if location.offset is not None:
            stored = self.dtype.newbyteorder(tiff.byteorder)
            n_values = math.prod(self.page_shape)
            flat = tiff.filehandle.read_array(stored, n_values, offset=location.offset)
            return np.asarray(flat, self.dtype).reshape(self.page_shape)
        page = get_page(tiff, location.page)
        check_storage(tiff, page)
        pixels: Plane = np.asarray(page.asarray(maxworkers=1))
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


@contextlib.contextmanager
def open_tiff(path: Path) -> Iterator[tuple["TiffFile", list[str]]]:
    """Open a TIFF file; any failure inside the block becomes an `ImageReadError`.

    Yields
    ------
    tuple
        The open file, and a list that collects what tifffile reports meanwhile.
    """
    import tifffile

    with explaining(path), _collecting_messages() as messages, tifffile.TiffFile(path) as tiff:
        if not tiff.pages:
            raise ImageReadError(f"{path} holds no image. Export it again.")
        yield tiff, messages


def get_page(tiff: "TiffFile", number: int) -> "TiffPage":
    """Return a page with its own header, never a lightweight frame."""
    import tifffile

    page = tiff.pages[number]
    if isinstance(page, tifffile.TiffPage):
        return page
    return page.aspage()


def check_storage(tiff: "TiffFile", page: "TiffPage") -> None:
    """Refuse a page whose data lie outside the file or cannot fill what its header promises.

    Raises
    ------
    ImageReadError
        Naming the page and the missing bytes.
    """
    size = tiff.filehandle.size
    end = max(
        (
            start + count
            for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ),
        default=0,
    )
    where = f"{tiff.filehandle.path}: plane {page.index}"
    if end > size:
        raise ImageReadError(
            f"{where} ends {end - size} bytes behind the end of the file, which is truncated. "
            "Copy or export it again."
        )
    if not page.databytecounts or len(page.dataoffsets) != len(page.databytecounts):
        raise ImageReadError(f"{where} has no data. Copy or export the file again.")
    stored = sum(page.databytecounts)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 1
    promised = page.size * bits // 8  # 1 and 12 bit pixels may be packed
    if page.compression != 1:
        promised = (promised - _ALWAYS_FINE_BYTES) // _MAX_COMPRESSION_RATIO
    is_short = page.compression != 1 and math.prod(page.chunked) > len(page.dataoffsets)
    if promised > stored or is_short:
        raise ImageReadError(
            f"{where} promises {page.shape} pixels but holds only {stored} bytes. "
            "The file is damaged; copy or export it again."
        )


def sample_names(page: "TiffPage", where: object, *, as_channels: bool) -> tuple[str, ...]:
    """Return the names of the colour samples of a page; none where it has a single one.

    Raises
    ------
    ImageReadError
        Where the page is a colour image and *as_channels* does not allow to take it apart.
    """
    if "S" not in page.axes:
        return ()
    n_samples = page.shape[page.axes.index("S")]
    if getattr(page.photometric, "name", "") not in _COLOUR_PHOTOMETRICS:
        return ("",) * n_samples
    if not as_channels:
        raise ImageReadError(
            f"{where} is a colour image (RGB), whose intensities may be mixed for display. Export "
            "the channels as greyscale, or set `rgb_as_channels` to read red, green and blue."
        )
    return _SAMPLE_COLOURS[:n_samples]


def split_samples(
    locations: Sequence[Sequence[PlaneLocation | None]], n_samples: int
) -> list[list[PlaneLocation | None]]:
    """Make a channel of each sample; unchanged where there are none."""
    if not n_samples:
        return [list(row) for row in locations]
    return [
        [None if location is None else replace(location, sample=sample) for location in row]
        for row in locations
        for sample in range(n_samples)
    ]


def describe_photometric(page: "TiffPage") -> tuple[str, ...]:
    """Return a warning where zero is stored as white."""
    if getattr(page.photometric, "name", "") == "MINISWHITE":
        return ("The file says that zero is white; intensities were read as they are stored.",)
    return ()


@contextlib.contextmanager
def _collecting_messages() -> Iterator[list[str]]:
    """Collect the log of tifffile, which would otherwise be printed on standard error."""
    handler = _MessageList()
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)


class _MessageList(logging.Handler):
    """Keeps the first warnings of the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and len(self.messages) < _MAX_MESSAGES:
            self.messages.append(f"tifffile reports: {record.getMessage()[:300]}")
