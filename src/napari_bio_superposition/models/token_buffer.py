"""From patches to shuffled tokens in bounded memory. No SAE, no losses, no files of images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.models.contrastive import rotate_randomly
from napari_bio_superposition.models.encoder import Encoder
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.optimization import torch_generator
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.tokens import (
    PreparedTokens,
    mean_scaled_token,
    prepare_tokens,
)
from napari_bio_superposition.models.training_config import NormalizationConfig

_PATCHES_AT_ONCE = 16
_MEAN_PATCHES = 4096
"""The mean token is that of at most so many patches: its error is then below 2 % of a spread."""


@dataclass(frozen=True, eq=False)
class PatchRows:
    """Some rows of an array of patches that may lie on disk; pixels are read when asked for.

    Parameters
    ----------
    pixels
        ``(n, channel, side, side)`` in ``[0, 1]``, any floating type, may be memory-mapped.
    rows
        Rows that take part.
    """

    pixels: npt.NDArray[np.floating]
    rows: IntArray

    @classmethod
    def of(cls, pixels: npt.NDArray[np.floating]) -> Self:
        """Return all rows."""
        return cls(pixels, np.arange(len(pixels)))

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, chosen: IntArray) -> Tensor:
        """Return patches by their position among the rows, float32."""
        pixels = np.asarray(self.pixels[self.rows[chosen]], dtype=np.float32)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def sample(self, n: int, *, rng: np.random.Generator) -> Self:
        """Return at most *n* of the rows, in order."""
        if n >= len(self):
            return self
        return replace(self, rows=np.sort(rng.choice(self.rows, n, replace=False)))

    def batches(self) -> Iterator[Tensor]:
        """Yield all patches, some at a time, in order."""
        for start in range(0, len(self), _PATCHES_AT_ONCE):
            yield self.read(np.arange(start, min(len(self), start + _PATCHES_AT_ONCE)))


@dataclass(frozen=True, eq=False)
class TokenMaker:
    """The way from patches to tokens that training and inference share.

    Parameters
    ----------
    encoder
        In evaluation mode; its device is used.
    normalization
        As the encoder was trained.
    tap, centring, mean_token
        As in the model's card; see `prepare_tokens`.
    """

    encoder: Encoder
    normalization: NormalizationConfig
    tap: str
    centring: str
    mean_token: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return next(self.encoder.parameters()).device

    @torch.no_grad()
    def feature_map(self, patches: Tensor) -> Tensor:
        """Return the map at the tap, ``(n, width, height, width_px)``."""
        normalized = normalize_instances(
            patches.to(self.device),
            mode=self.normalization.mode,
            std_floor=self.normalization.std_floor,
        )
        features: Tensor = self.encoder(
            normalized.contiguous(memory_format=torch.channels_last), self.tap
        )
        return features

    def tokens(self, patches: Tensor) -> PreparedTokens:
        """Return the tokens of patches, as the model will make them."""
        return prepare_tokens(
            self.feature_map(patches), centring=self.centring, mean_token=self.mean_token
        )


@dataclass(frozen=True, eq=False)
class TokenShard:
    """Tokens that are in memory together.

    ``unit`` is ``(token, width)``, of any floating type; ``norms`` ``(token,)``: the length that
    each token had.
    """

    unit: Tensor
    norms: Tensor


class TokenSource(Protocol):
    """Where training takes its tokens from: each epoch a number of shards, one after the other."""

    @property
    def width(self) -> int:
        """Length of a token."""

    @property
    def device(self) -> torch.device:
        """Where the training takes place."""

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Tokens of each shard of an epoch."""

    def shard(self, epoch: int, index: int) -> Job[TokenShard]:
        """Fill one shard; the same arguments give the same tokens."""


@dataclass(frozen=True, eq=False)
class TokensInMemory:
    """A source of tokens that are there already, ``(token, width)``: one shard."""

    unit: Tensor

    @property
    def width(self) -> int:
        """Length of a token."""
        return self.unit.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the training takes place."""
        return self.unit.device

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Tokens of each shard of an epoch."""
        return (len(self.unit),)

    def shard(self, epoch: int, index: int) -> Job[TokenShard]:
        """Return one shard; see `TokenSource`."""
        yield from ()
        return TokenShard(self.unit, torch.ones(len(self.unit), device=self.unit.device))


class TokenBuffer:
    """Tokens of rotated patches, a bounded number at a time.

    An epoch deals all patches at random into shards of ``config.buffer_tokens``. Of each patch
    ``config.tokens_per_patch`` tokens at random places are kept; a batch then mixes the patches of
    a shard, a thousand at the default sizes. Where one shard holds all, it is
    filled once and kept. Each shard depends on seed, epoch and number alone: a killed run
    goes on at a shard without what came before.

    Parameters
    ----------
    maker
        The way from patches to tokens.
    patches
        What to train on.
    config
        Sizes.
    seed
        Of order, rotations and places.
    """

    def __init__(
        self, maker: TokenMaker, patches: PatchRows, config: SaeConfig, *, seed: int
    ) -> None:
        if not len(patches):
            raise ModelError("There is no patch to train on. Choose other rows, or more images.")
        self.maker = maker
        self.patches = patches
        self.seed = seed
        side = (patches.pixels.shape[-1] + 1) // 2
        self.tokens_per_patch = min(config.tokens_per_patch, side * side)
        per_shard = max(1, config.buffer_tokens // self.tokens_per_patch)
        self.n_shards = math.ceil(len(patches) / per_shard)
        self._kept: TokenShard | None = None

    @property
    def width(self) -> int:
        """Length of a token."""
        return self.maker.encoder.config.width

    @property
    def device(self) -> torch.device:
        """Where the training takes place."""
        return self.maker.device

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Tokens of each shard of an epoch."""
        parts = np.array_split(np.arange(len(self.patches)), self.n_shards)
        return tuple(len(part) * self.tokens_per_patch for part in parts)

    def shard(self, epoch: int, index: int) -> Job[TokenShard]:
        """Return one shard; see `TokenSource`."""
        if self._kept is not None:
            return self._kept
        if self.n_shards == 1:
            self._kept = yield from self._fill(0, 0)
            return self._kept
        return (yield from self._fill(epoch, index))

    def _fill(self, epoch: int, index: int) -> Job[TokenShard]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.patches))
        chosen = np.array_split(order, self.n_shards)[index]
        chance = torch_generator(np.random.default_rng([self.seed, epoch, index]))
        n, kept = len(chosen), self.tokens_per_patch
        unit = torch.empty((n * kept, self.width), dtype=torch.float16, device=self.device)
        norms = torch.empty(n * kept, device=self.device)
        for start in range(0, n, _PATCHES_AT_ONCE):
            some = np.sort(chosen[start : start + _PATCHES_AT_ONCE])
            rotated = rotate_randomly(self.patches.read(some), rng=chance)
            tokens = self.maker.tokens(rotated)
            for row, places in enumerate(_draw_places(tokens, kept, chance), start=start):
                where = slice(row * kept, (row + 1) * kept)
                unit[where] = tokens.unit[row - start, places].half()
                norms[where] = tokens.norms[row - start, places]
            yield Progress("Collecting tokens", min(start + len(some), n), n, "patches")
        return TokenShard(unit, norms)


def collect_evaluation_tokens(
    maker: TokenMaker, patches: PatchRows, n_tokens: int, *, rng: np.random.Generator
) -> Job[Tensor]:
    """Return a fixed set of unit tokens of patches as they are, ``(token, width)`` float32.

    At most 128 tokens of a patch, so that many patches are seen.
    """
    chance, per_patch = torch_generator(rng), 128
    some = patches.sample(math.ceil(n_tokens / per_patch), rng=rng)
    collected: list[Tensor] = []
    for batch in some.batches():
        tokens = maker.tokens(batch)
        kept = min(per_patch, tokens.unit.shape[1])
        for row, places in enumerate(_draw_places(tokens, kept, chance)):
            collected.append(tokens.unit[row, places])
        yield Progress("Collecting tokens to measure on", len(collected), len(some), "patches")
    return torch.cat(collected)[:n_tokens]


def compute_mean_token(
    maker: TokenMaker, patches: PatchRows, *, rng: np.random.Generator
) -> Job[Tensor]:
    """Return the mean gap-scaled token of patches, ``(width,)``: the fixed centre of a model."""
    some = patches.sample(_MEAN_PATCHES, rng=rng)
    total, n_done = torch.zeros(maker.encoder.config.width, dtype=torch.float64), 0
    for batch in some.batches():
        total += mean_scaled_token(maker.feature_map(batch)).double().cpu() * len(batch)
        n_done += len(batch)
        yield Progress("Computing the mean token", n_done, len(some), "patches")
    return (total / n_done).float().to(maker.device)


def _draw_places(tokens: PreparedTokens, n_kept: int, chance: torch.Generator) -> list[Tensor]:
    """Return different places of each patch, ``n_kept`` indices of its tokens."""
    n_patches, n_places = tokens.norms.shape
    device = tokens.norms.device
    return [
        torch.randperm(n_places, generator=chance)[:n_kept].to(device) for _ in range(n_patches)
    ]
