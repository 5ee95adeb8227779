"""Where the planes of an OME-TIFF lie, from its own description. Pixels load elsewhere.

The table is made here and not by tifffile, which opens every file of a set at once and trusts the
numbers in the description.
"""

import math
from pathlib import Path
from typing import Final

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.ome_xml import OmeDescription, OmeImage, TiffBlock
from napari_bio_superposition.imaging.formats.tiff_file import PlaneLocation

_MAX_STEPS: Final = 2_000_000
"""A description may name a plane twice (the later one counts), but not for minutes."""


def is_ome(description: str) -> bool:
    """Whether the description of the first page is OME-XML, intact or damaged."""
    head = description[:2000]
    return "<OME" in head or ":OME " in head or "openmicroscopy.org/Schemas/OME" in head


def locate_planes(
    path: Path, description: OmeDescription, image: OmeImage, time: int, n_own_pages: int
) -> list[list[PlaneLocation | None]]:
    """Return where each plane lies, by channel and focal plane; ``None`` where it is missing.

    Parameters
    ----------
    path
        The file that holds the description.
    description, image
        Of the file, and of the image to read.
    time
        The time point to read.
    n_own_pages
        Number of pages of *path*.
    """
    n_channels, n_planes, _ = image.size_czt
    located: list[list[PlaneLocation | None]] = [[None] * n_planes for _ in range(n_channels)]
    n_steps = 0
    for block in image.blocks or (TiffBlock(page=0, first=(0, 0, 0), n_pages=None),):
        file = _find_file(path, description, image, block)
        start = _plane_number(image, block.first)
        n_pages = math.prod(image.size_czt) - start
        n_pages = n_pages if block.n_pages is None else min(block.n_pages, n_pages)
        if file == path:
            n_pages = min(n_pages, n_own_pages - block.page)
        elif not file.exists():
            continue
        n_steps += max(n_pages, 0)
        if n_steps > _MAX_STEPS:
            raise ImageReadError(
                f"The OME description of {path} places its planes again and again. Export it again."
            )
        for step in range(n_pages):
            channel, plane, at_time = _split_number(image, start + step)
            if at_time == time:
                located[channel][plane] = PlaneLocation(file, block.page + step)
    return located


def _find_file(path: Path, description: OmeDescription, image: OmeImage, block: TiffBlock) -> Path:
    is_own = not block.file_name or block.file_name.lower() == path.name.lower()
    if is_own or (block.file_id and block.file_id == description.file_id):
        return path
    other = path.parent / block.file_name.replace("\\", "/")
    # One file that was renamed after writing still names its former self.
    was_renamed = len(image.file_names) == 1 and not other.exists()
    return path if was_renamed else other


def _plane_number(image: OmeImage, first_czt: tuple[int, int, int]) -> int:
    """Return the place of a plane in the order in which pages follow one another."""
    if any(first >= size for first, size in zip(first_czt, image.size_czt, strict=True)):
        raise ImageReadError(
            f"The OME description places a page at channel, plane, time {first_czt}, outside the "
            f"image of {image.size_czt}. Export it again."
        )
    number, stride = 0, 1
    for axis in image.order:
        index = "CZT".index(axis)
        number += first_czt[index] * stride
        stride *= image.size_czt[index]
    return number


def _split_number(image: OmeImage, number: int) -> tuple[int, int, int]:
    """Return channel, focal plane and time of a page; the inverse of `_plane_number`."""
    found = {}
    for axis in image.order:
        number, found[axis] = divmod(number, image.size_czt["CZT".index(axis)])
    return found["C"], found["Z"], found["T"]
