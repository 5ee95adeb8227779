"""Leica LIF through liffile."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.stack import Plane
from napari_bio_superposition.imaging.formats.vendor import Scene

_KNOWN_AXES: Final = frozenset("TCZYX")
_UM_PER_M: Final = 1e6


@contextmanager
def open_file(library: Any, path: Path) -> Iterator["LifFile"]:
    """Open a LIF file."""
    with library.LifFile(path) as file:
        yield LifFile([image for image in file.images if {"Y", "X"} <= set(image.dims)])


@dataclass(frozen=True)
class LifFile:
    """Images of a LIF file, in its order."""

    images: list[Any]

    def scenes(self) -> tuple[Scene, ...]:
        """Return one entry per image."""
        return tuple(self._describe(image) for image in self.images)

    def plane(self, scene: int, time: int, channel: int, plane: int) -> Plane:
        """Return one plane."""
        image = self.images[scene]
        place = {"T": time, "C": channel, "Z": plane}
        return np.asarray(image.frame(**{a: n for a, n in place.items() if a in image.sizes}))

    def _describe(self, image: Any) -> Scene:
        sizes: Mapping[str, int] = image.sizes
        further = {axis: n for axis, n in sizes.items() if axis not in _KNOWN_AXES and n > 1}
        if further:
            raise ImageReadError(
                f"The image {image.name!r} has the further axes {further} (tiles, wavelengths). "
                "Export its tiles as OME-TIFF."
            )
        n_channels = sizes.get("C", 1)
        names = [str(name) for name in np.atleast_1d(image.coords.get("C", []))]
        named = names if len(names) == n_channels and not all(map(str.isdigit, names)) else []
        return Scene(
            name=str(image.name),
            n_times=sizes.get("T", 1),
            shape=(n_channels, sizes.get("Z", 1), sizes["Y"], sizes["X"]),
            dtype=np.dtype(image.dtype).name,
            channel_names=tuple(named or [""] * n_channels),
            pixel_size_um=(_step_um(image, "X"), _step_um(image, "Y")),
        )


def _step_um(image: Any, axis: str) -> float | None:
    """Return the distance of two pixels; coordinates of LIF images are metres."""
    places = np.asarray(image.coords.get(axis, []), dtype=float)
    return abs(float(places[1] - places[0])) * _UM_PER_M or None if len(places) > 1 else None
