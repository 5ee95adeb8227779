"""The batch top-k SAE: the largest activations of a whole batch. No loop, no schedule."""

import torch
from torch import Tensor
from torch.nn import functional

from napari_bio_superposition.models.sae import ThresholdSAE
from napari_bio_superposition.models.sae_loss import (
    SaeLosses,
    dead_latents_loss,
    reconstruct,
)

_SAMPLED = 64
"""One entry in so many is looked at to guess where the cut lies."""


class BatchTopKSAE(ThresholdSAE):
    """SAE that keeps the ``k n`` largest rectified activations of a batch of ``n`` tokens.

    Bussmann, Leask and Nanda 2024, *BatchTopK sparse autoencoders*, equations 5 to 7. At inference
    one threshold for all latents takes the place of the batch, the mean over batches of the
    smallest activation that was kept (equation 8), so that a result does not depend on its
    neighbours.
    """

    @torch.no_grad()
    def calibrate(self, tokens: Tensor, *, target_l0: float, chunk: int = 4096) -> None:
        """Set the threshold at which *tokens* ``(token, width)`` have *target_l0* on average."""
        cuts, n_tokens = 0.0, 0
        for part in torch.split(tokens, chunk):
            cuts += len(part) * batch_threshold(self.preactivate(part), target_l0)
            n_tokens += len(part)
        self.threshold.fill_(cuts / max(1, n_tokens))

    def preactivate(self, tokens: Tensor) -> Tensor:
        """Return the rectified activations of all latents, before any is dropped."""
        return functional.relu(tokens @ self.W_enc + self.b_enc)


def batch_topk_losses(
    sae: BatchTopKSAE,
    tokens: Tensor,
    *,
    k: float,
    n_auxiliary: int,
    dead: Tensor | None = None,
) -> SaeLosses:
    """Return the reconstruction error and AuxK (equation 7).

    Parameters
    ----------
    sae
        What is trained.
    tokens
        ``(token, width)`` unit tokens.
    k
        Active latents per token on average over the batch.
    n_auxiliary
        Dead latents per token, the largest first, that shall explain the residual.
    dead
        Which latents count as dead, ``(n_latents,)`` boolean.
    """
    every = sae.preactivate(tokens)
    decoded = reconstruct(sae, tokens, keep_largest(every, k))
    return SaeLosses(
        reconstruction=decoded.squared.mean(),
        sparsity=every.new_zeros(()),
        auxiliary=dead_latents_loss(sae, every, decoded.residual, dead, n_auxiliary),
        active=decoded.active,
        fvu=decoded.fvu,
    )


def keep_largest(activations: Tensor, k: float) -> Tensor:
    """Set all but the ``k n`` largest entries of ``(n, n_latents)`` to 0, with gradient."""
    return activations * (activations.detach() > batch_threshold(activations.detach(), k))


def batch_threshold(activations: Tensor, k: float) -> float:
    """Return the number that ``k n`` entries of rectified activations ``(n, n_latents)`` exceed.

    It lies half-way between the smallest entry that is kept and the largest that is not; 0 where
    no more than ``k n`` entries are above 0. Only the candidates above a bound guessed from a
    sample are sorted: sorting all of them would cost more than the products.
    """
    n_kept = max(1, round(k * len(activations)))
    entries = activations.flatten()
    if n_kept >= len(entries):
        return 0.0
    candidates = entries[entries > _guess_bound(entries, n_kept)]
    if len(candidates) <= n_kept:
        candidates = entries[entries > 0]
    if len(candidates) <= n_kept:
        return 0.0
    largest = candidates.topk(n_kept + 1).values
    return float((largest[-1] + largest[-2]) / 2)


def _guess_bound(entries: Tensor, n_kept: int) -> float:
    """Return a bound that about twice as many entries exceed as are kept."""
    sample = entries[::_SAMPLED]
    n_above = min(len(sample), 2 * n_kept // _SAMPLED + 8)
    return float(sample.topk(n_above).values[-1])
