"""Some tokens of many patches in memory, to compare many dictionaries on. No training."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.optimization import torch_generator
from napari_bio_superposition.models.splice import Dictionary, score_tokens
from napari_bio_superposition.models.token_buffer import PatchRows


@dataclass(frozen=True, eq=False)
class PatchTokens:
    """The same number of tokens of each patch.

    ``unit`` is ``(patch, token, width)`` float16, ``scale`` ``(patch, token)``: what activations
    are multiplied by when they are pooled.
    """

    unit: Tensor
    scale: Tensor

    @property
    def width(self) -> int:
        """Length of a token."""
        return self.unit.shape[2]

    def of(self, patches: IntArray, n_tokens: int) -> Tensor:
        """Return at most *n_tokens* tokens of some patches, evenly, ``(token, width)`` float32."""
        each = max(1, min(self.unit.shape[1], n_tokens // max(1, len(patches))))
        return self.unit[torch.from_numpy(patches), :each].flatten(0, 1)[:n_tokens].float()

    def mean(self) -> FloatArray:
        """Return the mean scaled token of each patch: the CNN under the same preprocessing."""
        rows = [
            (u.float() * s[:, None]).mean(0) for u, s in zip(self.unit, self.scale, strict=True)
        ]
        channels: FloatArray = torch.stack(rows).cpu().numpy()
        return channels


@dataclass(frozen=True, eq=False)
class PooledDictionary:
    """One dictionary on these tokens.

    ``pooled`` ``(patch, n_latents)``; ``firing_rate`` ``(n_latents,)``; ``error``, ``variation``
    (about the mean token) and ``n_active`` are sums over the tokens of each patch.
    """

    pooled: FloatArray
    firing_rate: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    variation: npt.NDArray[np.float64]
    n_active: npt.NDArray[np.float64]


@torch.no_grad()
def sample_patch_tokens(
    model: FeatureModel, patches: PatchRows, *, n_per_patch: int, rng: np.random.Generator
) -> Job[PatchTokens]:
    """Return tokens at random places of every patch, as the model prepares them."""
    chance = torch_generator(rng)
    units: list[Tensor] = []
    scales: list[Tensor] = []
    for batch in patches.batches():
        tokens = model.prepare(model.feature_map(batch.to(model.device)))
        scale = tokens.norms if model.card.norm_restored else torch.ones_like(tokens.norms)
        for unit, lengths in zip(tokens.unit, scale, strict=True):
            chosen = torch.randperm(len(unit), generator=chance)[:n_per_patch].to(unit.device)
            units.append(unit[chosen].half())
            scales.append(lengths[chosen])
        yield Progress("Collecting tokens", len(units), len(patches), "patches")
    return PatchTokens(torch.stack(units), torch.stack(scales))


@torch.no_grad()
def pool_dictionary(dictionary: Dictionary, tokens: PatchTokens) -> PooledDictionary:
    """Encode the tokens of each patch and pool them."""
    n, per_patch = tokens.scale.shape
    pooled = np.empty((n, dictionary.n_latents), np.float32)
    firing = np.zeros(dictionary.n_latents)
    error, variation, n_active = np.zeros((3, n))
    mean = tokens.unit.float().mean((0, 1))
    for row, (half, scale) in enumerate(zip(tokens.unit, tokens.scale, strict=True)):
        unit = half.float()
        scores = score_tokens(dictionary, unit, scale)
        pooled[row] = scores.pooled.cpu().numpy()
        firing += scores.firing.double().cpu().numpy()
        error[row], n_active[row] = scores.error, scores.n_active
        variation[row] = float((unit - mean).square().sum())
    return PooledDictionary(pooled, firing / (n * per_patch), error, variation, n_active)
