"""Reading checkpoints in the layout of the paper's authors. Nothing of our own layout."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.checkpoint import assemble_model
from napari_bio_superposition.models.encoder import normalize_weights
from napari_bio_superposition.models.feature_model import FeatureModel

_NESTING = ("model_q", "state_dict", "model", "sae", "sae_state_dict", "model_state_dict")
_WRAPPERS = ("module.", "_orig_mod.", "sae.")
_SAE_NAMES = ("W_mag", "b_mag", "b_gate", "W_dec", "b_dec")
_TRUNK = ("stem", "stage2", "stage3", "stage4", "stage5", "refine")
"""The published encoder registers its stages twice: by these names, and in a list ``trunk``."""


def import_published(encoder_state: Path, sae_state: Path, card: ModelCard) -> FeatureModel:
    """Load an encoder and an SAE as the authors' code saved them.

    Parameters
    ----------
    encoder_state
        State dict of the query network, or a training checkpoint that holds it as ``model_q``:
        ``encoder.stem.0.weight``, ... The projector is left out.
    sae_state
        State dict with ``W_mag``, ``b_mag``, ``b_gate``, ``W_dec``, ``b_dec``, or a checkpoint
        that holds it.
    card
        How the model is used: the published inference is ``centring="image"``. A mean token is
        not part of these files, so ``dataset`` cannot be chosen. ``width``, ``blocks`` and
        ``n_latents`` have to fit the files.

    Returns
    -------
    FeatureModel
        On the CPU, encoder weights normalised once more (specification, 5.2).

    Raises
    ------
    ModelError
        Where a file cannot be read safely, or does not fit the card.
    """
    encoder = _select(_read_state(encoder_state), "encoder.", encoder_state)
    sae = _read_state(sae_state)
    if missing := [name for name in _SAE_NAMES if name not in sae]:
        raise ModelError(
            f"{sae_state} is not a tied gated SAE: it lacks {list_choices(missing)}; "
            f"it holds {list_choices(sorted(sae)[:8])}. Give the SAE's state dict."
        )
    tensors = encoder | {f"sae.{name}": sae[name] for name in _SAE_NAMES}
    model = assemble_model(card, tensors)
    normalize_weights(model.encoder)
    return model


def _read_state(path: Path) -> dict[str, Tensor]:
    """Load tensors only: `weights_only` refuses to run code that a file may carry."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old protocols before it refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"There is no checkpoint {path}. Check the path.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelError(
            f"The checkpoint {path} cannot be read safely ({_first_line(error)}). "
            "Give a file that holds tensors only, saved by torch.save."
        ) from error
    state = _unnest(content)
    if not state:
        raise ModelError(f"The checkpoint {path} holds no state dict. Give one saved by torch.")
    return state


def _unnest(content: Any) -> dict[str, Tensor]:
    """Return the tensors of the first state dict inside *content*, without wrappers' prefixes."""
    if not isinstance(content, Mapping):
        return {}
    for name in _NESTING:
        if isinstance(content.get(name), Mapping):
            return _unnest(content[name])
    return {_unwrap(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _unwrap(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _select(state: dict[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    chosen = {
        _name_stage(name): tensor for name, tensor in state.items() if name.startswith(prefix)
    }
    if not chosen:
        raise ModelError(
            f"{path} holds no tensor named {prefix}*; it holds {list_choices(sorted(state)[:8])}. "
            "Give the state dict of the query network (`model_q`)."
        )
    return chosen


def _name_stage(name: str) -> str:
    """Return the stage's own name of an entry of ``trunk``; of two aliases the later one counts."""
    for index, stage in enumerate(_TRUNK):
        name = name.replace(f"encoder.trunk.{index}.", f"encoder.{stage}.")
    return name


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
