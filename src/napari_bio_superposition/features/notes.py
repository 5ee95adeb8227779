"""Names, notes and lists that people give to features, in one JSON file per model. No widgets."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.json_text import to_json

_FORMAT: Final = 1
_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
_LONGEST_NAME: Final = 80


@dataclass(frozen=True, eq=False)
class NoteBook:
    """What people know of the latents of one model; a change returns a new book.

    Parameters
    ----------
    names, notes
        Latent to its name, and to a text of any length.
    lists
        Name of a list to its latents, in order.
    """

    names: Mapping[int, str] = field(default_factory=lambda: _EMPTY)
    notes: Mapping[int, str] = field(default_factory=lambda: _EMPTY)
    lists: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _EMPTY)

    def with_name(self, latent: int, name: str) -> Self:
        """Return the book with a latent's name; an empty one takes the name away.

        Raises
        ------
        TableError
            Where the name is too long for a list, or another latent has it.
        """
        name = " ".join(name.split())
        if len(name) > _LONGEST_NAME:
            raise TableError(
                f"This name has {len(name)} characters; use at most {_LONGEST_NAME}, and write "
                "the rest as a note."
            )
        owner = next((k for k, other in self.names.items() if other == name), latent)
        if name and owner != latent:
            raise TableError(f"Latent {owner} is called {name!r} already. Choose another name.")
        return replace(self, names=_changed(self.names, latent, name))

    def with_note(self, latent: int, note: str) -> Self:
        """Return the book with a latent's note; an empty one takes the note away."""
        return replace(self, notes=_changed(self.notes, latent, note.strip()))

    def with_list(self, name: str, latents: Iterable[int]) -> Self:
        """Return the book with a named list; an empty one takes the list away.

        Raises
        ------
        TableError
            Where the list has no name.
        """
        if not name.strip():
            raise TableError("A list needs a name. Type one.")
        unique = tuple(dict.fromkeys(int(latent) for latent in latents))
        return replace(self, lists=_changed(self.lists, name.strip(), unique))

    def latents_of(self, name: str) -> tuple[int, ...]:
        """Return the latents of a list.

        Raises
        ------
        TableError
            Where there is no such list.
        """
        if name not in self.lists:
            raise TableError(
                f"There is no list {name!r}. Choose one of: {list_choices(self.lists)}."
            )
        return self.lists[name]

    def label(self, latent: int) -> str:
        """Return how a latent is called in lists: its name and number, or its number."""
        name = self.names.get(latent, "")
        return f"{name} ({latent})" if name else f"latent {latent}"

    def to_json(self) -> str:
        """Return the book as JSON text."""
        latents = sorted({*self.names, *self.notes})
        features = {
            str(k): {"name": self.names.get(k, ""), "note": self.notes.get(k, "")} for k in latents
        }
        lists = {name: list(latents) for name, latents in self.lists.items()}
        return to_json({"format": _FORMAT, "features": features, "lists": lists}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "the notes") -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        TableError
            Where the text is something else.
        """
        try:
            values = json.loads(text)
            if values["format"] != _FORMAT:
                raise ValueError("another format")
            features = {int(k): entry for k, entry in values["features"].items()}
            names = {k: str(entry["name"]) for k, entry in features.items() if entry["name"]}
            notes = {k: str(entry["note"]) for k, entry in features.items() if entry["note"]}
            lists = {str(name): tuple(map(int, ks)) for name, ks in values["lists"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TableError(
                f"{source} holds no notes that can be read ({error}). Repair or rename the file; "
                "a new one is begun where there is none."
            ) from error
        return cls(names, notes, lists)


def notes_path(model_folder: Path | None, weights_sha256: str, fallback: Path) -> Path:
    """Return where the notes of a model lie: beside it, or where the user may write.

    Parameters
    ----------
    model_folder
        Folder of the model; ``None`` where it must not be written to (bundled models).
    weights_sha256
        Of the weights: names of other weights' latents mean nothing, so the file name tells them
        apart, and a model that is trained again begins a new book.
    fallback
        A folder of the user.
    """
    name = f"feature-notes-{weights_sha256[:12] or 'unknown'}.json"
    if model_folder is None:
        return fallback / name
    beside = model_folder / name
    return beside if beside.exists() or os.access(model_folder, os.W_OK) else fallback / name


def read_notes(path: Path) -> NoteBook:
    """Read a book; an empty one where there is no file.

    Raises
    ------
    TableError
        Where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return NoteBook()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}. Repair or rename the file.") from error
    return NoteBook.from_json(text, source=str(path))


def change_notes(path: Path, change: Callable[[NoteBook], NoteBook]) -> NoteBook:
    """Apply a change to the book as it is on disk now, and write it whole or not at all.

    What another window wrote in the meantime is kept: always change through this function.

    Raises
    ------
    TableError
        Where the file cannot be read, or the change is refused.
    OutputError
        Where it cannot be written.
    """
    book = change(read_notes(path))
    with replaced_file(path) as part:
        part.write_text(book.to_json(), encoding="utf-8")
    return book


def _changed(values: Mapping[Any, Any], key: Any, value: Any) -> Mapping[Any, Any]:
    kept = {other: held for other, held in values.items() if other != key}
    return MappingProxyType(kept | {key: value} if value else kept)
