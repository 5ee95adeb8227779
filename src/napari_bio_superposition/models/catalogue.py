"""Which models there are by name: bundled ones and those of the user. No torch, no weights."""

import contextlib
from importlib import resources
from pathlib import Path

import platformdirs

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.models.card import CARD_FILE


def bundled_folder() -> Path:
    """Return the folder of the models that come with the package."""
    return Path(str(resources.files("napari_bio_superposition"))) / "resources" / "models"


def user_folder() -> Path:
    """Return the folder in which a user's models are found by name; it may not exist yet."""
    return platformdirs.user_data_path("napari-bio-superposition", appauthor=False) / "models"


def list_models() -> tuple[str, ...]:
    """Return the names of all models that `find_model` finds, bundled ones first."""
    found: dict[str, None] = {}
    for parent in (bundled_folder(), user_folder()):
        for card in sorted(parent.glob(f"*/{CARD_FILE}")):
            found.setdefault(card.parent.name)
    return tuple(found)


def find_model(name_or_folder: str | Path) -> Path:
    """Return the folder of a model given by its name or by its folder.

    Raises
    ------
    ModelError
        Where there is none; it lists the names.
    """
    if (name := str(name_or_folder)) in list_models():
        parents = (bundled_folder(), user_folder())
        return next(parent / name for parent in parents if (parent / name / CARD_FILE).is_file())
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, NUL, no such home
        folder = Path(name_or_folder).expanduser()
        if folder.is_dir():
            return folder
    raise ModelError(
        f"No model {name!r}: neither a folder nor one of the models "
        f"{list_choices(list_models())}. Choose one of these, or give a model's folder."
    )
