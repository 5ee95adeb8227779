"""Settings of encoder training. No torch, no loops: forms and flags are made from this."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.models.card import Card, InstanceNormalization, Tap


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """Safe instance normalisation of patches (method specification, section 4)."""

    mode: InstanceNormalization = "clamp"
    """What happens to a channel quieter than `std_floor`: divided by it, or left as it is."""
    std_floor: Annotated[float, Range(1e-9, 1)] = 0.01
    """Smallest standard deviation by which a channel is divided."""

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def of(cls, card: Card) -> Self:
        """Return how the patches of a model or an encoder are normalised."""
        return cls(mode=card.instance_normalization, std_floor=card.std_floor)


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """Supervised contrastive training; the defaults are the paper's (method specification, 5)."""

    n_epochs: Annotated[int, Range(1, 100_000)] = 100
    """Passes over the balanced training set."""
    batch_size: Annotated[int, Range(2, 65_536, unit="patches")] = 512
    """Patches per step, split equally over the classes."""
    chunk_patches: Annotated[int, Range(1, 65_536, unit="patches")] | None = None
    """Patches at a time within a step: the same gradients in less memory (the paper's encoder takes
    about 0.25 GB for each in single precision). None: all at once."""
    warmup_epochs: Annotated[int, Range(0, 100_000)] = 4
    """Epochs over which the learning rate rises from 0; then it falls as a cosine to 0."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum, as published, or AdamW, which needs fewer steps."""
    learning_rate: Annotated[float, Range(1e-8, 10)] = 0.1
    """Highest learning rate; about 0.1 for SGD and 0.0005 for AdamW."""
    sgd_momentum: Annotated[float, Range(0, 0.9999)] = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Range(0, 1)] = 1e-4
    """Decay of all parameters per step, as a share of the learning rate."""
    gradient_norm: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """Longer gradients are shortened to this."""
    temperature: Annotated[float, Range(1e-3, 10)] = 0.07
    """Temperature of the contrastive softmax."""
    key_momentum: Annotated[float, Range(0, 1)] = 0.995
    """Share of itself that the key encoder keeps per step."""
    queue_size: Annotated[int, Range(0, 10_000_000, unit="keys")] = 65_536
    """Labelled keys of earlier steps in the loss."""
    supervision: Literal["auto", "classes", "none"] = "auto"
    """What counts as alike: patches of one class, as published, or only two views of the same
    patch (MoCo). auto takes the classes where there are at least two."""
    epoch_end: Literal["first_exhausted", "all_seen"] = "first_exhausted"
    """An epoch ends when the first plate of a line of a class has no patch left, as published, or
    when as many patches were drawn as there are; small plates are then drawn from again."""
    centre_first: bool = False
    """Set the first biases so that no channel has a mean over training patches. Otherwise all
    patches start with nearly the same features, and a short training does not leave that."""
    centre_pooled: bool = False
    """Take the mean over the batch off the pooled features before the projector. A short training
    otherwise has to unlearn first what all patches share, and may collapse; not published."""
    projector_rate: Annotated[float, Range(0.01, 1000)] = 1.0
    """Learning rate of the projector, as a multiple of the encoder's."""
    detail_weight: Annotated[float, Range(0, 1000)] = 0.0
    """Weight of a second loss: the share of the channels' brightness, place by place, that cannot
    be read from the tokens linearly. It keeps in a token what lies there; the contrastive loss
    alone keeps what tells the classes. 0: as published."""
    detail_tap: Tap = "stage5_out"
    """Layer whose tokens are meant."""
    pooled_l2: bool = True
    """Make pooled features unit vectors before the projector."""
    crop_px: Annotated[int, Range(16, 4096, unit="px")] | None = None
    """Train on random windows of this side; None uses whole patches, as published."""
    normalization: NormalizationConfig = NormalizationConfig()
    """How patches are normalised."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.chunk_patches is not None and (self.centre_pooled or self.detail_weight > 0):
            raise ConfigError(
                "ContrastiveConfig.chunk_patches takes a batch apart, which centre_pooled and "
                "detail_weight need as a whole. Leave it out, or set these to false and 0."
            )


CONTRASTIVE_PRESETS: Final = {
    "paper": ContrastiveConfig(),
    "small": ContrastiveConfig(  # decision 0008: minutes on a processor, without collapse
        n_epochs=8,
        batch_size=20,
        warmup_epochs=0,
        optimizer="adamw",
        learning_rate=4e-4,
        projector_rate=10.0,
        temperature=0.2,
        key_momentum=0.99,
        queue_size=512,
        epoch_end="all_seen",
        centre_first=True,
        centre_pooled=True,
        detail_weight=25.0,  # decision 0024
    ),
}
"""Ways of training by name: exactly the published one, and a short one."""
