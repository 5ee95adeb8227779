"""From how sparse an SAE shall be to the coefficient of each step. No networks, no losses."""

import math

from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_loss import schedule_sparsity

_GAIN = 20.0
"""Sum of the steps of the search over a run, for an L0 that is wrong by a factor of e."""
_LARGEST_GAIN = 0.05
_MEMORY = 0.8
"""Share of itself that the smoothed L0 keeps per step."""


class SparsityControl:
    """The coefficient of the sparsity term: fixed, or sought so that L0 meets its target.

    After warm-up and ramp, the logarithm of the coefficient moves in each step by a gain times
    ``log(L0 / target)``, cut to half, with the smoothed L0 of the batches: an integral controller.
    The gain falls with the learning rate, since an SAE that no longer moves cannot answer.

    Parameters
    ----------
    config
        What is asked for.
    n_steps
        Steps of the run.
    """

    def __init__(self, config: SaeConfig, n_steps: int) -> None:
        request = config.request
        self.target = request.target_l0
        self.coefficient = request.coefficient
        self.n_steps = n_steps
        self.n_warmup = min(config.warmup_steps, n_steps // 10)
        self.ramp = config.ramp
        self.smoothed = math.nan

    def at(self, step: int) -> float:
        """Return the coefficient at a step, counted from 0."""
        return schedule_sparsity(
            step, self.n_steps, final=self.coefficient, n_warmup=self.n_warmup, ramp=self.ramp
        )

    def observe(self, step: int, l0: float, *, rate: float) -> None:
        """Take note of the L0 of a batch; *rate* is the learning rate's share of its highest."""
        if self.target is None or self.coefficient == 0:
            return
        if step < self.n_warmup + int(self.ramp * self.n_steps):
            return
        known = not math.isnan(self.smoothed)
        self.smoothed = _MEMORY * self.smoothed + (1 - _MEMORY) * l0 if known else l0
        error = math.log(max(self.smoothed, 1e-3) / self.target)
        gain = min(_LARGEST_GAIN, _GAIN / self.n_steps) * rate
        self.coefficient *= math.exp(gain * min(0.5, max(-0.5, error)))
