"""An encoder without SAE on disk: safetensors beside a JSON description. No training, no SAE."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, ModelError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.models.card import InstanceNormalization, IntensityScaling
from napari_bio_superposition.models.encoder import Encoder, EncoderConfig, use_channels_last
from napari_bio_superposition.models.encoder_config import NetworkConfig
from napari_bio_superposition.models.training_config import NormalizationConfig

ENCODER_CARD: Final = "encoder.json"
ENCODER_WEIGHTS: Final = "encoder.safetensors"
_FORMAT: Final = 1
_MOST_BLOCKS: Final = 64


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """What an encoder expects and is worth; fields that a `ModelCard` has mean the same there."""

    name: str
    """Name of the encoder."""
    channel_roles: tuple[str, ...]
    """Roles of the input channels, in order."""
    patch_side_px: Annotated[int, Range(8, 4096, unit="px")] = 128
    """Edge of a patch."""
    pixel_size_um: Annotated[float, Range(0.001, 100, unit="um")] | None = None
    """Edge of a pixel in the training images; None where it is not known."""
    intensity_scaling: IntensityScaling = "dtype"
    """How counts become [0, 1]."""
    low_percentile: Annotated[float, Range(0, 100, unit="%")] = 1.0
    """Percentile of the field that becomes 0 (scaling `field_percentile`)."""
    high_percentile: Annotated[float, Range(0, 100, unit="%")] = 99.9
    """Percentile of the field that becomes 1 (scaling `field_percentile`)."""
    instance_normalization: InstanceNormalization = "clamp"
    """What happens to a channel quieter than `std_floor`."""
    std_floor: Annotated[float, Range(1e-9, 1)] = 0.01
    """Smallest standard deviation by which a channel is divided."""
    width: Annotated[int, Range(8, 4096)]
    """Channels of the feature map."""
    blocks: tuple[int, ...]
    """Residual blocks of the stages 2 to 5."""
    refine_blocks: Annotated[int, Range(1, 16)] = 1
    """Residual blocks after stage 5."""
    classes: tuple[str, ...] = ()
    """What it learnt to tell apart; empty where it was trained without classes."""
    training_data: str = ""
    """Which images it was trained on."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the training, as plain values."""
    measurements: Mapping[str, Any] = field(default_factory=dict)
    """What it is worth: name to value, on wells held out of the training."""
    licence: str = ""
    """SPDX name of the licence of the weights."""
    created: str = ""
    """Day of creation, ISO 8601."""
    weights_sha256: str = ""
    """SHA-256 of the weights file; filled in on saving."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.channel_roles or len(set(self.channel_roles)) != len(self.channel_roles):
            raise ConfigError(
                f"EncoderCard.channel_roles is {list_choices(self.channel_roles)}; give at least "
                "one role, and each once."
            )
        if len(self.blocks) != 4 or not all(1 <= n <= _MOST_BLOCKS for n in self.blocks):
            raise ConfigError(
                f"EncoderCard.blocks is {list_choices(self.blocks[:8])}; give four numbers of "
                f"blocks from 1 to {_MOST_BLOCKS}."
            )

    @property
    def shape(self) -> EncoderConfig:
        """Shape of the encoder."""
        n2, n3, n4, n5 = self.blocks
        network = NetworkConfig(
            width=self.width, blocks=(n2, n3, n4, n5), refine_blocks=self.refine_blocks
        )
        return network.with_channels(len(self.channel_roles))

    @property
    def normalization(self) -> NormalizationConfig:
        """How patches are normalised."""
        return NormalizationConfig(mode=self.instance_normalization, std_floor=self.std_floor)

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return to_json({"format": _FORMAT} | dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "the encoder's card") -> Self:
        """Read what `to_json` wrote; nothing unknown or missing is accepted.

        Raises
        ------
        ModelError
            Naming *source* and the problem.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != _FORMAT:
                raise ValueError(f"it is not of format {_FORMAT}")
            texts = ("channel_roles", "blocks", "classes")
            values |= {name: tuple(values[name]) for name in texts}
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise ModelError(
                f"{source} is not the card of an encoder ({error}). Copy the folder again, or use "
                "an encoder saved by this version."
            ) from error


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
        encoder.load_state_dict(load_file(path), assign=True)
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
