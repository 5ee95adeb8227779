"""What every sparse autoencoder is: two matrices, and at inference a JumpReLU. No losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional


class SparseAutoencoder(nn.Module, ABC):
    """What inference, overlays and export ask of an SAE, whatever its kind and its losses.

    All kinds take centred unit tokens and none subtracts ``b_dec`` from them: the centring happens
    once, in `prepare_tokens`. Each kind encodes by one product and one threshold per latent.
    """

    W_dec: nn.Parameter
    """Directions of the dictionary, ``(n_latents, width)``."""
    b_dec: nn.Parameter
    """``(width,)``."""

    @property
    def width(self) -> int:
        """Length of a token."""
        return self.W_dec.shape[1]

    @property
    def n_latents(self) -> int:
        """Size of the dictionary."""
        return self.W_dec.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @abstractmethod
    def jump(self, latents: Tensor | None = None) -> "JumpReLU":
        """Return the encoder as a threshold unit, of all or of the chosen latents."""

    @abstractmethod
    def restart_latents(self, latents: Tensor, directions: Tensor) -> None:
        """Let dead latents begin again, in place, at unit directions ``(len(latents), width)``."""

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the activations ``(..., n_latents)`` of unit tokens ``(..., width)``."""
        return self.jump(latents=None).activate(tokens)

    def decode(self, activations: Tensor) -> Tensor:
        """Return the reconstructed tokens ``(..., width)``."""
        return activations @ self.W_dec + self.b_dec

    def calibrate(self, tokens: Tensor, *, target_l0: float) -> None:
        """Set stored thresholds from tokens, in place; kinds that learn them leave them alone."""

    def shift_thresholds(self, by: float) -> None:
        """Raise all learned thresholds by one number, in place; others are left alone."""


class ThresholdSAE(SparseAutoencoder):
    """An SAE that stores its thresholds: ``a = y * 1[y > threshold]``, ``y = x W_enc + b_enc``.

    Names and shapes are those that SAELens gives to a JumpReLU SAE.
    """

    def __init__(self, width: int, n_latents: int) -> None:
        super().__init__()
        self.W_enc = nn.Parameter(torch.zeros(width, n_latents))
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.threshold: Tensor  # a buffer here; `JumpReluSAE` learns it
        self._add_threshold(torch.zeros(n_latents))
        self.W_dec = nn.Parameter(torch.zeros(n_latents, width))
        self.b_dec = nn.Parameter(torch.zeros(width))

    def _add_threshold(self, values: Tensor) -> None:
        self.register_buffer("threshold", values)

    @classmethod
    def create(cls, width: int, n_latents: int, *, rng: torch.Generator) -> Self:
        """Return an SAE with random unit directions, its encoder the decoder's transpose."""
        sae = cls(width, n_latents)
        with torch.no_grad():
            sae.W_dec.copy_(functional.normalize(torch.randn(n_latents, width, generator=rng)))
            sae.W_enc.copy_(sae.W_dec.T)
        return sae

    def jump(self, latents: Tensor | None = None) -> "JumpReLU":
        """Return the encoder as a threshold unit, of all or of the chosen latents."""
        if latents is None:
            return JumpReLU(self.W_enc, self.b_enc, self.threshold)
        return JumpReLU(self.W_enc[:, latents], self.b_enc[latents], self.threshold[latents])

    @torch.no_grad()
    def restart_latents(self, latents: Tensor, directions: Tensor) -> None:
        """Let dead latents begin again, in place, at unit directions."""
        self.W_dec[latents] = directions
        self.W_enc[:, latents] = directions.T * self.W_enc.norm(dim=0).mean()
        self.b_enc[latents] = 0.0


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
