"""What the losses of all SAE kinds share: terms, sparse decode, schedule, decoder norms."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_bio_superposition.models.sae import SparseAutoencoder
from napari_bio_superposition.models.sparse_decode import decode_active, find_active


@dataclass(frozen=True, eq=False)
class SaeLosses:
    """The terms of a loss, scalars, and what a step says about the dictionary.

    Parameters
    ----------
    reconstruction, sparsity, auxiliary
        With gradient; ``sparsity`` and ``auxiliary`` are 0 where a kind has no such term.
    active
        Share of tokens on which each latent is active, ``(n_latents,)``; its sum is the L0.
    fvu
        Fraction of variance unexplained on these tokens, from the reconstruction that is there.
    """

    reconstruction: Tensor
    sparsity: Tensor
    auxiliary: Tensor
    active: Tensor
    fvu: Tensor

    def total(self, coefficient: float, *, auxiliary_weight: float = 1 / 32) -> Tensor:
        """Return ``reconstruction + coefficient * sparsity + auxiliary_weight * auxiliary``."""
        return self.reconstruction + coefficient * self.sparsity + auxiliary_weight * self.auxiliary


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Tokens decoded from activations: how far off they are, and which latents made them.

    ``squared`` is the squared error per token, with gradient; ``residual`` what is unexplained,
    ``(token, width)``, without.
    """

    squared: Tensor
    residual: Tensor
    active: Tensor
    fvu: Tensor


def reconstruct(sae: SparseAutoencoder, tokens: Tensor, activations: Tensor) -> Reconstruction:
    """Decode the active latents only, and measure the error on the way."""
    found = find_active(activations.detach())
    error = decode_active(activations, found, sae.W_dec) + sae.b_dec - tokens
    return measure_error(tokens, error, found.shares())


def measure_error(tokens: Tensor, error: Tensor, active: Tensor) -> Reconstruction:
    """Return what an *error* ``(token, width)`` of a reconstruction means."""
    squared = error.square().sum(1)
    variance = (tokens - tokens.mean(0)).square().sum()
    fvu = squared.detach().sum() / variance.clamp_min(1e-12)
    return Reconstruction(squared, -error.detach(), active, fvu)


def decode_largest(sae: SparseAutoencoder, candidates: Tensor, n_largest: int) -> Tensor:
    """Decode the largest entries of each row through the detached decoder: a sparse product.

    *candidates* is ``(token, n_latents)``; gradients flow into the entries that were chosen.
    """
    values, latents = candidates.topk(min(n_largest, candidates.shape[1]), dim=1)
    decoded: Tensor = functional.embedding_bag(
        latents, sae.W_dec.detach(), per_sample_weights=values, mode="sum"
    )
    return decoded


def dead_latents_loss(
    sae: SparseAutoencoder, activations: Tensor, residual: Tensor, dead: Tensor | None, n: int
) -> Tensor:
    """Return AuxK: how badly the *n* largest dead latents per token explain the residual.

    Gao et al. 2024, *Scaling and evaluating sparse autoencoders*, appendix A.2; *activations* are
    the rectified ones of all latents before any of them is dropped.
    """
    if dead is None or not dead.any():
        return residual.new_zeros(())
    candidates = dead.nonzero().flatten()
    values, positions = activations[:, candidates].topk(min(n, len(candidates)), dim=1)
    explained = functional.embedding_bag(
        candidates[positions], sae.W_dec, per_sample_weights=values, mode="sum"
    )
    return (explained - residual).square().sum(1).mean()


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
def project_decoder_gradient(sae: SparseAutoencoder) -> None:
    """Remove, in place, the part of each decoder row's gradient that would only change its norm."""
    if sae.W_dec.grad is not None:
        rows = functional.normalize(sae.W_dec, dim=1)
        sae.W_dec.grad -= (sae.W_dec.grad * rows).sum(1, keepdim=True) * rows


@torch.no_grad()
def normalize_decoder(sae: SparseAutoencoder) -> None:
    """Make the decoder's rows unit vectors again, in place."""
    sae.W_dec.copy_(functional.normalize(sae.W_dec, dim=1))
