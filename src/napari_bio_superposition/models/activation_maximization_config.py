"""Settings of activation maximisation; free of torch, for forms and flags."""

from dataclasses import dataclass
from typing import Annotated

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MaximizationConfig:
    """How an image is made that excites one feature; every decay, jitter and seed gives one."""

    n_steps: Annotated[int, Range(1, 100_000)] = 512
    """Steps of the optimiser (the paper: 2048)."""

    learning_rate: Annotated[float, Range(1e-6, 1e4)] = 40.0
    """Of Adam, for Fourier coefficients; falls to 0 along a cosine."""

    decays: tuple[float, ...] = (0.4, 0.8, 1.2, 1.6)
    """Exponents of the frequency: larger ones favour coarse structure."""

    jitters_px: tuple[int, ...] = (4, 8, 12, 16)
    """Largest random shift in each step."""

    n_seeds: Annotated[int, Range(1, 100)] = 3
    """Random starts per decay and jitter."""

    l1: Annotated[float, Range(0, 1000)] = 0.0
    """Weight of the mean absolute pixel (one published script: 1e-4, another: 0)."""

    l2: Annotated[float, Range(0, 1000)] = 0.0
    """Weight of the mean squared coefficient; 1e-4 outweighs the activation at the learning rate of
    40."""

    batch_size: Annotated[int, Range(1, 4096)] = 48
    """Images that are made at the same time."""

    n_test_transforms: Annotated[int, Range(1, 256)] = 8
    """Random shifts, turns and scales on which the result is scored."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.decays or not self.jitters_px:
            raise ConfigError("MaximizationConfig needs at least one decay and one jitter.")
        if min(self.decays) < 0 or min(self.jitters_px) < 0:
            raise ConfigError(
                "MaximizationConfig.decays and jitters_px must not be negative. Choose 0 or more."
            )
