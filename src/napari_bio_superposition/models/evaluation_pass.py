"""One pass over patches that gathers all that SAEs and baselines are judged by. No scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.memory import choose_batch_size
from napari_bio_superposition.models.optimization import torch_generator
from napari_bio_superposition.models.splice import Dictionary, score_tokens, splice
from napari_bio_superposition.models.token_baselines import (
    cluster_tokens,
    nearest_words,
    random_dictionary,
)
from napari_bio_superposition.models.token_buffer import PatchRows

SAE: Final = "SAE"
RANDOM: Final = "random dictionary"
WORDS: Final = "k-means words"
_TOKENS_PER_SAMPLED_PATCH: Final = 128
_SAMPLED_VALUES: Final = 1 << 26


@dataclass(frozen=True, eq=False)
class DictionaryMeasures:
    """One dictionary on ``n`` patches; sums over the tokens of each patch.

    Parameters
    ----------
    pooled
        Mean activations, ``(n, n_latents)``.
    firing_rate
        Share of all tokens on which each latent is active, ``(n_latents,)``.
    error, n_active, n_active_tokens
        Squared error of the reconstruction, active latents, tokens with any, each ``(n,)``.
    spliced
        Pooled ``refine_out`` with the reconstruction in place of the tokens, ``(n, width)``.
    """

    pooled: FloatArray
    firing_rate: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    n_active: npt.NDArray[np.float64]
    n_active_tokens: npt.NDArray[np.float64]
    spliced: FloatArray


@dataclass(frozen=True, eq=False)
class PatchMeasures:
    """Everything that evaluation needs of ``n`` patches.

    Parameters
    ----------
    dictionaries
        Name to what it did, for instance an SAE and a random dictionary of its size and L0.
    representations
        Name to pooled features ``(n, feature)``, baselines included; the same tokens feed all.
    variation
        Squared distance of the tokens to the mean token of all patches, summed, ``(n,)``.
    n_tokens
        Tokens of a patch.
    original, ablated
        Pooled ``refine_out`` as it is, and with all tokens replaced by their centre,
        ``(n, width)``.
    places
        Sampled token numbers, ``(n_sampled, place)``, of the patches ``sampled``.
    sampled
        Positions of these patches among the ``n``.
    activations, channels
        Activations of each dictionary, and CNN tokens, at these places,
        ``(n_sampled * place, feature)``.
    """

    dictionaries: Mapping[str, DictionaryMeasures]
    representations: Mapping[str, FloatArray]
    variation: npt.NDArray[np.float64]
    n_tokens: int
    original: FloatArray
    ablated: FloatArray
    places: IntArray
    sampled: IntArray
    activations: Mapping[str, FloatArray]
    channels: FloatArray


def measure_patches(
    model: FeatureModel, patches: PatchRows, *, rng: np.random.Generator, n_sampled: int = 256
) -> Job[PatchMeasures]:
    """Run encoder, SAE and baselines of its size and L0 on patches.

    Parameters
    ----------
    model
        Its device is used.
    patches
        Which patches, in order.
    rng
        Draws the random dictionary, the words' first places and the sampled places.
    n_sampled
        Patches of which activations at single places are kept, for comparison with masks.
    """
    chance = torch_generator(rng)
    sample = yield from sample_tokens(model, patches, rng=rng)
    own = Dictionary.of(model.sae)
    l0 = mean_l0(own, sample)
    dictionaries = {
        SAE: own,
        RANDOM: random_dictionary(sample, own.n_latents, l0=l0, rng=chance),
    }
    words = {WORDS: cluster_tokens(sample, own.n_latents, rng=chance)}
    job = measure_dictionaries(model, patches, dictionaries, words, rng=rng, n_sampled=n_sampled)
    return (yield from job)


def measure_dictionaries(
    model: FeatureModel,
    patches: PatchRows,
    dictionaries: Mapping[str, Dictionary],
    words: Mapping[str, Tensor],
    *,
    rng: np.random.Generator,
    n_sampled: int = 256,
) -> Job[PatchMeasures]:
    """Run any number of dictionaries on the tokens of patches in one pass of bounded memory.

    Parameters
    ----------
    model
        Its encoder and card make the tokens; its device is used.
    patches
        Which patches, in order.
    dictionaries, words
        By name: SAEs and others in their place, and the words of bags of words.
    rng
        Draws the sampled places.
    n_sampled
        See `measure_patches`.
    """
    gathered = _Gathered(model, patches, dictionaries, words, rng=rng, n_sampled=n_sampled)
    size = choose_batch_size(model, side=patches.pixels.shape[-1])
    for start in range(0, len(patches), size):
        stop = min(len(patches), start + size)
        gathered.add(np.arange(start, stop))
        yield Progress("Measuring patches", stop, len(patches), "patches")
    return gathered.collect()


def sample_tokens(
    model: FeatureModel, patches: PatchRows, *, rng: np.random.Generator, n_tokens: int = 32_768
) -> Job[Tensor]:
    """Return unit tokens at random places of random patches, mixed, ``(token, width)`` float32."""
    chance = torch_generator(rng)
    some = patches.sample(-(-n_tokens // _TOKENS_PER_SAMPLED_PATCH), rng=rng)
    per_patch = -(-n_tokens // len(some))
    collected: list[Tensor] = []
    for batch in some.batches():
        with torch.no_grad():
            unit = model.prepare(model.feature_map(batch.to(model.device))).unit
        for row in unit:
            chosen = torch.randperm(len(row), generator=chance)[:per_patch]
            collected.append(row[chosen.to(row.device)])
        yield Progress("Sampling tokens", len(collected), len(some), "patches")
    tokens = torch.cat(collected)
    return tokens[torch.randperm(len(tokens), generator=chance).to(tokens.device)]


def mean_l0(dictionary: Dictionary, tokens: Tensor) -> float:
    """Return the active latents per token of unit *tokens* ``(token, width)``."""
    scores = score_tokens(dictionary, tokens, torch.ones(len(tokens), device=tokens.device))
    return scores.n_active / len(tokens)


class _Gathered:
    """The arrays that a pass fills, batch by batch."""

    def __init__(
        self,
        model: FeatureModel,
        patches: PatchRows,
        dictionaries: Mapping[str, Dictionary],
        words: Mapping[str, Tensor],
        *,
        rng: np.random.Generator,
        n_sampled: int,
    ) -> None:
        self.model, self.patches, self.dictionaries = model, patches, dictionaries
        self.words = words
        n, width = len(patches), model.card.width
        side = (patches.pixels.shape[-1] + 1) // 2
        self.n_tokens = side * side
        sizes = {"CNN channels": width, "CNN mean and SD": 2 * width, "CNN rectified": 2 * width}
        sizes |= {name: len(centroids) for name, centroids in words.items()}
        self.pooled = {name: np.zeros((n, size), np.float32) for name, size in sizes.items()}
        self.own = {name: _DictionarySums(n, d, width) for name, d in dictionaries.items()}
        self.sums = np.zeros((n, width))
        self.original, self.ablated = np.zeros((2, n, width), np.float32)
        self.sampled = np.sort(rng.choice(n, min(n, n_sampled), replace=False))
        n_latents = sum(dictionary.n_latents for dictionary in dictionaries.values())
        per_patch = _SAMPLED_VALUES // (len(self.sampled) * n_latents)
        per_patch = int(np.clip(per_patch, 4, 64))
        self.places = np.stack(
            [rng.choice(self.n_tokens, per_patch, replace=False) for _ in self.sampled]
        )
        self.activations = {
            name: np.zeros((self.places.size, dictionary.n_latents), np.float32)
            for name, dictionary in dictionaries.items()
        }
        self.channels = np.zeros((self.places.size, width), np.float32)

    @torch.no_grad()
    def add(self, rows: IntArray) -> None:
        """Measure some patches, by their position."""
        model = self.model
        maps = model.feature_map(self.patches.read(rows).to(model.device))
        tokens = model.prepare(maps)
        scale = tokens.norms if model.card.norm_restored else torch.ones_like(tokens.norms)
        seen = tokens.unit * scale[..., None]
        self.sums[rows] = tokens.unit.sum(1).double().cpu().numpy()
        self._pool_channels(rows, tokens.unit, seen)
        for name, dictionary in self.dictionaries.items():
            scores = [
                score_tokens(dictionary, u, s) for u, s in zip(tokens.unit, scale, strict=True)
            ]
            sums = self.own[name]
            for row, score in zip(rows, scores, strict=True):
                sums.pooled[row] = score.pooled.cpu().numpy()
                sums.firing += score.firing.double().cpu().numpy()
                sums.per_patch[:, row] = score.error, score.n_active, score.n_active_tokens
            rebuilt = torch.stack([score.reconstruction for score in scores])
            sums.spliced[rows] = splice(model, maps, tokens, rebuilt)
        pooled = model.encoder.resume(maps, model.card.tap).float().mean((2, 3))
        self.original[rows] = pooled.cpu().numpy()
        self.ablated[rows] = splice(model, maps, tokens, torch.zeros_like(tokens.unit))
        self._keep_places(rows, tokens.unit, seen)

    def _pool_channels(self, rows: IntArray, unit: Tensor, seen: Tensor) -> None:
        mean = seen.mean(1)
        self.pooled["CNN channels"][rows] = mean.cpu().numpy()
        both = torch.cat([mean, seen.std(1)], 1)
        self.pooled["CNN mean and SD"][rows] = both.cpu().numpy()
        rectified = torch.cat([seen.clamp_min(0).mean(1), (-seen).clamp_min(0).mean(1)], 1)
        self.pooled["CNN rectified"][rows] = rectified.cpu().numpy()
        for name, words in self.words.items():
            for row, patch in zip(rows, unit, strict=True):
                counts = torch.bincount(nearest_words(patch, words), minlength=len(words))
                self.pooled[name][row] = (counts / len(patch)).cpu().numpy()

    def _keep_places(self, rows: IntArray, unit: Tensor, seen: Tensor) -> None:
        per_patch = self.places.shape[1]
        for number in np.flatnonzero(np.isin(self.sampled, rows)):
            patch = int(self.sampled[number] - rows[0])
            chosen = torch.from_numpy(self.places[number]).to(unit.device)
            where = slice(number * per_patch, (number + 1) * per_patch)
            for name, dictionary in self.dictionaries.items():
                found = dictionary.jump.activate(unit[patch, chosen])
                self.activations[name][where] = found.cpu().numpy()
            self.channels[where] = seen[patch, chosen].cpu().numpy()

    def collect(self) -> PatchMeasures:
        """Return the arrays as the result."""
        n = len(self.patches)
        centre = self.sums.sum(0) / (n * self.n_tokens)
        variation = self.n_tokens * (1 + centre @ centre) - 2 * self.sums @ centre
        measures = {name: sums.collect(n * self.n_tokens) for name, sums in self.own.items()}
        dictionaries = {name: measure.pooled for name, measure in measures.items()}
        first = {name: dictionaries.pop(name) for name in (SAE,) if name in dictionaries}
        representations = {**first, **self.pooled, **dictionaries}
        return PatchMeasures(
            dictionaries=measures,
            representations=representations,
            variation=variation,
            n_tokens=self.n_tokens,
            original=self.original,
            ablated=self.ablated,
            places=self.places,
            sampled=self.sampled,
            activations=self.activations,
            channels=self.channels,
        )


class _DictionarySums:
    """The arrays of one dictionary."""

    def __init__(self, n: int, dictionary: Dictionary, width: int) -> None:
        self.pooled = np.zeros((n, dictionary.n_latents), np.float32)
        self.firing = np.zeros(dictionary.n_latents)
        self.per_patch = np.zeros((3, n))
        self.spliced = np.zeros((n, width), np.float32)

    def collect(self, n_tokens: int) -> DictionaryMeasures:
        """Return the arrays as the result."""
        error, n_active, n_active_tokens = self.per_patch
        return DictionaryMeasures(
            pooled=self.pooled,
            firing_rate=self.firing / n_tokens,
            error=error,
            n_active=n_active,
            n_active_tokens=n_active_tokens,
            spliced=self.spliced,
        )
