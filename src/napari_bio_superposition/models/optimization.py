"""Learning rates, chance and checks that encoder and SAE training share. No loops."""

import math

import numpy as np
import torch
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError


def warmup_cosine(step: int, n_steps: int, *, n_warmup: int) -> float:
    """Return the share of the highest learning rate at a step: linear rise, cosine to 0."""
    if step < n_warmup:
        return (step + 1) / n_warmup
    share = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups, times their ``relative_rate`` if any."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("relative_rate", 1.0)


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """Return a torch generator on the CPU that *rng* seeds."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def finite_loss(loss: Tensor) -> float:
    """Return a loss as a number.

    Raises
    ------
    ModelError
        Where it is not finite: the training has diverged.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ModelError(
            f"The loss became {value}. Choose a smaller learning rate, or check the patches."
        )
    return value
