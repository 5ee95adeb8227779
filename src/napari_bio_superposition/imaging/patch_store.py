"""Accepted patches of many images in one folder, memory-mapped. No reading of images, no torch."""

import dataclasses
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.errors import OutputError, TableError, list_choices
from napari_bio_superposition.core.files import make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import FloatArray, IntArray, PatchSet

PATCHES_FILE: Final = "patches.npy"
OBS_FILE: Final = "obs.csv"
STORE_FILE: Final = "store.json"
JOURNAL_FILE: Final = "journal.jsonl"
CLASS: Final = "class"
"""Column of obs that a training tells apart."""
OBS_COLUMNS: Final = (
    Keys.IMAGE,
    Keys.PLATE,
    Keys.WELL,
    Keys.FIELD,
    Keys.LINE,
    Keys.GENOTYPE,
    Keys.TREATMENT,
    CLASS,
    Keys.GROUP,
    Keys.Y,
    Keys.X,
)
_PLACES = (Keys.Y, Keys.X)
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """How the patches of a store were made; ``store.json``."""

    key: str
    """Hash of settings, table and input files: a store of another key is another store."""
    channel_roles: tuple[str, ...]
    side_px: int
    pixel_size_um: float | None = None
    intensity_scaling: str = "dtype"
    low_percentile: float = 1.0
    high_percentile: float = 99.9
    class_column: str = ""
    """Where the classes come from; empty where there are none."""
    n_patches: int = 0
    n_rejected: int = 0
    """Patches that the quality control left out."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Image id to SHA-256 of its pixels."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Image id to why it gave no patches."""
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the description as JSON text."""
        return to_json({"format": _FORMAT} | dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``store.json`` of *folder*.

        Raises
        ------
        TableError
            Where it is missing or something else.
        """
        path = folder / STORE_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != _FORMAT:
                raise ValueError("another format")
            values |= {name: tuple(values[name]) for name in ("channel_roles", "warnings")}
            return cls(**values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TableError(
                f"{folder} holds no complete store of patches ({STORE_FILE}: {error}). "
                "Build it again from the images."
            ) from error


@dataclass(frozen=True, eq=False)
class PatchStore:
    """Patches on disk with what is known of each; pixels are read when they are asked for.

    Parameters
    ----------
    folder
        Holds ``patches.npy``, ``obs.csv`` and ``store.json``.
    pixels
        ``(n, channel, side, side)`` float16 in ``[0, 1]``, memory-mapped, read-only.
    obs
        One row per patch, its id as the index; the columns are `OBS_COLUMNS`.
    info
        How the patches were made.
    """

    folder: Path
    pixels: npt.NDArray[np.float16]
    obs: pd.DataFrame
    info: StoreInfo

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def roles(self) -> tuple[str, ...]:
        """Role of each channel, in order."""
        return self.info.channel_roles

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted; a patch without one has the empty name, left out here."""
        return tuple(sorted(set(self.obs[CLASS]) - {""}))

    def batch(self, rows: IntArray | slice) -> FloatArray:
        """Read some patches, ``(row, channel, side, side)`` float32."""
        return np.asarray(self.pixels[rows], dtype=np.float32)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a complete store.

        Raises
        ------
        TableError
            Where a file is missing, damaged, or does not belong to the others.
        """
        folder = Path(folder)
        info = StoreInfo.read(folder)
        try:
            pixels = np.load(folder / PATCHES_FILE, mmap_mode="r", allow_pickle=False)
            obs = _read_obs(folder / OBS_FILE)
        except (OSError, ValueError, KeyError) as error:
            raise TableError(
                f"The store of patches {folder} is damaged: {error}. Build it again."
            ) from error
        shape = (info.n_patches, len(info.channel_roles), info.side_px, info.side_px)
        if pixels.shape != shape or pixels.dtype != np.float16 or len(obs) != len(pixels):
            raise TableError(
                f"The store of patches {folder} holds {pixels.shape} {pixels.dtype} pixels and "
                f"{len(obs)} rows, its description says {shape}. Build it again."
            )
        return cls(folder, pixels, obs, info)


@dataclass(frozen=True, eq=False)
class PatchRows:
    """Some rows of a store as if they were all, read when they are asked for."""

    pixels: npt.NDArray[np.float16]
    rows: IntArray

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, channel, side, side)``."""
        return (len(self.rows), *self.pixels.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> npt.NDArray[np.float16]:
        pixels: npt.NDArray[np.float16] = self.pixels[self.rows[index]]
        return pixels


def _read_obs(path: Path) -> pd.DataFrame:
    obs = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=0)
    return obs.astype(dict.fromkeys(_PLACES, np.int64))[list(OBS_COLUMNS)]


class PatchWriter:
    """Appends the patches of one image after the other to a store that is not complete yet.

    A journal has one line per image that is wholly written. After an interruption the same store
    is opened again; what lies behind the last whole image is cut off.

    Parameters
    ----------
    folder
        Made where it is missing; what an unfinished store of another key left is removed.
    info
        Description; counts and inputs are filled in by `finish`.
    """

    def __init__(self, folder: Path, info: StoreInfo) -> None:
        self.folder = make_folder(folder)
        self.info = info
        (folder / STORE_FILE).unlink(missing_ok=True)  # not complete from here on
        self._entries = _read_journal(folder / JOURNAL_FILE, info.key)
        self._shape = (len(info.channel_roles), info.side_px, info.side_px)
        self._header_bytes = len(_npy_header((0, *self._shape)))
        self._restart()

    @property
    def done(self) -> frozenset[str]:
        """Images that are wholly written."""
        return frozenset(entry["image"] for entry in self._entries)

    @property
    def n_patches(self) -> int:
        """Patches written so far."""
        return sum(len(entry["rows"]) for entry in self._entries)

    def append(self, patches: PatchSet, *, content_hash: str) -> None:
        """Write the accepted patches of one image."""
        acquisition = patches.image.acquisition
        known = {name: getattr(acquisition, name) for name in OBS_COLUMNS[1:7]}
        common = {Keys.IMAGE: patches.image.id, **known, Keys.GROUP: acquisition.group}
        rows = [
            {"id": id_, **common, Keys.Y: int(y), Keys.X: int(x)}
            for id_, (y, x), good in zip(
                patches.ids, patches.origins, patches.accepted, strict=True
            )
            if good
        ]
        self.append_rows(
            patches.accepted_pixels,
            rows,
            image=patches.image.id,
            sha256=content_hash,
            n_rejected=int((~patches.accepted).sum()),
            pixel_size_um=patches.image.pixel_size_um,
        )

    def append_rows(
        self, pixels: FloatArray, rows: list[dict[str, Any]], *, image: str, **about: Any
    ) -> None:
        """Write patches with a row of obs (and an ``id``) each; *about* is noted with the image."""
        entry = {"key": self.info.key, "image": image, **about, "rows": rows}
        try:
            with (self.folder / PATCHES_FILE).open("rb+") as stream:
                stream.truncate(self._end_of_pixels())  # what a failed write left
                stream.seek(0, os.SEEK_END)
                stream.write(np.ascontiguousarray(pixels, dtype=np.float16).tobytes())
                _flush(stream)
            with (self.folder / JOURNAL_FILE).open("ab") as stream:
                stream.write(json.dumps(entry).encode() + b"\n")
                _flush(stream)
        except OSError as error:
            raise OutputError(
                f"The patches cannot be written to {self.folder}: {error.strerror or error}. "
                "Choose a folder with free space that you may write to."
            ) from error
        self._entries.append(entry)

    def obs(self) -> pd.DataFrame:
        """Return the rows written so far, without classes."""
        rows = [row for entry in self._entries for row in entry["rows"]]
        obs = pd.DataFrame(rows, columns=["id", *OBS_COLUMNS]).set_index("id")
        return obs.fillna("").astype(dict.fromkeys(_PLACES, np.int64))

    def finish(
        self, classes: Iterable[str], *, class_column: str, failures: Mapping[str, str]
    ) -> PatchStore:
        """Write table and description, which makes the store complete, and open it.

        Parameters
        ----------
        classes
            Class of each row of `obs`; empty where it has none.
        class_column
            Where the classes come from.
        failures
            Image id to why it gave no patches.
        """
        obs = self.obs()
        obs[CLASS] = list(classes)
        with replaced_file(self.folder / OBS_FILE) as part:
            obs.to_csv(part)
        with (self.folder / PATCHES_FILE).open("rb+") as stream:
            stream.write(_npy_header((self.n_patches, *self._shape)))
        sizes = {entry.get("pixel_size_um") for entry in self._entries} - {None}
        info = dataclasses.replace(
            self.info,
            n_patches=self.n_patches,
            n_rejected=sum(entry.get("n_rejected", 0) for entry in self._entries),
            pixel_size_um=sizes.pop() if len(sizes) == 1 else None,
            class_column=class_column,
            inputs={entry["image"]: entry.get("sha256", "") for entry in self._entries},
            failures=dict(failures),
            warnings=(*self.info.warnings, *_explain_sizes(sizes)),
        )
        with replaced_file(self.folder / STORE_FILE) as part:
            part.write_text(info.to_json(), encoding="utf-8")
        (self.folder / JOURNAL_FILE).unlink(missing_ok=True)
        return PatchStore.open(self.folder)

    def _restart(self) -> None:
        """Cut both files behind the last image that is whole."""
        path = self.folder / PATCHES_FILE
        kept = self._end_of_pixels()
        if not path.exists() or path.stat().st_size < kept:  # pixels lost: nothing to go on from
            self._entries = []
            path.write_bytes(_npy_header((0, *self._shape)))
        else:
            os.truncate(path, kept)
        with replaced_file(self.folder / JOURNAL_FILE) as part:
            lines = [json.dumps(entry) + "\n" for entry in self._entries]
            part.write_text("".join(lines), encoding="utf-8")

    def _end_of_pixels(self) -> int:
        """Return the size of the pixels' file with what is wholly written, bytes."""
        return self._header_bytes + self.n_patches * 2 * int(np.prod(self._shape))


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def write_patch_store(
    folder: str | Path, pixels: FloatArray, obs: pd.DataFrame, info: StoreInfo
) -> PatchStore:
    """Write patches that are in memory as a store.

    Parameters
    ----------
    folder
        Where to; a store that is there is replaced.
    pixels
        ``(n, channel, side, side)`` in ``[0, 1]``.
    obs
        One row per patch, its id as the index, with any of `OBS_COLUMNS`; the rest is empty.
    info
        What to note; counts are filled in.
    """
    folder = Path(folder)
    (folder / JOURNAL_FILE).unlink(missing_ok=True)
    writer = PatchWriter(folder, info)
    empty: dict[str, Any] = dict.fromkeys(OBS_COLUMNS, "") | dict.fromkeys(_PLACES, 0)
    names = [name for name in OBS_COLUMNS if name in obs]
    known = obs[names].to_dict("records") if names else [{}] * len(obs)
    rows = [{"id": str(id_), **empty, **row} for id_, row in zip(obs.index, known, strict=True)]
    writer.append_rows(pixels, rows, image="", pixel_size_um=info.pixel_size_um)
    return writer.finish([row[CLASS] for row in rows], class_column=info.class_column, failures={})


def _read_journal(path: Path, key: str) -> list[dict[str, Any]]:
    """Return the images that a run of the same key has written; a torn last line is left out."""
    entries: list[dict[str, Any]] = []
    if not path.is_file():
        return entries
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if entry.get("key") != key:
            return []
        entries.append(entry)
    return entries


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the head of an npy file of float16; as long for any number of rows."""
    stream = io.BytesIO()
    about = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def _explain_sizes(sizes: set[float | None]) -> list[str]:
    if len(sizes) <= 1:
        return []
    return [
        f"The images have pixels of {list_choices(sorted(map(str, sizes)))} um: the same cell has "
        "several sizes for the model. Train on images of one size."
    ]
