"""Reading one image: from a path or a field reference to a `MultichannelImage`, lazily."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from napari_bio_superposition.core.errors import ChannelError, list_choices
from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.imaging.fields import (
    FieldList,
    FieldReference,
    choose_format,
    list_images,
    open_fields,
    propose_id,
    refer_to,
)
from napari_bio_superposition.imaging.formats.stack import choose_entry
from napari_bio_superposition.imaging.intensities import check_intensities
from napari_bio_superposition.imaging.projection import project
from napari_bio_superposition.imaging.read_config import ReadConfig
from napari_bio_superposition.imaging.roles import describe_ambiguity, guess_roles, resolve_roles

__all__ = [
    "FieldList",
    "FieldReference",
    "list_images",
    "open_fields",
    "read_field",
    "read_image",
]


def read_image(
    path: str | Path,
    *,
    channels: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    config: ReadConfig | None = None,
    extra_roles: Iterable[str] = (),
) -> MultichannelImage:
    """Read an image: TIFF, ImageJ TIFF, OME-TIFF, PNG, OME-Zarr, or a field of a Harmony export.

    Parameters
    ----------
    path
        A file, an OME-Zarr folder, or a Harmony export (its folder or its index). Where it holds
        several images, ``config.series`` chooses one; `open_fields` lists them all.
    channels
        Names of all channels, in the file's order; ``None`` keeps those in the file, and calls
        unnamed ones "channel 1", "channel 2" and so on.
    roles
        Role to channel name; replaces what is guessed from the names (see `resolve_roles`).
    config
        Projection, time point, series and what else the file may leave open.
    extra_roles
        Valid roles beside `core.types.ROLES`.

    Returns
    -------
    MultichannelImage
        Its pixels are a dask array, read when they are needed: uint8, uint16 or float32.

    Raises
    ------
    ImageReadError
        Where the file is damaged, unsuitable, or needs a choice by the user. Damage inside the
        compressed pixels shows only when they are read, as the same error.
    ChannelError
        Where channels or roles do not fit the image.
    """
    path, config = Path(path), config or ReadConfig()
    entries = choose_format(path).list_entries(path)
    entry = choose_entry(entries, config.series, path)
    reference = refer_to(path, entry, propose_id(path, entry), config)
    return read_field(reference, config, channels=channels, roles=roles, extra_roles=extra_roles)


def read_field(
    reference: FieldReference,
    config: ReadConfig | None = None,
    *,
    channels: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    extra_roles: Iterable[str] = (),
) -> MultichannelImage:
    """Read one of the fields that `open_fields` found; see `read_image`."""
    config = config or ReadConfig()
    source = choose_format(reference.path)
    entry = reference.entry
    if entry is None:
        entry = choose_entry(source.list_entries(reference.path), config.series, reference.path)
    where = f"{reference.path}, {reference.field}" if reference.field else reference.path
    stack = source.open_stack(reference.path, entry, config)
    projected, missing = project(stack, config, where)
    pixels, full_scale, odd = check_intensities(projected, where)
    names = _choose_names(stack.channel_names, channels, where)
    image = MultichannelImage(
        pixels=pixels,
        channel_names=names,
        roles=guess_roles(names),
        full_scale=full_scale,
        pixel_size_um=config.pixel_size_um or stack.pixel_size_um,
        acquisition=reference.acquisition,
        translate_um=stack.translate_um,
        warnings=(*stack.warnings, *missing, *odd, *describe_ambiguity(names, roles or ())),
    )
    return image.with_roles(resolve_roles(image, roles or {}, extra_roles=extra_roles))


def _choose_names(
    in_file: Sequence[str], wanted: Sequence[str] | None, where: object
) -> tuple[str, ...]:
    if wanted is None:
        return make_unique(in_file)
    if len(wanted) != len(in_file):
        raise ChannelError(
            f"{len(wanted)} channel names for {where}, which has {len(in_file)} channels "
            f"({list_choices(make_unique(in_file))}). Give one name per channel, or none."
        )
    return tuple(wanted)


def make_unique(names: Sequence[str]) -> tuple[str, ...]:
    """Return channel names without gaps and repetitions: "channel 2", "DAPI (2)"."""
    unique: list[str] = []
    for number, name in enumerate(names, start=1):
        plain = " ".join(name.split()) or f"channel {number}"
        candidate, repetition = plain, 1
        while candidate in unique:
            repetition += 1
            candidate = f"{plain} ({repetition})"
        unique.append(candidate)
    return tuple(unique)
