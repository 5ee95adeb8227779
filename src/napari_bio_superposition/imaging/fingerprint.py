"""The identity of a field by the bytes of its files, without decoding a pixel."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.formats import harmony, tiff
from napari_bio_superposition.imaging.formats.failures import explaining

_BLOCK = 1 << 20


def fingerprint(reference: FieldReference) -> str:
    """Return the SHA-256 of the names and bytes of all files that a field is read from.

    Parameters
    ----------
    reference
        From `open_fields`.

    Raises
    ------
    ImageReadError
        Where a file cannot be read.

    Notes
    -----
    Of a Harmony export the index does not count, since it says the same of a field however many
    others it lists; of an OME-Zarr group everything below the image counts.
    """
    digest = hashlib.sha256(reference.field.encode())
    with explaining(reference.path):
        for name, file in sorted(_list_files(reference)):
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
    return digest.hexdigest()


def _list_files(reference: FieldReference) -> Iterator[tuple[str, Path]]:
    """Yield each file with the name that identifies it within the field."""
    path = reference.path
    source = None if reference.entry is None else reference.entry.source
    if isinstance(source, harmony.HarmonyField):
        for file in harmony.list_files(source):
            yield file.name, file
    elif path.is_dir():
        group = path / reference.field if reference.field else path
        for file in (group if group.is_dir() else path).rglob("*"):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file
    else:
        yield path.name, path
        if path.suffix.lower() != ".png":
            for name in tiff.list_companions(path) - {path.name}:
                if (path.parent / name).is_file():
                    yield name, path.parent / name
