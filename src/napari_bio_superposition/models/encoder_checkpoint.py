"""An encoder without SAE on disk: safetensors beside a JSON description. No training, no SAE."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.models.card import EncoderCard
from napari_bio_superposition.models.encoder import Encoder, use_channels_last

ENCODER_CARD: Final = "encoder.json"
ENCODER_WEIGHTS: Final = "encoder.safetensors"


@dataclass(frozen=True, eq=False)
class TrainedEncoderFolder:
    """An encoder as it was loaded: in evaluation mode, with its card."""

    encoder: Encoder
    card: EncoderCard


def holds_encoder(folder: Path) -> bool:
    """Return whether a folder holds an encoder without SAE."""
    return (folder / ENCODER_CARD).is_file()


def save_encoder(encoder: Encoder, card: EncoderCard, folder: Path) -> EncoderCard:
    """Write weights and card into *folder*, the card last; other files there stay.

    Returns
    -------
    EncoderCard
        As written, with the hash of the weights.

    Raises
    ------
    OutputError
        Where the folder cannot be written.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()}
    with replaced_file(folder / ENCODER_WEIGHTS) as part:
        part.write_bytes(save(tensors))
    written = dataclasses.replace(card, weights_sha256=hash_file(folder / ENCODER_WEIGHTS))
    with replaced_file(folder / ENCODER_CARD) as part:
        part.write_text(written.to_json(), encoding="utf-8")
    return written


def load_encoder(folder: str | Path, device: str = "cpu") -> TrainedEncoderFolder:
    """Load the encoder that a training wrote.

    Raises
    ------
    ModelError
        Where card or weights are missing, damaged, or do not belong together.
    """
    folder = Path(folder)
    card = read_encoder_card(folder)
    path = folder / ENCODER_WEIGHTS
    if not path.is_file() or hash_file(path) != card.weights_sha256:
        raise ModelError(
            f"The weights {path} are missing, damaged, or not those of their card. "
            "Copy the folder again."
        )
    with torch.device("meta"):
        encoder = Encoder(card.shape)
    try:
        # Not by the file's mapping: who overwrites the file would change the weights in use.
        encoder.load_state_dict(load(path.read_bytes()), assign=True)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"The weights {path} do not fit their card ({error}). Copy the folder again."
        ) from error
    encoder = encoder.float().requires_grad_(False).eval().to(device)
    use_channels_last(encoder)
    return TrainedEncoderFolder(encoder, card)


def read_encoder_card(folder: Path) -> EncoderCard:
    """Read the card of the encoder in *folder*.

    Raises
    ------
    ModelError
        Where it is missing or wrong.
    """
    path = folder / ENCODER_CARD
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"No encoder in {folder}: {ENCODER_CARD} cannot be read ({error}). "
            "Give the folder that train-encoder wrote."
        ) from error
    return EncoderCard.from_json(text, source=str(path))
