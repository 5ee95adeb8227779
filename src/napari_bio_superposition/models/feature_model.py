"""A model that is ready to use: card, encoder, SAE and mean token on one device. No files."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.encoder import Encoder
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.sae import SparseAutoencoder
from napari_bio_superposition.models.tokens import PreparedTokens, prepare_tokens


@dataclass(frozen=True, eq=False)
class FeatureModel:
    """Encoder and SAE with the card that says how they are used.

    Parameters
    ----------
    card
        Preprocessing, shapes and origin.
    encoder, sae
        In evaluation mode, on one device.
    mean_token
        ``(width,)``; present exactly when the card's centring is ``dataset``.
    """

    card: ModelCard
    encoder: Encoder
    sae: SparseAutoencoder
    mean_token: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.card.shape
        if self.encoder.config != shape:
            raise ModelError(
                f"The encoder is a {self.encoder.config}, the card of {self.card.name!r} says "
                f"{shape}. Use the card that belongs to these weights."
            )
        expected = (self.card.width, self.card.n_latents)
        if (self.sae.width, self.sae.n_latents) != expected:
            raise ModelError(
                f"The SAE is {self.sae.width} x {self.sae.n_latents}, the card of "
                f"{self.card.name!r} says {expected[0]} x {expected[1]}. "
                "Use the card that belongs to these weights."
            )
        if (self.mean_token is not None) != (self.card.centring == "dataset"):
            raise ModelError(
                f"The card of {self.card.name!r} says centring {self.card.centring!r}, and the "
                f"mean token is {'missing' if self.mean_token is None else 'there'}. "
                "A mean token belongs to the centring dataset, and only to it."
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.sae.device

    def to(self, device: str) -> Self:
        """Return the model on *device*; its networks are moved, not copied."""
        return replace(
            self,
            encoder=self.encoder.to(device),
            sae=self.sae.to(device),
            mean_token=None if self.mean_token is None else self.mean_token.to(device),
        )

    def feature_map(self, pixels: Tensor) -> Tensor:
        """Return the signed map ``(n, width, h, w)`` at the card's tap, for pixels in [0, 1]."""
        normalized = normalize_instances(
            pixels, mode=self.card.instance_normalization, std_floor=self.card.std_floor
        )
        features: Tensor = self.encoder(
            normalized.contiguous(memory_format=torch.channels_last), self.card.tap
        )
        return features

    def prepare(self, feature_map: Tensor) -> PreparedTokens:
        """Return the tokens of a feature map as the card says."""
        return prepare_tokens(feature_map, centring=self.card.centring, mean_token=self.mean_token)
