"""Nikon ND2 through nd2."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.stack import Plane
from napari_bio_superposition.imaging.formats.vendor import Scene

_KNOWN_AXES: Final = frozenset("TPZCYX")


@contextmanager
def open_file(library: Any, path: Path) -> Iterator["Nd2File"]:
    """Open an ND2 file."""
    with library.ND2File(path) as file:
        yield Nd2File(file)


@dataclass(frozen=True)
class Nd2File:
    """Stage positions of an ND2 file."""

    file: Any

    def scenes(self) -> tuple[Scene, ...]:
        """Return one image per stage position."""
        sizes = dict(self.file.sizes)
        further = {axis: n for axis, n in sizes.items() if axis not in _KNOWN_AXES and n > 1}
        if further:
            raise ImageReadError(
                f"It has the further axes {further} (colour samples, custom loops). "
                "Export it as OME-TIFF."
            )
        n_channels = sizes.get("C", 1)
        channels = self.file.metadata.channels or []
        names = [str(one.channel.name or "") for one in channels]
        voxel = self.file.voxel_size()
        n_positions = sizes.get("P", 1)
        return tuple(
            Scene(
                name=f"position {number + 1}" if n_positions > 1 else "",
                n_times=sizes.get("T", 1),
                shape=(n_channels, sizes.get("Z", 1), sizes["Y"], sizes["X"]),
                dtype=np.dtype(self.file.dtype).name,
                channel_names=tuple((names + [""] * n_channels)[:n_channels]),
                pixel_size_um=(voxel.x or None, voxel.y or None),
            )
            for number in range(n_positions)
        )

    def plane(self, scene: int, time: int, channel: int, plane: int) -> Plane:
        """Return one plane; a frame of the file holds all channels of one place, plane and time."""
        place = {"T": time, "P": scene, "Z": plane}
        axes = [(axis, n) for axis, n in self.file.sizes.items() if axis in place]
        sizes = tuple(n for _, n in axes)
        index = np.ravel_multi_index([place[axis] for axis, _ in axes], sizes) if axes else 0
        frame = np.asarray(self.file.read_frame(int(index)))
        height, width = self.file.sizes["Y"], self.file.sizes["X"]
        channels = frame.reshape(math.prod(frame.shape) // (height * width), height, width)
        return np.ascontiguousarray(channels[channel])
