"""From focal planes to one plane per channel, lazily: maximum of all or of the sharp ones."""

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import ImageReadError, list_choices
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.imaging.formats.stack import Plane, Stack
from napari_bio_superposition.imaging.read_config import ReadConfig


def project(stack: Stack, config: ReadConfig, where: object) -> tuple[Any, tuple[str, ...]]:
    """Project each channel to one plane; nothing is read yet.

    Parameters
    ----------
    stack
        Planes ``(channel, plane, height, width)``; missing ones take no part.
    config
        ``projection`` and ``in_focus_planes``.
    where
        The image, for messages.

    Returns
    -------
    tuple
        Dask array ``(channel, height, width)`` of the same type, and warnings.

    Raises
    ------
    ImageReadError
        Where a channel has no plane, or there are several and ``projection`` is "none".

    Notes
    -----
    Method specification, section 2.1: pixelwise maximum. The published code takes the first five
    planes; here it is all of them, or a window around the sharpest one (see `choose_sharpest`).
    Each channel has its own window, as dyes of different colour focus at different depths.
    """
    import dask.array as da

    _check_planes(stack, config, where)
    channels = [
        _project_channel(stack.pixels[index], stack.present[index], config)
        for index in range(len(stack.present))
    ]
    projected = da.stack(channels)  # type: ignore[no-untyped-call]
    return projected, _describe_missing(stack)


def _check_planes(stack: Stack, config: ReadConfig, where: object) -> None:
    empty = [str(index) for index, row in enumerate(stack.present) if not row.any()]
    if empty:
        named = [stack.channel_names[int(index)] or f"number {index}" for index in empty]
        raise ImageReadError(
            f"{where} has no plane of the channel {list_choices(named)}. "
            "Copy the missing files, or export the image without this channel."
        )
    n_planes = stack.present.shape[1]
    if config.projection == "none" and n_planes > 1:
        raise ImageReadError(
            f"{where} has {n_planes} focal planes and `projection` is none. "
            "Set `projection` to max or in_focus."
        )


def _describe_missing(stack: Stack) -> tuple[str, ...]:
    n_missing = int(np.count_nonzero(~stack.present))
    if not n_missing:
        return ()
    return (f"{n_missing} of {stack.present.size} planes are missing; the others were projected.",)


def _project_channel(planes: Any, present: BoolArray, config: ReadConfig) -> Any:
    """Project dask planes ``(plane, height, width)``."""
    if not present.all():
        planes = planes[np.flatnonzero(present)]
    if len(planes) == 1:
        return planes[0]
    if config.projection == "max" or len(planes) <= config.in_focus_planes:
        return planes.max(axis=0)
    whole = planes.rechunk((-1, -1, -1))  # sharpness is a matter of the whole field
    return whole.map_blocks(
        project_sharpest,
        n_planes=config.in_focus_planes,
        drop_axis=0,
        dtype=planes.dtype,
        meta=np.empty((0, 0), planes.dtype),
    )


def project_sharpest(planes: npt.NDArray[Any], n_planes: int) -> Plane:
    """Return the maximum over the *n_planes* of `choose_sharpest`, ``(height, width)``."""
    chosen: Plane = planes[choose_sharpest(planes, n_planes)].max(axis=0)
    return chosen


def choose_sharpest(planes: npt.NDArray[Any], n_planes: int) -> slice:
    """Return the *n_planes* neighbouring planes around the sharpest one.

    Parameters
    ----------
    planes
        One channel, ``(plane, height, width)``.
    n_planes
        Size of the window; all planes where there are fewer. It is centred on the sharpest plane
        (one more above it where the number is even) and moved inwards at the ends of the stack.
    """
    n_planes = min(n_planes, len(planes))
    sharpest = int(np.argmax([measure_sharpness(plane) for plane in planes]))
    start = min(max(sharpest - (n_planes - 1) // 2, 0), len(planes) - n_planes)
    return slice(start, start + n_planes)


def measure_sharpness(plane: Plane) -> float:
    """Return the variance of the 4-neighbour Laplacian, counts squared.

    Method specification, section 2.2, in float64; the outermost pixels have no four neighbours and
    are left out. Not finite values count as dark.
    """
    counts = np.nan_to_num(plane.astype(np.float64), posinf=0.0, neginf=0.0)
    laplacian = (
        counts[:-2, 1:-1] + counts[2:, 1:-1] + counts[1:-1, :-2] + counts[1:-1, 2:]
    ) - 4 * counts[1:-1, 1:-1]
    return float(laplacian.var())
