"""Which pixel types are intensities, and the count that becomes 1.0. No files."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.types import FloatArray

_UINT16_MAX: Final = 65535.0
_FULL_SCALE: Final = {"uint8": 255.0, "uint16": _UINT16_MAX}


class Intensities(NamedTuple):
    """Pixels of a type that the following steps take, and their full scale."""

    pixels: Any
    """uint8, uint16 or float32, ``(channel, height, width)``."""
    full_scale: float
    warnings: tuple[str, ...]


def check_intensities(pixels: Any, where: object) -> Intensities:
    """Check the type of *pixels* and find their full scale.

    Parameters
    ----------
    pixels
        Dask array ``(channel, height, width)``.
    where
        The image, for messages.

    Returns
    -------
    Intensities
        8 and 16 bit counts are passed on unread; their full scale is that of the type. Floats and
        other integers are read once, to see their range: floats become float32 with the full scale
        max(1, largest value); other integers become uint16 where they fit and float32 otherwise.

    Raises
    ------
    ImageReadError
        Where the pixels are no intensities: true or false, complex, not finite, negative counts.
    """
    dtype = np.dtype(pixels.dtype)
    if dtype.name in _FULL_SCALE:
        return Intensities(pixels, _FULL_SCALE[dtype.name], ())
    if dtype.kind == "f":
        return _check_floats(pixels, where)
    if dtype.kind in "iu":
        return _check_integers(pixels, where)
    raise ImageReadError(
        f"{where} holds pixels of the type {dtype}, which are no intensities. "
        "Export the raw image as 8 or 16 bit or as float."
    )


def _check_floats(pixels: Any, where: object) -> Intensities:
    import dask.array as da

    pixels = pixels.map_blocks(_to_float32, dtype=np.float32)
    finite = da.isfinite(pixels)
    known = da.where(finite, pixels, 0)
    n_odd, low, high = _compute((~finite).sum(), known.min(), known.max())
    if n_odd:
        raise ImageReadError(
            f"{where} has {int(n_odd)} pixels that are no number or infinite. "
            "Replace them, for instance by 0, or export the raw image."
        )
    warnings = []
    if low < 0:
        warnings.append(
            f"The image has negative values (down to {float(low):g}); it may be processed "
            "already, and thresholds in counts do not apply."
        )
    full_scale = max(1.0, float(high))
    if full_scale > 1:
        warnings.append(
            f"The image holds floats up to {full_scale:g}, which count as full scale; brightness "
            "cannot be compared between such images."
        )
    return Intensities(pixels, full_scale, tuple(warnings))


def _to_float32(block: npt.NDArray[Any]) -> FloatArray:
    # What is too large for float32 becomes infinite, and is counted as such.
    with np.errstate(all="ignore"):
        return block.astype(np.float32)


def _check_integers(pixels: Any, where: object) -> Intensities:
    low, high = (int(value) for value in _compute(pixels.min(), pixels.max()))
    if low < 0:
        raise ImageReadError(
            f"{where} holds {pixels.dtype} counts down to {low}; a camera counts from 0. "
            "Export the raw image as 8 or 16 bit, or convert it to float."
        )
    if high <= _UINT16_MAX:
        note = f"The pixels of the type {pixels.dtype} were read as uint16."
        return Intensities(pixels.astype(np.uint16), _UINT16_MAX, (note,))
    note = f"The pixels of the type {pixels.dtype} reach {high}, which counts as full scale."
    return Intensities(pixels.astype(np.float32), float(high), (note,))


def _compute(*lazy: Any) -> tuple[Any, ...]:
    """Compute several dask values in one pass over the pixels."""
    from dask.base import compute

    values: tuple[Any, ...] = compute(*lazy)  # type: ignore[no-untyped-call]
    return values
