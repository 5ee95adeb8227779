"""Further formats through bioio, whose readers (bioio-dv, bioio-bioformats) are its plug-ins."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.stack import Plane
from napari_bio_superposition.imaging.formats.vendor import Scene


@contextmanager
def open_file(library: Any, path: Path) -> Iterator["BioioFile"]:
    """Open a file by whichever of the installed readers takes it."""
    yield BioioFile(_open(library, path))


def _open(library: Any, path: Path) -> Any:
    try:
        return library.BioImage(path)
    except Exception as error:
        # Named by class, since bioio_base, where it lives, need not be importable by itself.
        if type(error).__name__ != "UnsupportedFileFormatError":
            raise
        raise ImageReadError(
            f"No installed reader of bioio takes {path.name}. Install the one for "
            f"{path.suffix} files (bioio-dv, bioio-bioformats; see the list of bioio), or export "
            "the image as OME-TIFF."
        ) from error


@dataclass(frozen=True)
class BioioFile:
    """Scenes of a file, in its order."""

    image: Any

    def scenes(self) -> tuple[Scene, ...]:
        """Return one image per scene."""
        return tuple(self._describe(number) for number in range(len(self.image.scenes)))

    def plane(self, scene: int, time: int, channel: int, plane: int) -> Plane:
        """Return one plane."""
        self.image.set_scene(scene)
        lazy = self.image.get_image_dask_data("YX", T=time, C=channel, Z=plane)
        return np.asarray(lazy)

    def _describe(self, number: int) -> Scene:
        self.image.set_scene(number)
        sizes = dict(zip(self.image.dims.order, self.image.shape, strict=True))
        further = {axis: n for axis, n in sizes.items() if axis not in "TCZYX" and n > 1}
        if further:
            raise ImageReadError(
                f"It has the further axes {further} (colour samples, tiles). Export it as OME-TIFF."
            )
        size_um = self.image.physical_pixel_sizes
        return Scene(
            name=str(self.image.scenes[number]),
            n_times=sizes["T"],
            shape=(sizes["C"], sizes["Z"], sizes["Y"], sizes["X"]),
            dtype=np.dtype(self.image.dtype).name,
            channel_names=tuple(str(name) for name in self.image.channel_names),
            pixel_size_um=(size_um.X or None, size_um.Y or None),
        )
