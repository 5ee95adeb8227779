"""An unfinished training on disk, whole or not at all; read without running code. No loop."""

import pickle
from pathlib import Path
from typing import Any

import torch

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.files import replaced_file


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values; a state that is there is replaced in one move.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    with replaced_file(path) as part:
        torch.save(state, part)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, onto the processor.

    Raises
    ------
    ModelError
        Where the file is missing, damaged, or holds anything but tensors and plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ModelError(
            f"The saved training {path} cannot be read ({error}). Begin anew in another folder."
        ) from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} is no saved training. Begin anew in another folder.")
    return state
