"""What ImageJ writes into a TIFF: channel names in slice labels, pixel size with its unit."""

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.imaging.formats.lengths import um_per_unit
from napari_bio_superposition.imaging.formats.stack import mean_pixel_size

_PREFIX: Final = re.compile(r"^(?:[czt]:\d+/\d+\s*)+(?:-\s*)?")


def read_labels(metadata: Mapping[str, Any], pages: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """Return the name of each channel from the labels of the slices; empty where they do not help.

    Parameters
    ----------
    metadata
        As tifffile parses it; ``Labels`` has one text per page.
    pages
        Number of the page, ``(channel, plane)``.
    """
    nothing = ("",) * len(pages)
    labels = metadata.get("Labels")
    if not isinstance(labels, list | tuple) or len(labels) <= int(pages.max()):
        return nothing
    names = tuple(
        _PREFIX.sub("", str(labels[int(number)]).strip().split("\n")[0]) for number in pages[:, 0]
    )
    # A label that repeats is the name of the file, not of a channel.
    return names if len(set(names)) == len(names) else nothing


def read_pixel_size(
    metadata: Mapping[str, Any], pixels_per_unit: tuple[float | None, float | None]
) -> tuple[float | None, tuple[str, ...]]:
    """Return the pixel size in micrometre and warnings.

    Parameters
    ----------
    metadata
        Its ``unit`` is a length, or ``pixel`` or missing where the image is not calibrated.
    pixels_per_unit
        Resolution in x and y.
    """
    unit = str(metadata.get("unit", ""))
    factor = um_per_unit(unit)
    if factor is not None:
        return mean_pixel_size(
            *(factor / resolution if resolution else None for resolution in pixels_per_unit)
        )
    if unit.strip().lower() in ("", "pixel", "pixels"):
        return None, ()
    return None, (f"The unit {unit!r} of the pixel size is no length; it was ignored.",)
