"""What an SAE is worth on given tokens: sparsity, reconstruction, live latents. No training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_bio_superposition.models.sae import SparseAutoencoder


@dataclass(frozen=True, eq=False)
class SaeMetrics:
    """Measures of the method specification, section 9, over one set of tokens.

    Parameters
    ----------
    l0
        Mean number of active latents per token, over all tokens.
    l0_of_active_tokens
        The same over tokens with at least one active latent: the published figure.
    active_token_share
        Share of tokens with at least one active latent.
    fvu
        Fraction of variance unexplained: squared error over squared distance to the mean token.
    firing_rate
        Share of tokens on which each latent is active, ``(n_latents,)`` on the CPU.
    """

    l0: float
    l0_of_active_tokens: float
    active_token_share: float
    fvu: float
    firing_rate: Tensor

    def alive_share(self, threshold: float = 1e-5) -> float:
        """Return the share of latents that fire on at least *threshold* of the tokens."""
        return float((self.firing_rate >= threshold).double().mean())


@torch.no_grad()
def measure_sae(sae: SparseAutoencoder, tokens: Tensor, *, chunk: int = 4096) -> SaeMetrics:
    """Measure an SAE on prepared unit tokens ``(token, width)``, chunk by chunk."""
    mean = tokens.mean(0)
    error, variance = 0.0, 0.0
    n_active, n_active_tokens = torch.zeros(sae.n_latents, dtype=torch.float64), 0
    for part in torch.split(tokens, chunk):
        activations = sae.encode(part)
        active = activations > 0
        error += float((sae.decode(activations) - part).square().sum())
        variance += float((part - mean).square().sum())
        n_active += active.sum(0).cpu()
        n_active_tokens += int(active.any(1).sum())
    n_tokens = len(tokens)
    return SaeMetrics(
        l0=float(n_active.sum()) / n_tokens,
        l0_of_active_tokens=float(n_active.sum()) / max(1, n_active_tokens),
        active_token_share=n_active_tokens / n_tokens,
        fvu=error / max(variance, 1e-12),
        firing_rate=n_active / n_tokens,
    )
