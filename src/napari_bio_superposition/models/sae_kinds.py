"""The kinds of SAE by name: the network and the loss of each. The only list of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from napari_bio_superposition.models.card import SaeKind
from napari_bio_superposition.models.sae import SparseAutoencoder
from napari_bio_superposition.models.sae_batch_topk import BatchTopKSAE, batch_topk_losses
from napari_bio_superposition.models.sae_config import TOPK_KINDS, SaeConfig
from napari_bio_superposition.models.sae_gated import GatedSAE, gated_losses
from napari_bio_superposition.models.sae_jumprelu import JumpReluSAE, jumprelu_losses
from napari_bio_superposition.models.sae_loss import SaeLosses
from napari_bio_superposition.models.sae_matryoshka import (
    MatryoshkaSAE,
    matryoshka_losses,
    nested_sizes,
)

_NETWORKS: Mapping[str, Any] = {
    "gated": GatedSAE,
    "jumprelu": JumpReluSAE,
    "batch_topk": BatchTopKSAE,
    "matryoshka": MatryoshkaSAE,
}


@dataclass(frozen=True, eq=False)
class Batch:
    """What a loss is computed from.

    Parameters
    ----------
    tokens
        ``(token, width)`` unit tokens, float32.
    weights
        Weight of each token, ``(token,)``, where the config asks for it.
    dead
        Which latents count as dead, ``(n_latents,)`` boolean, for kinds with AuxK.
    """

    tokens: Tensor
    weights: Tensor | None = None
    dead: Tensor | None = None


Objective = Callable[[Batch], SaeLosses]


def empty_sae(kind: SaeKind, width: int, n_latents: int) -> SparseAutoencoder:
    """Return an SAE of a kind without values, to load weights into."""
    sae: SparseAutoencoder = _NETWORKS[kind](width, n_latents)
    return sae


def create_sae(config: SaeConfig, width: int, *, rng: torch.Generator) -> SparseAutoencoder:
    """Return an SAE as its training begins."""
    sae: SparseAutoencoder = _NETWORKS[config.kind].create(width, config.n_latents, rng=rng)
    if isinstance(sae, JumpReluSAE):
        torch.nn.init.constant_(sae.threshold, config.jumprelu.initial_threshold / width**0.5)
    return sae


def choose_objective(sae: SparseAutoencoder, config: SaeConfig) -> Objective:
    """Return the loss of an SAE, from a batch alone."""
    request = config.request
    if isinstance(sae, GatedSAE):
        gated = config.gated
        losses = partial(
            gated_losses,
            sae,
            sparsity=request.reduction,
            n_auxiliary=gated.n_auxiliary,
            second_bias=gated.second_bias,
        )
        return lambda batch: losses(batch.tokens, weights=batch.weights)
    if isinstance(sae, JumpReluSAE):
        bandwidth = config.jumprelu.bandwidth / sae.width**0.5
        return lambda batch: jumprelu_losses(sae, batch.tokens, bandwidth=bandwidth)
    return _topk_objective(sae, config)


def _topk_objective(sae: SparseAutoencoder, config: SaeConfig) -> Objective:
    k, n_auxiliary = config.request.target_l0, config.batch_topk.n_auxiliary
    if not isinstance(sae, BatchTopKSAE) or config.kind not in TOPK_KINDS or k is None:
        raise TypeError(f"A {type(sae).__name__} is not trained as {config.kind}.")
    if isinstance(sae, MatryoshkaSAE):
        sizes = nested_sizes(sae.n_latents, config.matryoshka.shares)
        return lambda batch: matryoshka_losses(
            sae, batch.tokens, k=k, sizes=sizes, n_auxiliary=n_auxiliary, dead=batch.dead
        )
    return lambda batch: batch_topk_losses(
        sae, batch.tokens, k=k, n_auxiliary=n_auxiliary, dead=batch.dead
    )
