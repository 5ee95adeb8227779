"""The gated SAE with tied weights: network and the published losses. No loop, no schedule."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_bio_superposition.models.sae import JumpReLU, SparseAutoencoder
from napari_bio_superposition.models.sae_loss import (
    SaeLosses,
    decode_largest,
    reconstruct,
)


class GatedSAE(SparseAutoencoder):
    """Gated SAE whose gate and magnitude share ``W_mag`` (method specification, 7.2).

    After Rajamanoharan et al. 2024, *Improving dictionary learning with gated sparse
    autoencoders*, in the form that the paper's code gives it. With ``y = x W_mag + b_mag`` its gate
    ``x W_mag + b_gate > 0`` and the rectified magnitude are one threshold per latent,
    ``a = y * 1[y > max(0, b_mag - b_gate)]``: one product instead of two. There is neither a
    rescaling of the gate nor a subtraction of ``b_dec`` from the input. Parameter names are those
    of the published state dict.
    """

    def __init__(self, width: int, n_latents: int) -> None:
        super().__init__()
        self.W_mag = nn.Parameter(torch.zeros(width, n_latents))
        self.b_mag = nn.Parameter(torch.zeros(n_latents))
        self.b_gate = nn.Parameter(torch.zeros(n_latents))
        self.W_dec = nn.Parameter(torch.zeros(n_latents, width))
        self.b_dec = nn.Parameter(torch.zeros(width))

    @classmethod
    def create(cls, width: int, n_latents: int, *, rng: torch.Generator) -> Self:
        """Return an SAE initialised as published: ``W ~ N(0, 0.02)``, gates open, tied decoder."""
        sae = cls(width, n_latents)
        with torch.no_grad():
            sae.W_mag.normal_(std=0.02, generator=rng)
            sae.W_dec.copy_(functional.normalize(sae.W_mag.T, dim=1))
            sae.b_gate.fill_(0.1)
        return sae

    def jump(self, latents: Tensor | None = None) -> JumpReLU:
        """Return the encoder as a threshold unit, of all or of the chosen latents."""
        threshold = (self.b_mag - self.b_gate).clamp_min(0)
        if latents is None:
            return JumpReLU(self.W_mag, self.b_mag, threshold)
        return JumpReLU(self.W_mag[:, latents], self.b_mag[latents], threshold[latents])

    @torch.no_grad()
    def restart_latents(self, latents: Tensor, directions: Tensor) -> None:
        """Let dead latents begin again, in place, at unit directions."""
        self.W_dec[latents] = directions
        self.W_mag[:, latents] = directions.T * self.W_mag.norm(dim=0).mean()
        self.b_mag[latents] = 0.0
        self.b_gate[latents] = self.b_gate.mean()

    @torch.no_grad()
    def shift_thresholds(self, by: float) -> None:
        """Raise the thresholds of all gates by one number, in place."""
        self.b_gate.sub_(by)


def gated_losses(
    sae: GatedSAE,
    tokens: Tensor,
    *,
    sparsity: str = "sum",
    n_auxiliary: int = 32,
    second_bias: bool = False,
    weights: Tensor | None = None,
) -> SaeLosses:
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
    weights
        Weight of each token in reconstruction and auxiliary term, ``(token,)``; the published
        option takes the token's length over the mean length.
    """
    u = tokens @ sae.W_mag  # (token, latent); one product for gate and magnitude
    gate = u + sae.b_gate
    magnitude = functional.relu(u + sae.b_mag)
    is_open = gate > 0
    opened = _Gate.apply(gate, is_open)  # type: ignore[no-untyped-call]
    activations: Tensor = magnitude * opened
    decoded = reconstruct(sae, tokens, activations)
    row_norms = sae.W_dec.detach().norm(dim=1)
    penalty = functional.relu(gate) @ row_norms  # (token,), summed over features
    if sparsity == "mean":
        penalty = penalty / sae.n_latents
    explained = decode_largest(sae, magnitude.masked_fill(is_open, 0.0), n_auxiliary)
    if second_bias:
        explained = explained + sae.b_dec.detach()
    return SaeLosses(
        reconstruction=weighted_mean(decoded.squared, weights),
        sparsity=penalty.mean(),
        auxiliary=weighted_mean((explained - decoded.residual).square().sum(1), weights),
        active=decoded.active,
        fvu=decoded.fvu,
    )


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over tokens, of ``weights * values`` where weights are given."""
    return values.mean() if weights is None else (weights * values).mean()


class _Gate(torch.autograd.Function):
    """The hard gate forward, the derivative of the sigmoid backward: straight through."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, is_open: Tensor) -> Tensor:
        ctx.save_for_backward(gate)
        return is_open.to(gate.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gate,) = ctx.saved_tensors
        soft = torch.sigmoid(gate)
        return grads[0] * soft * (1 - soft), None
