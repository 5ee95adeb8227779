"""Where the patches of a field lie, and the windows of a plane at these places. No intensities."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.imaging.patch_config import PatchConfig


def list_origins(shape: tuple[int, int], config: PatchConfig, *, image_id: str = "") -> IntArray:
    """Return row and column of the top-left pixel of each patch, ``(n, 2)``, row by row.

    Raises
    ------
    ImageReadError
        Where not even one patch fits.
    """
    height, width = shape
    if min(height, width) < config.side_px:
        raise ImageReadError(
            f"Image {image_id} has {height}x{width} px, less than one patch of {config.side_px} px."
            " Leave it out, or choose smaller patches with a model trained on these."
        )
    rows, columns = (_starts(length, config) for length in shape)
    return np.array(list(itertools.product(rows, columns)), dtype=np.int64)


def _starts(length: int, config: PatchConfig) -> list[int]:
    last = length - config.side_px
    starts = list(range(0, last + 1, config.stride_px))
    if config.cover_edges and starts[-1] != last:
        starts.append(last)
    return starts


def cut_windows(plane: npt.NDArray[Any], origins: IntArray, side_px: int) -> list[npt.NDArray[Any]]:
    """Return views of *plane*, one ``(side, side)`` window per origin."""
    return [plane[y : y + side_px, x : x + side_px] for y, x in origins.tolist()]
