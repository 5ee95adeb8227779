"""The product of sparse activations with the decoder, forward and backward. No SAE, no losses."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_DENSEST = 0.06
"""Above this share of active entries, and on a GPU, the dense product is the faster one."""


@dataclass(frozen=True, eq=False)
class ActiveEntries:
    """Where a matrix ``(token, latent)`` is not 0, row by row, and how many entries each row has.

    ``tokens`` and ``latents`` are ``None`` where the matrix is too dense to be worth the list.
    """

    shape: tuple[int, int]
    counts: Tensor
    """Active tokens of each latent, ``(latent,)`` float32."""
    tokens: Tensor | None = None
    latents: Tensor | None = None

    def shares(self) -> Tensor:
        """Return the share of tokens on which each latent is active, ``(latent,)``."""
        return self.counts / self.shape[0]


def find_active(activations: Tensor) -> ActiveEntries:
    """List the entries above 0 of rectified activations ``(token, latent)``, without gradient."""
    n_tokens, n_latents = activations.shape
    if activations.device.type == "cpu":
        n_active = int(activations.count_nonzero())
        if n_active <= _DENSEST * activations.numel():
            tokens, latents = activations.nonzero(as_tuple=True)
            counts = latents.bincount(minlength=n_latents).float()
            return ActiveEntries((n_tokens, n_latents), counts, tokens, latents)
    return ActiveEntries((n_tokens, n_latents), activations.count_nonzero(0).float())


def decode_active(activations: Tensor, active: ActiveEntries, W_dec: Tensor) -> Tensor:
    """Return ``activations @ W_dec``, ``(token, width)``, in which only active entries cost.

    The gradient of the activations is dense, as straight-through gates need it; that of ``W_dec``
    again takes only the active entries.
    """
    if active.tokens is None or active.latents is None:
        return activations @ W_dec
    decoded: Tensor = _Decode.apply(  # type: ignore[no-untyped-call]
        activations, W_dec, active.tokens, active.latents
    )
    return decoded


class _Decode(torch.autograd.Function):
    """``A W`` with the entries of ``A`` listed: two sparse products, and a dense one for ``A``."""

    @staticmethod
    def forward(
        ctx: Any, activations: Tensor, W_dec: Tensor, tokens: Tensor, latents: Tensor
    ) -> Tensor:
        values = activations[tokens, latents]
        ctx.save_for_backward(values, W_dec, tokens, latents)
        return _add_rows(tokens, latents, values, W_dec, len(activations))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad = grads[0].contiguous()
        values, W_dec, tokens, latents = ctx.saved_tensors
        order = torch.argsort(latents, stable=True)
        by_latent = (latents[order], tokens[order], values[order])
        return grad @ W_dec.T, _add_rows(*by_latent, grad, len(W_dec)), None, None


def _add_rows(out_rows: Tensor, rows: Tensor, values: Tensor, table: Tensor, n_out: int) -> Tensor:
    """Return ``out[i] = sum of values * table[rows]`` over the entries with ``out_rows == i``.

    *out_rows* is sorted.
    """
    counts = out_rows.bincount(minlength=n_out)
    added: Tensor = functional.embedding_bag(
        rows, table, counts.cumsum(0) - counts, per_sample_weights=values, mode="sum"
    )
    return added
