"""The settings of training an SAE on a folder of images. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig


@dataclass(frozen=True, kw_only=True)
class TrainSaeConfig:
    """Everything that decides the result of a training; model and images are given beside it."""

    sae: SaeConfig = field(default_factory=SaeConfig)
    """Kind, size, sparsity and training of the SAE."""

    data: TrainingDataConfig = field(default_factory=TrainingDataConfig)
    """How images are read and cut; what the encoder was trained with goes before it."""

    test_share: Annotated[float, Range(0, 0.9)] = 0.15
    """Share of the wells that the SAE is measured on and does not see; used where the folder of
    the encoder has no split.json."""

    save_minutes: Annotated[float, Range(0, 10_000, unit="min")] = 5.0
    """Time between two saved states."""

    device: str = "auto"
    """auto, cpu, cuda:0, mps: where to compute."""

    seed: Annotated[int, Range(0, 2**62)] = 0
    """Of weights, order, rotations and places."""

    def __post_init__(self) -> None:
        check_fields(self)
