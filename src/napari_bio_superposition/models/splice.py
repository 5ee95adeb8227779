"""What a dictionary does to tokens and to the network behind them, patch by patch. No scores."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.sae import JumpReLU, SparseAutoencoder
from napari_bio_superposition.models.tokens import PreparedTokens

_TOKENS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Thresholded encoder and linear decoder: an SAE of any kind, or a baseline in its place."""

    jump: JumpReLU
    W_dec: Tensor
    b_dec: Tensor

    @classmethod
    def of(cls, sae: SparseAutoencoder) -> Self:
        """Return the dictionary of a trained SAE."""
        return cls(sae.jump(), sae.W_dec, sae.b_dec)

    @property
    def n_latents(self) -> int:
        """Number of directions."""
        return self.W_dec.shape[0]


@dataclass(frozen=True, eq=False)
class TokenScores:
    """Sums over the tokens of one patch.

    Parameters
    ----------
    pooled
        Mean activation times *scale*, ``(n_latents,)``.
    firing
        Tokens on which each latent is active, ``(n_latents,)``.
    error
        Squared error of the reconstruction.
    n_active, n_active_tokens
        Active latents over all tokens, and tokens with at least one.
    reconstruction
        ``(token, width)``.
    """

    pooled: Tensor
    firing: Tensor
    error: float
    n_active: float
    n_active_tokens: float
    reconstruction: Tensor


@torch.no_grad()
def score_tokens(dictionary: Dictionary, unit: Tensor, scale: Tensor) -> TokenScores:
    """Encode and decode the unit tokens of one patch, some at a time.

    Parameters
    ----------
    dictionary
        What to encode with.
    unit
        ``(token, width)``.
    scale
        Factor of each token's activations when they are pooled, ``(token,)``.
    """
    pooled, firing = unit.new_zeros((2, dictionary.n_latents))
    reconstruction = torch.empty_like(unit)
    buffers = unit.new_empty((2, min(len(unit), _TOKENS_AT_ONCE), dictionary.n_latents))
    n_active_tokens = 0.0
    for start in range(0, len(unit), _TOKENS_AT_ONCE):
        part = slice(start, start + _TOKENS_AT_ONCE)
        activations, active = buffers[:, : len(unit[part])]
        dictionary.jump.activate_into(unit[part], activations, active)
        pooled += scale[part] @ activations
        firing += active.sum(0)
        n_active_tokens += float(active.amax(1).sum())
        torch.addmm(dictionary.b_dec, activations, dictionary.W_dec, out=reconstruction[part])
    return TokenScores(
        pooled=pooled / len(unit),
        firing=firing,
        error=float((reconstruction - unit).square().sum()),
        n_active=float(firing.sum()),
        n_active_tokens=n_active_tokens,
        reconstruction=reconstruction,
    )


@torch.no_grad()
def splice(
    model: FeatureModel, feature_map: Tensor, tokens: PreparedTokens, reconstruction: Tensor
) -> FloatArray:
    """Return pooled ``refine_out`` features with tokens replaced by their reconstruction.

    The reconstruction gets back the length, the centre and the scale that preparation took away, so
    that a perfect one leaves the network as it was.

    Parameters
    ----------
    model
        Encoder and card.
    feature_map
        At the card's tap, ``(n, width, height, width_px)``.
    tokens
        Prepared from it.
    reconstruction
        Of ``tokens.unit``, ``(n, token, width)``; zeros replace each token by the centre (mean
        ablation).

    Returns
    -------
    FloatArray
        ``(n, width)``.
    """
    scale = feature_map.float().mean((2, 3)).norm(dim=1).clamp_min(1e-12)
    change = (reconstruction - tokens.unit) * (tokens.norms * scale[:, None])[..., None]
    n, width, height, across = feature_map.shape
    changed = feature_map + change.view(n, height, across, width).permute(0, 3, 1, 2)
    pooled = model.encoder.resume(changed, model.card.tap).float().mean((2, 3))
    features: FloatArray = pooled.cpu().numpy().astype(np.float32)
    return features
