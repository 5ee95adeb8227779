"""The Matryoshka SAE: nested dictionaries over one batch top-k. No loop, no schedule."""

from collections.abc import Sequence

from torch import Tensor

from napari_bio_superposition.models.sae import SparseAutoencoder
from napari_bio_superposition.models.sae_batch_topk import BatchTopKSAE, keep_largest
from napari_bio_superposition.models.sae_loss import (
    SaeLosses,
    dead_latents_loss,
    measure_error,
)
from napari_bio_superposition.models.sparse_decode import decode_active, find_active


class MatryoshkaSAE(BatchTopKSAE):
    """Batch top-k SAE whose first latents have to reconstruct a token on their own.

    Bussmann, Nabeshima, Karvonen and Nanda 2025, *Learning multi-level features with Matryoshka
    sparse autoencoders*, equation 4: general features come first and are not absorbed into special
    ones. Sizes are fixed here, not drawn anew in each step. Inference is that of batch top-k.
    """


def matryoshka_losses(
    sae: MatryoshkaSAE,
    tokens: Tensor,
    *,
    k: float,
    sizes: Sequence[int],
    n_auxiliary: int,
    dead: Tensor | None = None,
) -> SaeLosses:
    """Return the mean over nested dictionaries of the reconstruction error, and AuxK.

    Parameters
    ----------
    sae
        What is trained.
    tokens
        ``(token, width)`` unit tokens.
    k
        Active latents per token of the whole dictionary, on average over the batch.
    sizes
        Latents of each dictionary, rising; the last is the whole.
    n_auxiliary, dead
        As for `batch_topk_losses`; the residual is that of the whole dictionary.
    """
    every = sae.preactivate(tokens)
    kept = keep_largest(every, k)
    errors = nested_errors(sae, tokens, kept, sizes)
    whole = measure_error(tokens, errors[-1], find_active(kept.detach()).shares())
    squared = sum((error.square().sum(1) for error in errors[:-1]), start=whole.squared)
    return SaeLosses(
        reconstruction=squared.mean() / len(sizes),
        sparsity=every.new_zeros(()),
        auxiliary=dead_latents_loss(sae, every, whole.residual, dead, n_auxiliary),
        active=whole.active,
        fvu=whole.fvu,
    )


def nested_errors(
    sae: SparseAutoencoder, tokens: Tensor, activations: Tensor, sizes: Sequence[int]
) -> list[Tensor]:
    """Return the error ``(token, width)`` of each dictionary; each latent is decoded once."""
    errors, error, start = [], sae.b_dec - tokens, 0
    for stop in sizes:
        part = activations[:, start:stop]
        error = error + decode_active(part, find_active(part.detach()), sae.W_dec[start:stop])
        errors.append(error)
        start = stop
    return errors


def nested_sizes(n_latents: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Return the rising sizes of the dictionaries for *shares* of the whole, which comes last."""
    sizes = {max(1, round(share * n_latents)) for share in shares} | {n_latents}
    return tuple(sorted(sizes))
