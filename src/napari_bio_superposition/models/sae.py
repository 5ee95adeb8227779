"""The gated sparse autoencoder with tied weights, run as the JumpReLU that it is. No losses."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional


class GatedSAE(nn.Module):
    """Gated SAE whose gate and magnitude share ``W_mag`` (method specification, 7.2).

    With ``y = x W_mag + b_mag`` the published gate ``x W_mag + b_gate > 0`` and the rectified
    magnitude are one threshold per latent, ``a = y * 1[y > max(0, b_mag - b_gate)]``: one product
    instead of two. There is neither a rescaling of the gate nor a subtraction of ``b_dec`` from
    the input. Parameter names are those of the published state dict.
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

    @property
    def width(self) -> int:
        """Length of a token."""
        return self.W_mag.shape[0]

    @property
    def n_latents(self) -> int:
        """Size of the dictionary."""
        return self.W_mag.shape[1]

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the activations ``(..., n_latents)`` of unit tokens ``(..., width)``."""
        return self.jump(latents=None).activate(tokens)

    def decode(self, activations: Tensor) -> Tensor:
        """Return the reconstructed tokens ``(..., width)``."""
        return activations @ self.W_dec + self.b_dec

    def jump(self, latents: Tensor | None = None) -> "JumpReLU":
        """Return the encoder as a threshold unit, of all or of the chosen latents."""
        threshold = (self.b_mag - self.b_gate).clamp_min(0)
        if latents is None:
            return JumpReLU(self.W_mag, self.b_mag, threshold)
        return JumpReLU(self.W_mag[:, latents], self.b_mag[latents], threshold[latents])


@dataclass(frozen=True, eq=False)
class JumpReLU:
    """``a = y * 1[y > threshold]`` with ``y = x W + b``; ``W`` is ``(width, latents)``."""

    W: Tensor
    b: Tensor
    threshold: Tensor

    def activate(self, tokens: Tensor) -> Tensor:
        """Return the activations ``(..., latents)`` of unit tokens ``(..., width)``."""
        y = tokens @ self.W + self.b
        return y * (y > self.threshold)

    def activate_into(self, tokens: Tensor, out: Tensor, active: Tensor) -> None:
        """Write activations and the 0/1 mask of active latents into *out* and *active*.

        All three matrices are ``(token, latents)`` or ``(token, width)`` float32; nothing else of
        that size is made, and no gradient is kept. A float mask, because summing a boolean one
        costs more than the product.
        """
        torch.addmm(self.b, tokens, self.W, out=out)
        torch.gt(out, self.threshold, out=active)
        out.mul_(active)
