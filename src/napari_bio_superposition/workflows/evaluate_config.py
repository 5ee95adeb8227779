"""The settings of evaluating models. Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.imaging.read_config import ReadConfig

ALIVE_THRESHOLD: Final = 1e-5
"""A latent that fires on a smaller share of the tokens counts as dead (specification, 7.4)."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What an encoder or an SAE is measured on, and how carefully."""

    n_patches: Annotated[int, Range(32, 1_000_000, unit="patches")] = 600
    """Patches that are looked at, the same number of each well; chosen at random."""

    split_unit: Literal["group", "plate", "image_id", "patch"] = "group"
    """What is either learnt from or scored on: wells (group), plates, images, or single patches,
    as published. With patches the scores leak."""

    test_share: Annotated[float, Range(0.1, 0.8)] = 0.4
    """Share of the wells that scores are taken from."""

    class_column: str = "auto"
    """Column whose values a probe tells apart; auto takes genotype, else line."""

    outcome: Path | None = None
    """Table (CSV, or .h5ad of `analyze`) with patch ids and the column of `outcome_column`."""

    outcome_column: str = "dead_area_rate"
    """Number per patch that is regressed on features: the cell death by default."""

    n_permutations: Annotated[int, Range(0, 100_000)] = 100
    """Permutations within plates behind each null of a regression or a correlation."""

    n_probe_nulls: Annotated[int, Range(0, 10_000)] = 5
    """Probes of classes permuted between wells of a plate, for the null of the accuracy."""

    n_seeds: Annotated[int, Range(0, 20)] = 2
    """SAEs trained anew, by the settings of the model, to compare with it and with one another;
    0 leaves the stability out."""

    seed_tokens: Annotated[int, Range(1024, 100_000_000, unit="tokens")] = 65_536
    """Tokens that these are trained on."""

    device: str = "auto"
    """Compute device: auto, cpu, cuda:0 (any number) or mps."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Seed of everything that is drawn."""

    reading: ReadConfig = field(default_factory=ReadConfig)
    """How image files are read."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Dictionary size against sparsity, at a fixed lambda and at a matched L0."""

    sizes: tuple[int, ...] = (64, 128, 256, 512)
    """Sizes of the dictionaries."""

    kinds: tuple[str, ...] = ("gated", "batch_topk")
    """Kinds that are trained at each target L0; the published lambda is always that of gated."""

    paper_lambdas: tuple[float, ...] = (8.0,)
    """Published coefficients (a mean over features) that each size is trained with."""

    target_l0s: tuple[float, ...] = (8.0,)
    """Active latents per token that each size is trained for."""

    n_tokens: Annotated[int, Range(1024, 100_000_000, unit="tokens")] = 131_072
    """Tokens of training wells that each SAE is trained on."""

    n_epochs: Annotated[int, Range(1, 10_000)] = 8
    """Passes over them; a gated SAE needs about a thousand steps of 1024 tokens to meet its L0."""

    learning_rate: Annotated[float, Range(1e-8, 1)] = 0.003
    """Highest learning rate."""

    n_seeds: Annotated[int, Range(1, 20)] = 2
    """Trainings of each SAE from other seeds, for the stability of its directions; the first one
    is measured, and 1 leaves the stability out."""

    evaluation: EvaluateConfig = field(default_factory=EvaluateConfig)
    """What they are measured on."""

    def __post_init__(self) -> None:
        check_fields(self)
