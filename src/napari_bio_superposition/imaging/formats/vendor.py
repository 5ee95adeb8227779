"""Files of microscope makers (nd2, lif, czi, more by bioio) through libraries that read them.

A further format is a module whose `open_file` gives a `VendorFile`, and a line in `VENDOR_FORMATS`.
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError, MissingExtraError
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.stack import (
    FieldEntry,
    Plane,
    Stack,
    check_shape,
    choose_time,
    lazy_planes,
    mean_pixel_size,
)
from napari_bio_superposition.imaging.read_config import ReadConfig


@dataclass(frozen=True)
class Scene:
    """One image of a vendor's file, without its pixels."""

    name: str
    n_times: int
    shape: tuple[int, int, int, int]
    """Channels, planes, height, width."""
    dtype: str
    channel_names: tuple[str, ...]
    pixel_size_um: tuple[float | None, float | None]
    """Width and height of a pixel."""


class VendorFile(Protocol):
    """An open file of one or more images."""

    def scenes(self) -> tuple[Scene, ...]:
        """Return what the file holds."""

    def plane(self, scene: int, time: int, channel: int, plane: int) -> Plane:
        """Return one plane ``(height, width)``."""


class Opener(Protocol):
    """Opens a file with the vendor's library, which is given."""

    def __call__(self, library: Any, path: Path) -> AbstractContextManager[VendorFile]:
        """Return the open file."""


@dataclass(frozen=True)
class VendorFormat:
    """A format as `imaging.fields` asks for it.

    Parameters
    ----------
    library
        Module that reads the format.
    extra
        Extra of this package that installs it.
    opener
        Where the opening function lives: the name of a module beside this one.
    """

    library: str
    extra: str
    opener: str

    def list_entries(self, path: Path) -> tuple[FieldEntry, ...]:
        """Return the images of a file."""
        with self.open(path) as file:
            scenes = file.scenes()
        if len(scenes) == 1:
            return (FieldEntry(name=scenes[0].name),)
        return tuple(
            FieldEntry(key=str(number), name=scene.name) for number, scene in enumerate(scenes)
        )

    def open_stack(self, path: Path, entry: FieldEntry, config: ReadConfig) -> Stack:
        """Return the lazy planes of one image."""
        number = int(entry.key or 0)
        with self.open(path) as file:
            scene = file.scenes()[number]
        check_shape(scene.shape, path)
        time = choose_time(scene.n_times, config.time, path)
        planes = _VendorPlanes(self, path, number, time, scene.shape[2:], scene.dtype)
        size_um, warnings = mean_pixel_size(*scene.pixel_size_um)
        return Stack(
            pixels=lazy_planes(planes, scene.shape, np.dtype(scene.dtype)),
            present=np.ones(scene.shape[:2], bool),
            channel_names=scene.channel_names,
            pixel_size_um=size_um,
            warnings=warnings,
        )

    @contextmanager
    def open(self, path: Path) -> Iterator[VendorFile]:
        """Open a file.

        Raises
        ------
        MissingExtraError
            Where the library is not installed; it names the extra.
        ImageReadError
            Where the file is damaged.
        """
        library = self._import(path)
        module = importlib.import_module(f"{__package__}.{self.opener}")
        opener: Opener = module.open_file
        with explaining(path), opener(library, path) as file:
            yield file

    def _import(self, path: Path) -> ModuleType:
        try:
            return importlib.import_module(self.library)
        except ImportError as error:
            purpose = f"Reading {path.suffix} files"
            raise MissingExtraError(self.library, self.extra, purpose) from error


@dataclass(frozen=True)
class _VendorPlanes:
    """Load one plane; the file is opened and closed each time, so that processes can share it."""

    format: VendorFormat
    path: Path
    scene: int
    time: int
    shape: tuple[int, int]
    dtype: str

    def __call__(self, channel: int, plane: int) -> Plane:
        with self.format.open(self.path) as file:
            loaded = np.asarray(file.plane(self.scene, self.time, channel, plane))
        if loaded.shape != self.shape or loaded.dtype != np.dtype(self.dtype):
            raise ImageReadError(
                f"{self.path}: a plane is {loaded.shape} {loaded.dtype}, but the first one is "
                f"{self.shape} {self.dtype}. Export the image as OME-TIFF."
            )
        return loaded


VENDOR_FORMATS: Final[Mapping[str, VendorFormat]] = {
    ".nd2": VendorFormat("nd2", "nd2", "vendor_nd2"),
    ".lif": VendorFormat("liffile", "lif", "vendor_lif"),
    ".czi": VendorFormat("pylibCZIrw.czi", "czi", "vendor_czi"),
    **dict.fromkeys(
        (".oib", ".oif", ".vsi", ".ims", ".stk", ".dv", ".mrxs"),
        VendorFormat("bioio", "bioio", "vendor_bioio"),
    ),
}
"""By the ending of the file's name."""
