"""The gated SAE in training: straight-through gate, losses, sparsity schedule, gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_bio_superposition.models.sae import GatedSAE


@dataclass(frozen=True, eq=False)
class GatedLosses:
    """The three terms of the loss, scalars, and the share of active latents per latent.

    ``active`` is ``(n_latents,)``, without gradient; its sum is the L0 of the batch.
    """

    reconstruction: Tensor
    sparsity: Tensor
    auxiliary: Tensor
    active: Tensor

    def total(self, coefficient: float, *, auxiliary_weight: float = 1 / 32) -> Tensor:
        """Return ``reconstruction + coefficient * sparsity + auxiliary_weight * auxiliary``."""
        return self.reconstruction + coefficient * self.sparsity + auxiliary_weight * self.auxiliary


def gated_losses(
    sae: GatedSAE,
    tokens: Tensor,
    *,
    sparsity: str = "sum",
    n_auxiliary: int = 32,
    second_bias: bool = False,
) -> GatedLosses:
    """Return the published losses of unit tokens (method specification, 7.3).

    Parameters
    ----------
    sae
        What is trained.
    tokens
        ``(token, width)``.
    sparsity
        ``sum`` adds the gate's pre-activations over features (and averages over tokens), so that
        a coefficient means the same for every dictionary size; ``mean`` averages over
        features too, as published.
    n_auxiliary
        Closed latents per token, the largest first, that shall explain the residual.
    second_bias
        Adds the decoder's bias a second time in the auxiliary term, as published.
    """
    u = tokens @ sae.W_mag  # (token, latent); one product for gate and magnitude
    gate = u + sae.b_gate
    magnitude = functional.relu(u + sae.b_mag)
    is_open = gate > 0
    activations = magnitude * _straight_through(gate, is_open)
    reconstructed = sae.decode(activations)
    row_norms = sae.W_dec.detach().norm(dim=1)
    penalty = functional.relu(gate) @ row_norms  # (token,), summed over features
    if sparsity == "mean":
        penalty = penalty / sae.n_latents
    residual = tokens - reconstructed.detach()
    bias = sae.b_dec.detach() if second_bias else None
    explained = _decode_largest(sae, magnitude.masked_fill(is_open, 0.0), n_auxiliary, bias)
    return GatedLosses(
        reconstruction=(reconstructed - tokens).square().sum(1).mean(),
        sparsity=penalty.mean(),
        auxiliary=(explained - residual).square().sum(1).mean(),
        active=(activations.detach() > 0).float().mean(0),
    )


def _straight_through(gate: Tensor, is_open: Tensor) -> Tensor:
    """Return the hard gate, with the derivative of the sigmoid."""
    soft = torch.sigmoid(gate)
    return is_open.to(soft.dtype) + (soft - soft.detach())


def _decode_largest(sae: GatedSAE, closed: Tensor, n_largest: int, bias: Tensor | None) -> Tensor:
    """Decode the largest entries of each row through the detached decoder: a sparse product."""
    values, latents = closed.topk(min(n_largest, sae.n_latents), dim=1)
    decoded = functional.embedding_bag(
        latents, sae.W_dec.detach(), per_sample_weights=values, mode="sum"
    )
    return decoded if bias is None else decoded + bias


def schedule_sparsity(
    step: int, n_steps: int, *, final: float, n_warmup: int = 100, ramp: float = 0.1
) -> float:
    """Return the sparsity coefficient at a step: 0, then a linear ramp, then *final* (7.3).

    Parameters
    ----------
    step, n_steps
        Current step, from 0, and the number of steps of the run.
    final
        Coefficient after the ramp.
    n_warmup
        Steps at 0.
    ramp
        Length of the ramp as a share of all steps.
    """
    n_ramp = int(ramp * n_steps)
    if step < n_warmup:
        return 0.0
    return final if n_ramp == 0 else final * min(1.0, (step - n_warmup) / n_ramp)


@torch.no_grad()
def project_decoder_gradient(sae: GatedSAE) -> None:
    """Remove, in place, the part of each decoder row's gradient that would only change its norm."""
    if sae.W_dec.grad is not None:
        rows = functional.normalize(sae.W_dec, dim=1)
        sae.W_dec.grad -= (sae.W_dec.grad * rows).sum(1, keepdim=True) * rows


@torch.no_grad()
def normalize_decoder(sae: GatedSAE) -> None:
    """Make the decoder's rows unit vectors again, in place."""
    sae.W_dec.copy_(functional.normalize(sae.W_dec, dim=1))
