"""The cards of models: all that a user of the weights has to know or repeat. No torch."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, ModelError, list_choices
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.models.encoder_config import EncoderConfig

Tap = Literal["stage5_mid", "stage5_out", "refine_out"]
Centring = Literal["dataset", "image", "batch", "none"]
InstanceNormalization = Literal["clamp", "bypass"]
IntensityScaling = Literal["dtype", "field_percentile"]
SaeKind = Literal["gated", "jumprelu", "batch_topk", "matryoshka"]
TAPS: Final = get_args(Tap)
CENTRINGS: Final = get_args(Centring)
INSTANCE_NORMALIZATIONS: Final = get_args(InstanceNormalization)
SAE_KINDS: Final = get_args(SaeKind)
CARD_FILE: Final = "card.json"
WEIGHTS_FILE: Final = "model.safetensors"
_FORMAT: Final = 1
_MOST_BLOCKS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Card:
    """What weights with an encoder in them expect and are worth; stored as JSON beside them."""

    name: str
    """Name of the model, or of the encoder."""
    channel_roles: tuple[str, ...]
    """Roles of the input channels, in order."""
    patch_side_px: Annotated[int, Range(8, 4096, unit="px")] = 128
    """Edge of a patch."""
    pixel_size_um: Annotated[float, Range(0.001, 100, unit="um")] | None = None
    """Edge of a pixel in the training images; None where it is not known."""
    intensity_scaling: IntensityScaling = "dtype"
    """How counts become [0, 1]: by the full scale of the camera's type, as published, or by two
    percentiles of each channel of the whole field."""
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
    training_data: str = ""
    """Which images it was trained on."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the training, as plain values."""
    measurements: Mapping[str, Any] = field(default_factory=dict)
    """What it is worth: name to value, on data held out of the training."""
    licence: str = ""
    """SPDX name of the licence of the weights."""
    created: str = ""
    """Day of creation, ISO 8601."""
    weights_sha256: str = ""
    """SHA-256 of the weights file; filled in on saving."""

    def __post_init__(self) -> None:
        check_fields(self)
        card = type(self).__name__
        if not self.channel_roles or len(set(self.channel_roles)) != len(self.channel_roles):
            raise ConfigError(
                f"{card}.channel_roles is {list_choices(self.channel_roles)}; give at least "
                "one role, and each once."
            )
        if len(self.blocks) != 4 or not all(1 <= n <= _MOST_BLOCKS for n in self.blocks):
            raise ConfigError(
                f"{card}.blocks is {list_choices(self.blocks[:8])}; give four numbers of blocks "
                f"from 1 to {_MOST_BLOCKS}, for the stages 2 to 5."
            )
        if self.low_percentile >= self.high_percentile:
            raise ConfigError(
                f"{card}.low_percentile is {self.low_percentile} %, not below "
                f"high_percentile, {self.high_percentile} %. Choose a smaller one."
            )

    @property
    def shape(self) -> EncoderConfig:
        """Shape of the encoder."""
        n2, n3, n4, n5 = self.blocks
        return EncoderConfig(
            n_channels=len(self.channel_roles),
            width=self.width,
            blocks=(n2, n3, n4, n5),
            refine_blocks=self.refine_blocks,
        )

    @property
    def flags(self) -> dict[str, Any]:
        """The preprocessing of the features, for a table's provenance.

        Features made under different flags must not be compared.
        """
        names = ("intensity_scaling", "instance_normalization")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return to_json({"format": _FORMAT} | dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "the model card") -> Self:
        """Read what `to_json` wrote; nothing unknown, missing or of another type is accepted.

        Raises
        ------
        ModelError
            Naming *source* and the first problem.
        """
        values = _parse_object(cls, text, source)
        hints = typing.get_type_hints(cls)
        for name, value in values.items():
            values[name] = _check_type(name, value, hints[name], source)
        try:
            return cls(**values)
        except ConfigError as error:
            raise ModelError(f"The card {source} is not valid: {error}") from error


@dataclass(frozen=True, kw_only=True)
class EncoderCard(Card):
    """The card of an encoder without SAE."""

    classes: tuple[str, ...] = ()
    """What it learnt to tell apart; empty where it was trained without classes."""


@dataclass(frozen=True, kw_only=True)
class ModelCard(Card):
    """The card of a complete model: an encoder, and the SAE on its tokens."""

    description: str = ""
    """What it is for, in one or two sentences."""
    tap: Tap = "stage5_out"
    """Layer whose feature map gives the tokens."""
    centring: Centring = "dataset"
    """What is subtracted from the tokens; the same in training, inference and overlays."""
    norm_restored: bool = True
    """Whether activations are multiplied by the lengths that the centred tokens had."""
    sae_kind: SaeKind = "gated"
    """Kind of sparse autoencoder; each is run as a JumpReLU with stored thresholds."""
    n_latents: Annotated[int, Range(1, 1_000_000)]
    """Size of the dictionary."""

    @property
    def flags(self) -> dict[str, Any]:
        """The preprocessing of the features, from image to activation."""
        names = ("tap", "centring", "norm_restored")
        return {name: getattr(self, name) for name in names} | super().flags


def read_card(folder: Path) -> ModelCard:
    """Read the card of the model in *folder*.

    Raises
    ------
    ModelError
        Where the folder, the card or a field of it is missing or wrong.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise ModelError(
            f"No model in {folder}: the file {CARD_FILE} is missing. "
            f"Give a folder that holds {CARD_FILE} and {WEIGHTS_FILE}."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"The card {path} cannot be read: {error}. Copy it again.") from error
    return ModelCard.from_json(text, source=str(path))


def _parse_object(card: type[Card], text: str, source: str) -> dict[str, Any]:
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The card {source} is not JSON ({error}). Copy it again.") from error
    if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
        raise ModelError(
            f"{source} is not a model card of format {_FORMAT}. "
            "Use a model saved by this version, or update the package."
        )
    known = {field.name: field for field in dataclasses.fields(card)}
    if unknown := set(values) - set(known):
        raise ModelError(
            f"The card {source} has the unknown fields {list_choices(sorted(unknown))}. "
            f"The fields are: {list_choices(known)}."
        )
    missing = [name for name, entry in known.items() if _is_required(entry) and name not in values]
    if missing:
        raise ModelError(f"The card {source} lacks {list_choices(missing)}. Add these fields.")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _is_required(entry: "dataclasses.Field[Any]") -> bool:
    nothing = dataclasses.MISSING
    return entry.default is nothing and entry.default_factory is nothing


def _check_type(name: str, value: Any, hint: Any, source: str) -> Any:
    """Return *value* as the field's type; numbers and choices are checked by the card itself."""
    problem = f"The field {name} of the card {source} is {value!r}; it has to be "
    origin = typing.get_origin(hint)
    if origin is tuple:
        kind = get_args(hint)[0]
        if not isinstance(value, list) or any(type(entry) is not kind for entry in value):
            raise ModelError(problem + f"a list of {kind.__name__} values.")
        return tuple(value)
    if hint in (str, bool) and type(value) is not hint:
        raise ModelError(problem + ("text." if hint is str else "true or false."))
    if origin is Literal and type(value) is not str:
        raise ModelError(problem + f"one of: {list_choices(get_args(hint))}.")
    if isinstance(origin, type) and issubclass(origin, Mapping) and not isinstance(value, dict):
        raise ModelError(problem + "an object.")
    if value is None and origin not in (types.UnionType, typing.Union):
        raise ModelError(problem + "given.")
    return value
