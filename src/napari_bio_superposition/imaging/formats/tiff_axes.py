"""Which page of a TIFF series is which channel, focal plane and time point. No files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import ImageReadError, list_choices
from napari_bio_superposition.imaging.formats.stack import choose_time

MAX_GUESSED_CHANNELS: Final = 16
"""An axis without a name is taken for channels up to this length."""

_LEADING: Final = "TCZ"


@dataclass(frozen=True)
class PageAxes:
    """The axes of a series that run over pages: letters among T, C, Z, each once, and lengths."""

    letters: str
    shape: tuple[int, ...]
    warnings: tuple[str, ...] = ()


def name_page_axes(
    axes: str, shape: Sequence[int], page_axes: str, wanted: str, where: object
) -> PageAxes:
    """Find the meaning of the axes that run over pages.

    Parameters
    ----------
    axes, shape
        Of the series, as tifffile gives them.
    page_axes
        Of one page: YX, YXS or SYX.
    wanted
        The user's letters for all axes, or an empty string.
    where
        The file, for messages.

    Raises
    ------
    ImageReadError
        Where an axis has no meaning we know, or the user's letters do not fit.
    """
    described = list_choices(f"{axis}={size}" for axis, size in zip(axes, shape, strict=True))
    if not axes.endswith(page_axes) or page_axes not in ("YX", "YXS", "SYX"):
        raise ImageReadError(
            f"{where} has the axes {described} in pages of {page_axes}; a page has to be one plane "
            "(Y, X). Save the image as OME-TIFF."
        )
    named = [
        (axis, size)
        for axis, size in zip(axes, shape, strict=True)
        if size > 1 or axis in (*_LEADING, *page_axes)
    ]
    letters = "".join(axis for axis, _ in named)
    leading = letters[: len(letters) - len(page_axes)]
    sizes = tuple(size for _, size in named)[: len(leading)]
    if wanted:
        if len(wanted) != len(letters) or not wanted.endswith(page_axes):
            raise ImageReadError(
                f"{where} has the axes {described}; {wanted!r} does not fit. Give one letter for "
                f"each of {letters}, ending in {page_axes}."
            )
        return PageAxes(wanted[: len(leading)], sizes)
    return _guess_unnamed(leading, sizes, where, described)


def _guess_unnamed(letters: str, shape: tuple[int, ...], where: object, described: str) -> PageAxes:
    unknown = [index for index, axis in enumerate(letters) if axis not in _LEADING]
    if not unknown:
        return PageAxes(letters, shape)
    length = shape[unknown[0]]
    if len(unknown) == 1 and "C" not in letters and length <= MAX_GUESSED_CHANNELS:
        warning = (
            f"The file does not say what its {length} pages are; they were taken for channels. "
            'Set `axes` to "ZYX" if they are focal planes.'
        )
        return PageAxes(letters.replace(letters[unknown[0]], "C"), shape, (warning,))
    raise ImageReadError(
        f"{where} has the axes {described}, of which "
        f"{list_choices(letters[index] for index in unknown)} have no known meaning. "
        "Set `axes` with the letters T (time), C (channel), Z (focal plane), Y and X."
    )


def arrange_pages(axes: PageAxes, time: int | None, where: object) -> npt.NDArray[np.int64]:
    """Return the number of the page of each channel and focal plane, ``(channel, plane)``.

    Parameters
    ----------
    axes
        See `name_page_axes`.
    time
        The time point to read, ``None`` where there is only one.
    where
        The file, for messages.
    """
    letters = axes.letters
    numbers: npt.NDArray[Any] = np.arange(math.prod(axes.shape), dtype=np.int64)
    numbers = numbers.reshape(axes.shape)
    for axis in _LEADING:
        if axis not in letters:
            numbers, letters = numbers[np.newaxis], axis + letters
    ordered = numbers.transpose([letters.index(axis) for axis in _LEADING])
    chosen: npt.NDArray[np.int64] = ordered[choose_time(len(ordered), time, where)]
    return chosen
