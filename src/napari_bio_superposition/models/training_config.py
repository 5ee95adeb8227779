"""Settings of encoder and SAE training. No torch, no loops: forms and flags are made from this."""

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.models.card import Centring, InstanceNormalization, Tap


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """Safe instance normalisation of patches (method specification, section 4)."""

    mode: InstanceNormalization = "clamp"
    """What happens to a channel quieter than `std_floor`: divided by it, or left as it is."""
    std_floor: Annotated[float, Range(1e-9, 1)] = 0.01
    """Smallest standard deviation by which a channel is divided."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """Supervised contrastive training; the defaults are the paper's (method specification, 5)."""

    n_epochs: Annotated[int, Range(1, 100_000)] = 100
    """Passes over the balanced training set."""
    batch_size: Annotated[int, Range(2, 65_536, unit="patches")] = 512
    """Patches per step, split equally over the classes."""
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
    centre_first: bool = False
    """Set the first biases so that no channel has a mean over training patches. Otherwise all
    patches start with nearly the same features, and a short training does not leave that."""
    centre_pooled: bool = False
    """Take the mean over the batch off the pooled features before the projector. A short training
    otherwise has to unlearn first what all patches share, and may collapse; not published."""
    projector_rate: Annotated[float, Range(0.01, 1000)] = 1.0
    """Learning rate of the projector, as a multiple of the encoder's."""
    pooled_l2: bool = True
    """Make pooled features unit vectors before the projector."""
    crop_px: Annotated[int, Range(16, 4096, unit="px")] | None = None
    """Train on random windows of this side; None uses whole patches, as published."""
    normalization: NormalizationConfig = NormalizationConfig()
    """How patches are normalised."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class SaeConfig:
    """Training of a gated SAE with tied weights (method specification, 7)."""

    n_latents: Annotated[int, Range(1, 1_000_000)] = 8192
    """Size of the dictionary."""
    sparsity: Annotated[float, Range(0, 1e6)] = 0.1
    """Coefficient of the sparsity term, per token (with `sparsity_reduction` sum)."""
    sparsity_reduction: Literal["sum", "mean"] = "sum"
    """Sum over features, or the published mean, which divides the coefficient by `n_latents`."""
    second_bias: bool = False
    """Add the decoder's bias twice in the auxiliary loss, as published."""
    n_auxiliary: Annotated[int, Range(1, 100_000)] = 32
    """Closed latents per token that shall explain the residual."""
    auxiliary_weight: Annotated[float, Range(0, 1000)] = 1 / 32
    """Weight of the auxiliary loss."""
    tap: Tap = "stage5_out"
    """Layer whose feature map gives the tokens."""
    centring: Centring = "dataset"
    """What is subtracted from the tokens; `dataset` is the mean over the training patches."""
    tokens_per_patch: Annotated[int, Range(1, 1_000_000)] = 512
    """Tokens drawn from each patch."""
    n_epochs: Annotated[int, Range(1, 100_000)] = 8
    """Passes over these tokens."""
    batch_tokens: Annotated[int, Range(1, 10_000_000, unit="tokens")] = 65_536
    """Tokens per step, mixed over all patches."""
    learning_rate: Annotated[float, Range(1e-8, 1)] = 3e-4
    """Highest learning rate of AdamW; warm-up over a tenth of the steps, then cosine to 0."""
    weight_decay: Annotated[float, Range(0, 1)] = 1e-4
    """Decay of AdamW."""
    gradient_norm: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """Longer gradients are shortened to this."""
    warmup_steps: Annotated[int, Range(0, 10_000_000)] = 100
    """Steps before the sparsity term starts."""
    ramp: Annotated[float, Range(0, 1)] = 0.1
    """Share of all steps over which the sparsity term then rises."""

    def __post_init__(self) -> None:
        check_fields(self)
