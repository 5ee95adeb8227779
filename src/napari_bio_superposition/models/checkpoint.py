"""Models on disk: safetensors beside a JSON card, read strictly. No published layouts."""

import dataclasses
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.core.files import replaced_folder
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.models.card import CARD_FILE, WEIGHTS_FILE, ModelCard, read_card
from napari_bio_superposition.models.catalogue import find_model, list_models
from napari_bio_superposition.models.encoder import Encoder, use_channels_last
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.sae_kinds import empty_sae

__all__ = ["assemble_model", "list_models", "load_model", "save_model"]


def save_model(model: FeatureModel, folder: Path, *, half_precision: bool = False) -> ModelCard:
    """Write weights and card as *folder*, whole or not at all.

    Parameters
    ----------
    model
        What to write.
    folder
        Belongs to the model: a folder that is there is replaced.
    half_precision
        Store matrices and kernels as float16 (biases and the mean token stay float32). On loading
        they become float32 again; call `round_to_half` before the last training step
        to make that exact.

    Returns
    -------
    ModelCard
        The card as written, with the hash of the weights.

    Raises
    ------
    OutputError
        Where the folder cannot be written.
    ModelError
        Where the folder holds something else than a model.
    """
    _check_replaceable(folder)
    tensors = {
        name: tensor.half() if half_precision and tensor.ndim > 1 else tensor
        for name, tensor in _named_tensors(model).items()
    }
    with replaced_folder(folder) as part:
        (part / WEIGHTS_FILE).write_bytes(save(tensors))
        card = dataclasses.replace(model.card, weights_sha256=hash_file(part / WEIGHTS_FILE))
        (part / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
    return card


def load_model(name_or_folder: str | Path, device: str = "cpu") -> FeatureModel:
    """Load a model by name (see `list_models`) or from its folder.

    Parameters
    ----------
    name_or_folder
        ``small``, a name in the user's model folder, or a folder.
    device
        A name that `choose_device` returned.

    Raises
    ------
    ModelError
        Where card or weights are missing, damaged, or do not belong together; one sentence each.
    """
    folder = find_model(name_or_folder)
    card = read_card(folder)
    tensors = _read_tensors(folder / WEIGHTS_FILE, card)
    return assemble_model(card, tensors).to(device)


def assemble_model(card: ModelCard, tensors: dict[str, Tensor]) -> FeatureModel:
    """Build a model from named tensors, each checked against the card's shapes.

    Parameters
    ----------
    card
        Says which tensors are expected.
    tensors
        ``encoder.*``, ``sae.*`` and, for the centring ``dataset``, ``mean_token``.
    """
    with torch.device("meta"):
        encoder = Encoder(card.shape)
        sae = empty_sae(card.sae_kind, card.width, card.n_latents)
    expected = _shapes(encoder, "encoder.") | _shapes(sae, "sae.")
    if card.centring == "dataset":
        expected["mean_token"] = (card.width,)
    _check_tensors(card.name, tensors, expected)
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    for prefix, module in (("encoder.", encoder), ("sae.", sae)):
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        module.load_state_dict(own, assign=True)
        module.requires_grad_(False).eval()
    use_channels_last(encoder)
    return FeatureModel(card, encoder, sae, tensors.get("mean_token"))


@torch.no_grad()
def round_to_half(module: nn.Module) -> None:
    """Round matrices and kernels to what float16 holds, in place, so that storing is exact."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.copy_(parameter.half())


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder in which there is anything but a model."""
    if folder.is_dir():
        others = {path.name for path in folder.iterdir()} - {CARD_FILE, WEIGHTS_FILE}
        if others:
            raise ModelError(
                f"The folder {folder} also holds {_first(sorted(others))}. "
                "Choose a folder of its own for the model."
            )


def _named_tensors(model: FeatureModel) -> dict[str, Tensor]:
    modules = {"encoder.": model.encoder, "sae.": model.sae}
    tensors = {
        prefix + name: tensor.detach().cpu().contiguous()
        for prefix, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    if model.mean_token is not None:
        tensors["mean_token"] = model.mean_token.detach().cpu().contiguous()
    return tensors


def _read_tensors(path: Path, card: ModelCard) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(
            f"The weights {path} are missing. Copy the whole folder of the model again."
        )
    if card.weights_sha256 and hash_file(path) != card.weights_sha256:
        raise ModelError(
            f"The weights {path} are damaged or not those of their card (another SHA-256). "
            "Copy the model again."
        )
    try:
        # Not by the file's mapping: who overwrites the file would change the weights in use.
        return load(path.read_bytes())
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"The weights {path} cannot be read ({error}). Copy the model again."
        ) from error


def _shapes(module: nn.Module, prefix: str) -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _check_tensors(
    name: str, tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]]
) -> None:
    if missing := sorted(set(expected) - set(tensors)):
        raise ModelError(
            f"The weights of {name!r} lack {_first(missing)}. "
            "Use the weights that belong to this card."
        )
    if unknown := sorted(set(tensors) - set(expected)):
        raise ModelError(
            f"The weights of {name!r} hold the unknown {_first(unknown)}. "
            "Use the weights that belong to this card."
        )
    for key, shape in expected.items():
        if tuple(tensors[key].shape) != shape:
            raise ModelError(
                f"The tensor {key} of {name!r} has the shape {tuple(tensors[key].shape)}; the "
                f"card asks for {shape}. Use the weights that belong to this card."
            )
        if not tensors[key].is_floating_point() or not tensors[key].isfinite().all():
            raise ModelError(
                f"The tensor {key} of {name!r} holds values that are no finite numbers. "
                "Copy or train the model again."
            )


def _first(names: list[str], n_shown: int = 3) -> str:
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return list_choices(names[:n_shown]) + more
