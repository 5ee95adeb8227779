"""From paths to fields: what a list of files, folders and exports holds, without reading pixels."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, overload

from napari_bio_superposition.core.errors import ImageReadError, MissingExtraError, list_choices
from napari_bio_superposition.core.types import Acquisition
from napari_bio_superposition.imaging.formats import harmony, ome_zarr, png, tiff
from napari_bio_superposition.imaging.formats.failures import explaining
from napari_bio_superposition.imaging.formats.ome_zarr_metadata import is_zarr_group
from napari_bio_superposition.imaging.formats.stack import FieldEntry, Stack, choose_entry
from napari_bio_superposition.imaging.formats.vendor import VENDOR_FORMATS
from napari_bio_superposition.imaging.naming import (
    clean_id,
    natural_key,
    parse_filename,
    separate_ids,
    stem_of,
)
from napari_bio_superposition.imaging.read_config import ReadConfig

TIFF_SUFFIXES: Final = (".tif", ".tiff", ".btf", ".tf8", ".lsm")
PNG_SUFFIXES: Final = (".png",)
_LOSSY: Final = (".jpg", ".jpeg", ".gif", ".webp", ".bmp")


class Format(Protocol):
    """What every module of `formats` offers."""

    def list_entries(self, path: Path) -> tuple[FieldEntry, ...]:
        """Return the images of a file or folder."""

    def open_stack(self, path: Path, entry: FieldEntry, config: ReadConfig) -> Stack:
        """Return the lazy planes of one of them."""


@dataclass(frozen=True)
class FieldReference:
    """One field of view that can be read later, here or in another process.

    Parameters
    ----------
    id
        Unique in the list it comes from; the id of the image and of its patches.
    path
        File, export folder or Zarr group.
    field
        What chooses the image within *path*; empty where there is only one.
    acquisition
        What the names tell; the same object that the image will have.
    entry
        What the format needs to open it; ``None`` where it could not be found out.
    """

    id: str
    path: Path
    field: str
    acquisition: Acquisition
    entry: FieldEntry | None = dataclasses.field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class FieldList(Sequence[FieldReference]):
    """Fields in natural order, and what was left out.

    Parameters
    ----------
    fields
        The fields.
    skipped
        Files and folders that hold no image, each with the reason.
    """

    fields: tuple[FieldReference, ...]
    skipped: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.fields)

    @overload
    def __getitem__(self, index: int) -> FieldReference: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[FieldReference, ...]: ...

    def __getitem__(self, index: Any) -> Any:
        return self.fields[index]


def open_fields(
    paths: str | Path | Iterable[str | Path], config: ReadConfig | None = None
) -> FieldList:
    """Find the fields of files, folders of images, Harmony exports and OME-Zarr groups.

    Parameters
    ----------
    paths
        One or more; what a folder holds is taken in natural order (s2 before s10). Folders inside
        a folder are taken only where they are Harmony exports or OME-Zarr groups.
    config
        ``filename_pattern``, and ``series`` to take one image of each file that holds several.

    Returns
    -------
    FieldList
        A file that looks like an image but is damaged is listed; reading it tells why it fails.

    Raises
    ------
    ImageReadError
        Where a path does not exist, or nothing that can be read is found at all.
    """
    config = config or ReadConfig()
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    _check_exist(given)
    found: list[tuple[Path, FieldEntry | None]] = []
    skipped: list[tuple[Path, str]] = []
    for path in given:
        sources = _scan_folder(path, skipped) if _is_plain_folder(path) else [path]
        for source in sources:
            found.extend((source, entry) for entry in _list_readable(source, config))
    if not found:
        reasons = list_choices(f"{path.name}: {reason}" for path, reason in skipped[:5])
        raise ImageReadError(
            f"No image in {list_choices(given)} ({reasons}). "
            f"Readable are {list_choices((*TIFF_SUFFIXES, *PNG_SUFFIXES, *VENDOR_FORMATS))}, "
            "OME-Zarr folders and Harmony exports."
        )
    return FieldList(_name_fields(_drop_repeated(found), config), tuple(skipped))


def list_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the files and groups behind `open_fields`, each once."""
    return list(dict.fromkeys(reference.path for reference in open_fields(paths)))


def choose_format(path: Path) -> Format:
    """Return the module that reads *path*.

    Raises
    ------
    ImageReadError
        Where no module does; it says what to do with known foreign formats.
    """
    _check_exist([path])
    with explaining(path):
        if path.is_dir():
            if is_zarr_group(path):
                return ome_zarr
            if harmony.find_index(path):
                return harmony
            raise ImageReadError(
                f"{path} is a folder that is neither an OME-Zarr group nor a Harmony export. "
                "Choose one of its files, or use `open_fields` for all of them."
            )
        if reason := _why_unreadable(path):
            raise ImageReadError(f"{path} {reason}.")
    if path.suffix.lower() in PNG_SUFFIXES:
        return png
    if vendor := VENDOR_FORMATS.get(path.suffix.lower()):
        return vendor
    return harmony if path.suffix.lower() == ".xml" else tiff


def _why_unreadable(file: Path) -> str:
    """Return why a file is no image for us, by its name; empty where it may be one."""
    suffix = file.suffix.lower()
    if suffix in (*TIFF_SUFFIXES, *PNG_SUFFIXES, *VENDOR_FORMATS):
        return ""
    if suffix == ".xml" and harmony.find_index(file):
        return ""
    if suffix in _LOSSY:
        return f"is {suffix}, which does not keep intensities; export it as OME-TIFF"
    return "is no image"


def _is_plain_folder(path: Path) -> bool:
    with explaining(path):
        return path.is_dir() and not is_zarr_group(path) and harmony.find_index(path) is None


def _scan_folder(folder: Path, skipped: list[tuple[Path, str]]) -> Iterator[Path]:
    with explaining(folder):
        items = sorted(
            (item for item in folder.iterdir() if not item.name.startswith(".")), key=natural_key
        )
    parts: set[str] = set()
    for item in items:
        if item.is_dir():
            reason = "is a folder; give it by itself" if _is_plain_folder(item) else ""
        elif item.name in parts:
            reason = "belongs to another file of the same data set"
        else:
            reason = _why_unreadable(item)
        if reason:
            skipped.append((item, reason))
            continue
        parts |= _list_companions(item)
        yield item


def _list_companions(file: Path) -> frozenset[str]:
    if file.suffix.lower() not in TIFF_SUFFIXES:
        return frozenset()
    try:
        return tiff.list_companions(file)
    except ImageReadError:
        return frozenset()


def _list_readable(path: Path, config: ReadConfig) -> Sequence[FieldEntry | None]:
    """Return the entries of *path*; a ``None`` where reading it has to tell what is wrong."""
    try:
        entries = choose_format(path).list_entries(path)
        return (choose_entry(entries, config.series, path),) if config.series else entries
    except (ImageReadError, MissingExtraError):
        return (None,)


def _check_exist(paths: Sequence[Path]) -> None:
    missing = []
    for path in paths:
        with explaining(path):
            if not path.exists():
                missing.append(path)
    if missing:
        raise ImageReadError(
            f"{list_choices(missing)} does not exist. Check the path, and whether the drive is "
            "connected."
        )


def _drop_repeated(
    found: Sequence[tuple[Path, FieldEntry | None]],
) -> list[tuple[Path, FieldEntry | None]]:
    """Keep the first of those that name the same image by different paths."""
    unique: dict[tuple[Path, str | None], tuple[Path, FieldEntry | None]] = {}
    for path, entry in found:
        origin = path if entry is None or entry.origin is None else entry.origin
        key = None if entry is None else entry.key
        unique.setdefault((origin.resolve(), key), (path, entry))
    return list(unique.values())


def _name_fields(
    found: Sequence[tuple[Path, FieldEntry | None]], config: ReadConfig
) -> tuple[FieldReference, ...]:
    # What a folder's own index names is told apart by the folder itself, not by its parent.
    paths = [path / entry.key if entry and entry.identity else path for path, entry in found]
    ids = separate_ids([propose_id(path, entry) for path, entry in found], paths)
    return tuple(
        refer_to(path, entry, id_, config) for id_, (path, entry) in zip(ids, found, strict=True)
    )


def refer_to(path: Path, entry: FieldEntry | None, id_: str, config: ReadConfig) -> FieldReference:
    """Return the reference to an entry; what the file says goes before what its name tells."""
    told = parse_filename(stem_of(path), config.filename_pattern)
    said = {} if entry is None else {key: text for key, text in entry.acquisition.items() if text}
    return FieldReference(
        id=id_,
        path=path,
        field="" if entry is None else entry.key,
        acquisition=Acquisition(id=id_, **{**told, **said}),
        entry=entry,
    )


def propose_id(path: Path, entry: FieldEntry | None) -> str:
    """Return the id of an image as long as no other one shares it."""
    if entry is not None and entry.identity:
        return clean_id(entry.identity)
    stem = stem_of(path if path.name not in ("", "..") else path.resolve())
    return clean_id(f"{stem}_{entry.key}" if entry is not None and entry.key else stem)
