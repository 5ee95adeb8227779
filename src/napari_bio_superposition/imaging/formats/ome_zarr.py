"""OME-Zarr 0.4 and 0.5: images, image collections and plates, read chunk by chunk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.ome_zarr_metadata import (
    AXES,
    Multiscale,
    check_relative_path,
    is_zarr_group,
    parse_multiscales,
    read_attributes,
)
from napari_bio_superposition.imaging.formats.stack import (
    FieldEntry,
    Plane,
    Stack,
    check_shape,
    choose_time,
)
from napari_bio_superposition.imaging.read_config import ReadConfig

_CHUNK_SIDE_PX: Final = 1024
"""Smaller chunks of a file are read together: each costs a task."""


def list_entries(path: Path) -> tuple[FieldEntry, ...]:
    """Return the images of an OME-Zarr group: one, several, or the fields of a plate.

    Raises
    ------
    ImageReadError
        Where the metadata are missing or damaged.
    """
    with explaining(path):
        attributes = read_attributes(path)
        if "plate" in attributes:
            return tuple(_list_plate(path, attributes["plate"]))
        if "well" in attributes:
            return tuple(_list_well(path, "", attributes, {}))
        if "multiscales" not in attributes and "bioformats2raw.layout" in attributes:
            return tuple(_list_collection(path))
        images = parse_multiscales(attributes, path)
    if len(images) == 1:
        return (FieldEntry(name=images[0].name),)
    return tuple(
        FieldEntry(key=str(number), name=image.name, source=("", number))
        for number, image in enumerate(images)
    )


def _list_collection(path: Path) -> Iterator[FieldEntry]:
    """List what bioformats2raw writes: one group per image, named 0, 1, ..."""
    folders = (folder for folder in path.iterdir() if folder.name.isdecimal())
    groups = sorted((f for f in folders if is_zarr_group(f)), key=lambda f: (len(f.name), f.name))
    if not groups:
        raise ImageReadError(f"{path} holds no image. Convert the image again.")
    for folder in groups:
        image = parse_multiscales(read_attributes(folder), folder)[0]
        key = "" if len(groups) == 1 else folder.name
        yield FieldEntry(key=key, name=image.name, source=(folder.name, 0))


def _list_plate(path: Path, plate: Any) -> Iterator[FieldEntry]:
    wells = plate.get("wells") if isinstance(plate, dict) else None
    if not isinstance(wells, list) or not wells:
        raise ImageReadError(f"{path} is a plate without wells. Convert the plate again.")
    name = plate.get("name") if isinstance(plate.get("name"), str) else ""
    for well in wells:
        group = check_relative_path(well.get("path") if isinstance(well, dict) else None, path)
        known = {"plate": name, "well": group.replace("/", "")}
        yield from _list_well(path, group, read_attributes(path / group), known)


def _list_well(
    path: Path, group: str, attributes: Any, known: dict[str, str]
) -> Iterator[FieldEntry]:
    well = attributes.get("well")
    images = well.get("images") if isinstance(well, dict) else None
    if not isinstance(images, list) or not images:
        raise ImageReadError(f"{path / group} is a well without images. Convert the plate again.")
    for image in images:
        field = check_relative_path(image.get("path") if isinstance(image, dict) else None, path)
        key = f"{group}/{field}" if group else field
        place = [known.get("plate") or "", known.get("well", ""), field]
        yield FieldEntry(
            key=key,
            acquisition={**known, "field": field},
            identity="_".join(filter(None, place)) if known.get("plate") else "",
            source=(key, 0),
        )


def open_stack(path: Path, entry: FieldEntry, config: ReadConfig) -> Stack:
    """Return the lazy planes of one image; see `tiff.open_stack`."""
    group, number = entry.source or ("", 0)
    folder = path / group
    with explaining(folder):
        images = parse_multiscales(read_attributes(folder), folder)
        image = images[number]
        array = _open_array(folder / image.level)
        pixels = _arrange(array, image, config, folder)
    return Stack(
        pixels=pixels,
        present=np.ones(pixels.shape[:2], bool),
        channel_names=_fit_names(image.channel_names, pixels.shape[0]),
        pixel_size_um=image.pixel_size_um,
        translate_um=image.translate_um,
        warnings=image.warnings,
    )


@dataclass(frozen=True, eq=False)
class _ZarrPixels:
    """An array whose failures name the file; dask indexes it on demand."""

    array: Any
    path: Path

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return len(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        native: np.dtype[Any] = np.dtype(self.array.dtype).newbyteorder("=")
        return native

    def __getitem__(self, key: Any) -> Plane:
        with explaining(self.path):
            return np.asarray(self.array[key], self.dtype)


def _open_array(folder: Path) -> _ZarrPixels:
    import warnings

    import zarr

    if not folder.is_dir():
        raise ImageReadError(f"{folder}, the full resolution, is missing. Copy the image again.")
    with warnings.catch_warnings():
        # About codecs outside the specification, which our users can do nothing about.
        warnings.simplefilter("ignore")
        array = zarr.open_array(store=str(folder), mode="r")
    if array.dtype.kind not in "biufc":
        raise ImageReadError(f"{folder} holds {array.dtype}, no intensities. Convert it again.")
    return _ZarrPixels(array, folder)


def _arrange(source: _ZarrPixels, image: Multiscale, config: ReadConfig, where: Path) -> Any:
    """Return a dask array (channel, plane, height, width) of the chosen time point."""
    import dask.array as da

    if source.ndim != len(image.axes):
        raise ImageReadError(
            f"{where} has the axes {image.axes}, but its pixels have {source.ndim} axes. "
            "Convert the image again."
        )
    sizes = dict(zip(image.axes, source.shape, strict=True))
    time = choose_time(sizes.get("t", 1), config.time, where)
    check_shape([sizes.get(letter, 1) for letter in AXES[1:]], where)
    pixels = da.from_array(  # type: ignore[no-untyped-call]
        source,
        chunks=_choose_chunks(source, image.axes),
        meta=np.empty((0,) * source.ndim, source.dtype),
        name=False,  # random: a cache of dask results must not outlive a change of the file
    )
    if "t" in image.axes:
        pixels = pixels[time]
    for position, letter in enumerate("cz"):
        if letter not in image.axes:
            pixels = np.expand_dims(pixels, position)
    return pixels


def _choose_chunks(source: _ZarrPixels, axes: str) -> tuple[int, ...]:
    """Return one plane per chunk, and whole multiples of the file's chunks within it."""
    stored = source.array.chunks
    return tuple(
        1 if letter in "tcz" else max(1, -(-_CHUNK_SIDE_PX // chunk)) * chunk
        for letter, chunk in zip(axes, stored, strict=True)
    )


def _fit_names(names: tuple[str, ...], n_channels: int) -> tuple[str, ...]:
    return tuple(names[index] if index < len(names) else "" for index in range(n_channels))
