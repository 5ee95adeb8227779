"""Settings of SAE training, one config beside each kind. No torch: flags and forms come from it."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.models.card import Centring, SaeKind, Tap

DEFAULT_TARGET_L0: Final = 32.0
"""Active latents per token where no sparsity is asked for."""
TOPK_KINDS: Final = ("batch_topk", "matryoshka")
"""Kinds whose L0 is set directly; they know no coefficient."""


@dataclass(frozen=True, kw_only=True)
class GatedConfig:
    """The gated SAE of the paper; its named defects are switches (method specification, 7)."""

    n_auxiliary: Annotated[int, Range(1, 100_000)] = 32
    """Closed latents per token that shall explain the residual."""
    second_bias: bool = False
    """Add the decoder's bias twice in the auxiliary loss, as published."""
    norm_weighted: bool = False
    """Weight each token by its length over the mean length, as published for lambda 3200."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class JumpReluConfig:
    """The JumpReLU SAE: thresholds learned through a window.

    Both lengths are in units of ``1 / sqrt(width)``, the spread of a unit token's projections on
    random directions, so that they mean the same for encoders of any width.
    """

    bandwidth: Annotated[float, Range(1e-4, 100)] = 0.5
    """Width of the window around a threshold in which an activation moves it."""
    initial_threshold: Annotated[float, Range(0, 100)] = 1.5
    """Threshold of all latents at the start."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class BatchTopKConfig:
    """Batch top-k, alone and nested: what becomes of dead latents."""

    n_auxiliary: Annotated[int, Range(1, 100_000)] = 64
    """Dead latents per token that shall explain the residual (AuxK)."""
    dead_after_tokens: Annotated[int, Range(1, 10_000_000_000, unit="tokens")] = 200_000
    """A latent that was silent for so many tokens counts as dead."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MatryoshkaConfig:
    """Nested dictionaries, each of which has to reconstruct the tokens on its own."""

    shares: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5, 1.0)
    """Sizes of the dictionaries as shares of the whole, rising to 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        rising = all(a < b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if not self.shares or not rising or self.shares[0] <= 0 or self.shares[-1] != 1:
            raise ConfigError(
                f"MatryoshkaConfig.shares is {list_choices(self.shares)}; give rising shares above "
                "0 of which the last is 1."
            )


@dataclass(frozen=True, kw_only=True)
class SparsityRequest:
    """How sparse the SAE shall be, in one of three ways.

    Parameters
    ----------
    target_l0
        Active latents per token; ``None`` where a coefficient is given.
    coefficient
        Weight of the sparsity term; the start of the search where `target_l0` is given.
    reduction
        Whether that term is summed or averaged over the dictionary.
    """

    target_l0: float | None
    coefficient: float
    reduction: Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class SaeConfig:
    """Training of a sparse autoencoder on the tokens of a CNN (method specification, 7)."""

    kind: SaeKind = "batch_topk"
    """Gated as published, or one of the kinds that recover planted dictionaries better."""
    n_latents: Annotated[int, Range(1, 1_000_000)] = 8192
    """Size of the dictionary."""
    target_l0: Annotated[float, Range(0.01, 100_000)] | None = None
    """Active latents per token. Give this, or `sparsity`, or `paper_lambda`; 32 where none is."""
    sparsity: Annotated[float, Range(0, 1e6)] | None = None
    """Coefficient of the sparsity term, summed over features (gated, jumprelu)."""
    paper_lambda: Annotated[float, Range(0, 1e9)] | None = None
    """The published coefficient of a mean over features, which weakens with `n_latents` (gated)."""
    tap: Tap = "stage5_out"
    """Layer whose feature map gives the tokens."""
    centring: Centring = "dataset"
    """What is subtracted from the tokens; `dataset` is the mean over the training patches."""
    norm_restored: bool = True
    """Multiply activations by the lengths that the centred tokens had, when they are used."""
    tokens_per_patch: Annotated[int, Range(1, 1_000_000)] = 512
    """Tokens drawn from each patch in each pass."""
    buffer_tokens: Annotated[int, Range(1, 1_000_000_000, unit="tokens")] = 524_288
    """Tokens in memory at a time; batches mix the patches that these come from."""
    n_epochs: Annotated[int, Range(1, 100_000)] = 8
    """Passes over the patches."""
    batch_tokens: Annotated[int, Range(1, 10_000_000, unit="tokens")] = 4096
    """Tokens per step, mixed over many patches (published: 262,144)."""
    chunk_tokens: Annotated[int, Range(1, 10_000_000, unit="tokens")] = 65_536
    """Tokens at a time within a step; gradients add up, memory does not."""
    learning_rate: Annotated[float, Range(1e-8, 1)] = 1e-3
    """Highest learning rate of AdamW, warmed up over a tenth of the steps, then a cosine to 0."""
    weight_decay: Annotated[float, Range(0, 1)] = 1e-4
    """Decay of AdamW."""
    gradient_norm: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """Longer gradients are shortened to this."""
    auxiliary_weight: Annotated[float, Range(0, 1000)] = 1 / 32
    """Weight of the auxiliary loss."""
    warmup_steps: Annotated[int, Range(0, 10_000_000)] = 100
    """Steps before the sparsity term starts; at most a tenth of all."""
    ramp: Annotated[float, Range(0, 1)] = 0.1
    """Share of all steps over which the sparsity term then rises."""
    resample_every: Annotated[int, Range(0, 10_000_000, unit="steps")] = 0
    """Restart dead latents at badly explained tokens every so many steps of the first half; 0:
    never, as published."""
    evaluation_tokens: Annotated[int, Range(16, 10_000_000, unit="tokens")] = 16_384
    """Tokens of the fixed set that firing rates, L0 and FVU are measured on."""
    gated: GatedConfig = GatedConfig()
    """Settings of the kind `gated`."""
    jumprelu: JumpReluConfig = JumpReluConfig()
    """Settings of the kind `jumprelu`."""
    batch_topk: BatchTopKConfig = BatchTopKConfig()
    """Settings of the kinds `batch_topk` and `matryoshka`."""
    matryoshka: MatryoshkaConfig = MatryoshkaConfig()
    """Settings of the kind `matryoshka`."""

    def __post_init__(self) -> None:
        check_fields(self)
        asked = {
            name: getattr(self, name)
            for name in ("target_l0", "sparsity", "paper_lambda")
            if getattr(self, name) is not None
        }
        if len(asked) > 1:
            raise ConfigError(
                f"SaeConfig asks for {list_choices(asked)} at once. Give one of them."
            )
        if self.kind in TOPK_KINDS and asked and "target_l0" not in asked:
            raise ConfigError(
                f"The kind {self.kind} has no coefficient of sparsity ({list_choices(asked)}). "
                "Give target_l0, or choose the kind gated or jumprelu."
            )
        if self.kind == "jumprelu" and "paper_lambda" in asked:
            raise ConfigError(
                "The published lambda belongs to the kind gated. Give target_l0 or sparsity."
            )

    @property
    def request(self) -> SparsityRequest:
        """How sparse the SAE shall be."""
        if self.paper_lambda is not None:
            return SparsityRequest(target_l0=None, coefficient=self.paper_lambda, reduction="mean")
        if self.sparsity is not None:
            return SparsityRequest(target_l0=None, coefficient=self.sparsity, reduction="sum")
        target = DEFAULT_TARGET_L0 if self.target_l0 is None else self.target_l0
        return SparsityRequest(
            target_l0=target, coefficient=_guess_coefficient(self.kind, target), reduction="sum"
        )


def _guess_coefficient(kind: SaeKind, target_l0: float) -> float:
    """Return where the search for a target L0 starts.

    Activations of a unit token at this L0 are about ``target_l0 ** -0.5``; the gated coefficient
    shrinks them, that of an L0 penalty is weighed against their square.
    """
    if kind == "gated":
        return float(0.15 * target_l0**-0.5)
    return 0.1 / target_l0 if kind == "jumprelu" else 0.0


SAE_PRESETS: Final = {
    "small": SaeConfig(n_latents=512, target_l0=16, n_epochs=4, batch_tokens=2048),
    "paper": SaeConfig(
        kind="gated",
        paper_lambda=800,
        gated=GatedConfig(second_bias=True),
        tokens_per_patch=4096,
        batch_tokens=262_144,
        chunk_tokens=8192,
        learning_rate=3e-4,
    ),
}
"""A quick one for a processor, and the published recipe but for its centring by batch."""
