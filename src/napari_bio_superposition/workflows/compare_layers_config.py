"""The settings of comparing an encoder's layers. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig


@dataclass(frozen=True, kw_only=True)
class CompareLayersConfig:
    """How the layers of an encoder are compared: the same patches, folds and tests for each."""

    data: TrainingDataConfig = field(default_factory=TrainingDataConfig)
    """How images are read and cut; what the encoder was trained with goes before it."""

    n_folds: Annotated[int, Range(2, 20)] = 4
    """Folds of whole wells; each is tested once by a probe trained on the others."""

    n_permutations: Annotated[int, Range(0, 10_000)] = 100
    """Permutations of the death rate within plates, for the null of the regression."""

    most_patches: Annotated[int, Range(10, 1_000_000, unit="patches")] = 4000
    """Patches that are looked at, drawn at random."""

    device: str = "auto"
    """auto, cpu, cuda:0, mps: where to compute."""

    seed: Annotated[int, Range(0, 2**62)] = 0
    """Of patches, folds, permutations and intervals."""

    def __post_init__(self) -> None:
        check_fields(self)
