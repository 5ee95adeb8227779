"""One field as its file holds it, (channel, plane, height, width), before any projection.

What every format hands over, and the limits that all of them keep. No file format in here.
"""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import ImageReadError, list_choices
from napari_bio_superposition.core.types import BoolArray

Plane: TypeAlias = npt.NDArray[Any]
"""Counts of one channel at one focal plane, ``(height, width)``."""

MIN_SIDE_PX: Final = 8
"""Below this no cell fits; in practice the axes are in the wrong order."""
MAX_SIDE_PX: Final = 1 << 17
MAX_CHANNELS: Final = 256
MAX_PLANES: Final = 20_000

_SHAPE_NAMES: Final = ("channels", "planes", "rows", "columns")


@dataclass(frozen=True)
class FieldEntry:
    """One image of a file or folder that may hold several.

    Parameters
    ----------
    key
        What chooses it, unique within the file: a number, ``r03c03f01`` or ``A/1/0``; empty where
        the file holds one image.
    name
        As the file names it; may be empty.
    acquisition
        What the file (not its name) says about ``plate``, ``well`` and ``field``.
    identity
        What the file says to tell it from others; empty where the file name has to do.
    origin
        The file that lists it, where this is not the path it was found by.
    source
        Whatever the format needs to open it without reading the index again.
    """

    key: str = ""
    name: str = ""
    acquisition: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    origin: Path | None = None
    source: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Stack:
    """Lazy planes of one field.

    Parameters
    ----------
    pixels
        Dask array ``(channel, plane, height, width)``, of the type in the file.
    present
        Which planes the file holds, ``(channel, plane)``; the others must not be used.
    channel_names
        As the file names them; an empty string where it does not.
    pixel_size_um
        ``None`` where the file does not say.
    translate_um
        Position ``(y, x)`` of the centre of the first pixel, micrometre.
    warnings
        What had to be guessed or left out.
    """

    pixels: Any
    present: BoolArray
    channel_names: tuple[str, ...]
    pixel_size_um: float | None = None
    translate_um: tuple[float, float] = (0.0, 0.0)
    warnings: tuple[str, ...] = ()


def check_shape(shape: Sequence[int], where: object) -> None:
    """Refuse a shape ``(channel, plane, height, width)`` that no field of view has.

    Raises
    ------
    ImageReadError
        Naming the axis, what it has and what is possible.
    """
    described = list_choices(
        f"{size} {name}" for size, name in zip(shape, _SHAPE_NAMES, strict=True)
    )
    channels, planes, height, width = shape
    if min(height, width) < MIN_SIDE_PX or min(channels, planes) < 1:
        raise ImageReadError(
            f"{where} has {described}; a field of view has at least {MIN_SIDE_PX} x {MIN_SIDE_PX} "
            "pixels. If the axes are in another order, set `axes`."
        )
    too_many = channels > MAX_CHANNELS or channels * planes > MAX_PLANES
    if too_many or max(height, width) > MAX_SIDE_PX:
        raise ImageReadError(
            f"{where} has {described}; at most {MAX_CHANNELS} channels, {MAX_PLANES} planes in all "
            f"and {MAX_SIDE_PX} pixels a side can be read. Is it a single field of view?"
        )


def lazy_planes(
    load: Callable[[int, int], Plane], shape: tuple[int, int, int, int], dtype: npt.DTypeLike
) -> Any:
    """Return a dask array in which each plane is one chunk that *load* reads on demand.

    Parameters
    ----------
    load
        Takes the channel and the plane, returns ``(height, width)``; has to be picklable.
    shape
        ``(channel, plane, height, width)``.
    dtype
        Of the planes.
    """
    import dask.array as da

    channels, planes, height, width = shape
    return da.map_blocks(  # type: ignore[no-untyped-call]
        _load_block,
        load=load,
        dtype=np.dtype(dtype),
        chunks=((1,) * channels, (1,) * planes, (height,), (width,)),
        meta=np.empty((0, 0, 0, 0), dtype),
        # A random name: a cache of dask results must not outlive a change of the file.
        name=f"planes-{uuid.uuid4().hex}",
    )


def _load_block(
    *, load: Callable[[int, int], Plane], block_id: tuple[int, ...] | None = None
) -> Plane:
    if block_id is None:  # dask tries the function once without a block
        return np.empty((0, 0, 0, 0))
    return load(block_id[0], block_id[1])[np.newaxis, np.newaxis]


def choose_time(n_times: int, time: int | None, where: object) -> int:
    """Return the time point to read, or refuse to choose one for the user.

    Raises
    ------
    ImageReadError
        Where there are several and none, or one that does not exist, is chosen.
    """
    if time is None and n_times == 1:
        return 0
    if time is None:
        raise ImageReadError(
            f"{where} has {n_times} time points; one image is read at a time. "
            f"Set `time` to one of 0 to {n_times - 1}."
        )
    if time >= n_times:
        raise ImageReadError(
            f"{where} has no time point {time}. Set `time` to one of 0 to {n_times - 1}."
        )
    return time


def choose_entry(entries: Sequence[FieldEntry], series: str, where: object) -> FieldEntry:
    """Return the entry that *series* names, by key or by name, or the only one.

    Raises
    ------
    ImageReadError
        Where none or several match; it lists those there are.
    """
    if not series and len(entries) == 1:
        return entries[0]
    chosen = [entry for entry in entries if series and entry.key == series]
    chosen = chosen or [entry for entry in entries if series and entry.name == series]
    if not chosen and len(entries) == 1 and series == "0":
        return entries[0]
    if len(chosen) == 1:
        return chosen[0]
    shown = [f"{entry.key} ({entry.name})" if entry.name else entry.key for entry in entries[:20]]
    more = [f"and {len(entries) - len(shown)} more"] if len(entries) > len(shown) else []
    problem = f"no image {series!r}" if series else f"{len(entries)} images"
    raise ImageReadError(
        f"{where} has {problem}; choose one with `series`: {list_choices(shown + more)}."
    )


def mean_pixel_size(x_um: float | None, y_um: float | None) -> tuple[float | None, tuple[str, ...]]:
    """Return the edge of a pixel from its width and height, with a warning where they disagree.

    Values that no light microscope has (outside 1 nm to 1 mm) count as unknown.
    """
    sizes = [size for size in (x_um, y_um) if size is not None]
    if not sizes:
        return None, ()
    if not all(math.isfinite(size) and 1e-3 <= size <= 1e3 for size in sizes):
        return None, (f"The pixel size {sizes} um in the file is not plausible and was ignored.",)
    mean = sum(sizes) / len(sizes)
    if max(sizes) > 1.01 * min(sizes):
        return mean, (
            f"Pixels are {x_um} x {y_um} um, not square; areas use the mean edge {mean:g} um.",
        )
    return sizes[0], ()
