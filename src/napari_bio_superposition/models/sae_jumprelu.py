"""The JumpReLU SAE: learned thresholds, L0 penalty, straight-through gradients. No loop."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_bio_superposition.models.sae import ThresholdSAE
from napari_bio_superposition.models.sae_loss import SaeLosses, reconstruct


class JumpReluSAE(ThresholdSAE):
    """SAE with ``a = y H(y - threshold)``, ``y = ReLU(x W_enc + b_enc)``, threshold learned.

    Rajamanoharan et al. 2024, *Jumping ahead: improving reconstruction fidelity with JumpReLU
    sparse autoencoders*, equations 4 and 9. The threshold itself is the parameter, kept from
    falling below 0, in place of its logarithm; tokens are centred beforehand, so ``b_dec`` is not
    subtracted from them.
    """

    def _add_threshold(self, values: Tensor) -> None:
        self.threshold = nn.Parameter(values)

    @torch.no_grad()
    def restart_latents(self, latents: Tensor, directions: Tensor) -> None:
        """Let dead latents begin again, in place, at unit directions."""
        super().restart_latents(latents, directions)
        self.threshold[latents] = self.threshold.mean()

    @torch.no_grad()
    def shift_thresholds(self, by: float) -> None:
        """Raise all thresholds by one number, in place, but none below 0."""
        self.threshold.add_(by).clamp_min_(0)


def jumprelu_losses(sae: JumpReluSAE, tokens: Tensor, *, bandwidth: float) -> SaeLosses:
    """Return reconstruction error and L0, the latter as the term of sparsity (equation 9).

    Parameters
    ----------
    sae
        What is trained.
    tokens
        ``(token, width)`` unit tokens.
    bandwidth
        Width of the window around a threshold in which a pre-activation moves it (equations 11
        and 12, rectangular kernel).
    """
    y = functional.relu(tokens @ sae.W_enc + sae.b_enc)
    threshold = sae.threshold.clamp_min(0)
    activations, n_active = _Jump.apply(  # type: ignore[no-untyped-call]
        y, threshold, bandwidth
    )
    decoded = reconstruct(sae, tokens, activations)
    return SaeLosses(
        reconstruction=decoded.squared.mean(),
        sparsity=n_active / len(tokens),
        auxiliary=y.new_zeros(()),
        active=decoded.active,
        fvu=decoded.fvu,
    )


class _Jump(torch.autograd.Function):
    """Return ``y H(y - threshold)`` and the number of entries that pass.

    Backward, the step is a rectangle of the given width and unit area: a threshold receives
    ``-threshold / width`` times the gradient of each activation within half a width of it, and
    ``-1 / width`` times that of the count; the pre-activation receives the gradient of its
    activation alone.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
        passes = y > threshold
        near = (y - threshold).abs() < bandwidth / 2
        ctx.save_for_backward(passes, near, threshold)
        ctx.bandwidth = bandwidth
        return y * passes, passes.sum().to(y.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad, grad_count = grads
        passes, near, threshold = ctx.saved_tensors
        from_values = -threshold * (grad * near).sum(0)
        from_count = -grad_count * near.sum(0)
        return grad * passes, (from_values + from_count) / ctx.bandwidth, None
