"""The settings of training a whole model: encoder, then SAE. Imports no torch."""

from dataclasses import dataclass, field
from typing import Final

from napari_bio_superposition.models.sae_config import SAE_PRESETS, SaeConfig
from napari_bio_superposition.workflows.train_encoder_config import (
    TRAINING_PRESETS,
    TrainEncoderConfig,
)


@dataclass(frozen=True, kw_only=True)
class TrainModelConfig:
    """Both trainings; device and seed of the encoder's serve both."""

    encoder: TrainEncoderConfig = field(default_factory=TrainEncoderConfig)
    """Encoder, patches, classes and split."""

    sae: SaeConfig = field(default_factory=SaeConfig)
    """Sparse autoencoder on the encoder's tokens."""


MODEL_PRESETS: Final = {
    name: TrainModelConfig(encoder=TRAINING_PRESETS[name], sae=SAE_PRESETS[name])
    for name in ("small", "paper")
}
"""Whole models by name; the quick one first."""
