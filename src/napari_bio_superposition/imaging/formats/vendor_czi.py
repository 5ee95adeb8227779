"""Zeiss CZI through pylibCZIrw."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.stack import Plane
from napari_bio_superposition.imaging.formats.vendor import Scene

_DTYPES: Final = {"Gray8": "uint8", "Gray16": "uint16", "Gray32Float": "float32"}
_UM_PER_M: Final = 1e6


@contextmanager
def open_file(library: Any, path: Path) -> Iterator["CziFile"]:
    """Open a CZI file."""
    with library.open_czi(str(path)) as reader:
        yield CziFile(reader)


@dataclass(frozen=True)
class CziFile:
    """Scenes of a CZI file; tiles of a scene come stitched."""

    reader: Any

    def scenes(self) -> tuple[Scene, ...]:
        """Return one image per scene."""
        box = self.reader.total_bounding_box
        sizes = {axis: box[axis][1] - box[axis][0] for axis in "TCZ" if axis in box}
        kind = self.reader.get_channel_pixel_type(0)
        if kind not in _DTYPES:
            raise ImageReadError(
                f"Its pixels are {kind}; only grey values are read. Export it as OME-TIFF."
            )
        places = self.reader.scenes_bounding_rectangle
        rectangles = [places[key] for key in sorted(places)] or [
            self.reader.total_bounding_rectangle
        ]
        n_channels = sizes.get("C", 1)
        return tuple(
            Scene(
                name=f"scene {number + 1}" if places else "",
                n_times=sizes.get("T", 1),
                shape=(n_channels, sizes.get("Z", 1), rectangle.h, rectangle.w),
                dtype=_DTYPES[kind],
                channel_names=self._channel_names(n_channels),
                pixel_size_um=self._pixel_size(),
            )
            for number, rectangle in enumerate(rectangles)
        )

    def plane(self, scene: int, time: int, channel: int, plane: int) -> Plane:
        """Return one plane."""
        keys = sorted(self.reader.scenes_bounding_rectangle)
        place = {"T": time, "C": channel, "Z": plane}
        loaded = self.reader.read(plane=place, scene=keys[scene] if keys else None)
        return np.ascontiguousarray(loaded[..., 0])

    def _channel_names(self, n_channels: int) -> tuple[str, ...]:
        dimensions = _find(self.reader.metadata, "ImageDocument", "Metadata", "Information")
        listed = _as_list(_find(dimensions, "Image", "Dimensions", "Channels", "Channel"))
        names = [str(one.get("@Name") or "") for one in listed if isinstance(one, dict)]
        return tuple((names + [""] * n_channels)[:n_channels])

    def _pixel_size(self) -> tuple[float | None, float | None]:
        path = ("ImageDocument", "Metadata", "Scaling", "Items", "Distance")
        sizes: dict[str, float] = {}
        for item in _as_list(_find(self.reader.metadata, *path)):
            try:
                sizes[item["@Id"]] = float(item["Value"]) * _UM_PER_M
            except (KeyError, TypeError, ValueError):
                continue
        return sizes.get("X") or None, sizes.get("Y") or None


def _find(tree: Any, *names: str) -> Any:
    """Return what lies below *names* in nested dicts; ``None`` where nothing does."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
