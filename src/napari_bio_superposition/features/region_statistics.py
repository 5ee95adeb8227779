"""Which latents live in a region: what is sampled, and what is made of it. No models, no images."""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.features.rank_sum import FloatColumn, adjust_p
from napari_bio_superposition.features.regions import NOWHERE, TokenGrid

_SHARE_INSIDE: Final = 0.2
_SHARE_OUTSIDE: Final = 0.2
_FEWEST_SAMPLED: Final = 256
_MOST_SAMPLED: Final = 40_000
_FEWEST_PER_RANDOM: Final = 8


@dataclass(frozen=True, kw_only=True)
class RegionQueryConfig:
    """How latents are ranked for a region of interest."""

    n_random: Annotated[int, Range(0, 9999)] = 199
    """Random regions of the same shape; the smallest p-value is 1 / (n_random + 1)."""

    min_tokens: Annotated[int, Range(1, 10_000)] = 8
    """A region of fewer tokens is too small (128 px with 64 x 64 tokens: a token is 2 x 2 px)."""

    work: Annotated[float, Range(1e6, 1e15)] = 1.5e10
    """Multiplications to spend: tokens x width x latents. The default takes half a second on two
    cores, and decides how many tokens are sampled; more makes the figures more exact."""

    n_top: Annotated[int, Range(1, 1_000_000)] | None = None
    """How many latents are returned; all where empty."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, eq=False)
class RegionSample:
    """The tokens on which a region is judged; numbers as in `TokenGrid`.

    Parameters
    ----------
    inside, outside
        Tokens of the region and of the rest (or of what it is compared with), all or a random
        sample of them.
    matched
        Some tokens of the region, spread over it.
    random
        The same places, moved to where a random region lies, ``(n_random, len(matched))``;
        `NOWHERE` where no patch is.
    n_inside, n_outside
        How many tokens there are in all.
    """

    inside: IntArray
    outside: IntArray
    matched: IntArray
    random: IntArray
    n_inside: int
    n_outside: int

    @property
    def rows(self) -> IntArray:
        """All tokens to be activated, in the order that `RegionScores` expects."""
        moved = np.where(self.random == NOWHERE, 0, self.random).ravel()
        return np.concatenate([self.inside, self.outside, self.matched, moved])


def sample_region(
    inside: BoolArray,
    outside: BoolArray,
    grid: TokenGrid,
    n_tokens: int,
    config: RegionQueryConfig,
    *,
    rng: np.random.Generator,
) -> RegionSample:
    """Choose the tokens on which a region is judged.

    Parameters
    ----------
    inside, outside
        Tokens of the region and those to compare with, ``(n, tokens)``.
    grid
        Where the tokens lie.
    n_tokens
        How many tokens may be activated in all.
    config
        Settings.
    rng
        Draws tokens and random regions.

    Raises
    ------
    RegionError
        Where the region is too small, or nothing lies outside of it.
    """
    within = np.flatnonzero(inside & ~(inside & outside))
    without = np.flatnonzero(outside & ~inside)
    _check_size(len(within), len(without), config)
    n_inside = max(_FEWEST_SAMPLED, int(_SHARE_INSIDE * n_tokens))
    n_outside = max(_FEWEST_SAMPLED, int(_SHARE_OUTSIDE * n_tokens))
    n_matched = (n_tokens - n_inside - n_outside) // max(1, config.n_random)
    n_matched = max(_FEWEST_PER_RANDOM, n_matched)
    places = grid.places_of(within)
    places = places[_sample(len(places), n_matched, rng)]
    return RegionSample(
        inside=within[_sample(len(within), n_inside, rng)],
        outside=without[_sample(len(without), n_outside, rng)],
        matched=grid.rows[places[:, 0], places[:, 1]],
        random=grid.move_randomly(places, config.n_random, rng=rng),
        n_inside=len(within),
        n_outside=len(without),
    )


def affordable_tokens(width: int, n_latents: int, config: RegionQueryConfig) -> int:
    """Return how many tokens may be activated with all latents for the work in *config*."""
    return int(min(_MOST_SAMPLED, config.work / (width * n_latents)))


class RegionScores:
    """Figures per latent, filled part by part, as the activations come in.

    Parameters
    ----------
    sample
        The tokens.
    n_latents
        Size of the dictionary.
    """

    def __init__(self, sample: RegionSample, n_latents: int) -> None:
        self.sample = sample
        names = ("mean_inside", "mean_outside", "auroc", "area", "firing_rate", "z_score")
        self.values = {name: np.zeros(n_latents) for name in names}
        self.p_value = np.full(n_latents, np.nan)
        known = sample.random != NOWHERE
        self._weights = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
        self._weights = self._weights[known.any(axis=1)].astype(np.float32)
        self._is_placed = known.any(axis=1)

    def add(self, latents: slice, activations: FloatArray) -> None:
        """Take in the activations of some latents, ``(len(sample.rows), part)``."""
        n_inside, n_outside = len(self.sample.inside), len(self.sample.outside)
        inside = activations[:n_inside]
        outside = activations[n_inside : n_inside + n_outside]
        is_active = activations[: n_inside + n_outside] > 0
        shares = is_active[:n_inside].mean(axis=0), is_active[n_inside:].mean(axis=0)
        self.values["mean_inside"][latents] = inside.mean(axis=0)
        self.values["mean_outside"][latents] = outside.mean(axis=0)
        self.values["area"][latents] = shares[0]
        self.values["firing_rate"][latents] = self._over_field(*shares)
        self.values["auroc"][latents] = column_auroc(inside, outside)
        self._add_random(latents, activations[n_inside + n_outside :])

    def as_table(self, n_top: int | None = None) -> pd.DataFrame:
        """Return one row per latent, best AUROC first; see `rank_latents`."""
        inside, outside = self.values["mean_inside"], self.values["mean_outside"]
        positive = (inside + outside)[(inside + outside) > 0]
        small = 0.05 * float(np.median(positive)) if positive.size else 1.0
        lift = (inside + small) / (outside + small)
        n_latents = len(inside)
        table = pd.DataFrame(
            {
                "feature": [feature_name(k) for k in range(n_latents)],
                "latent": np.arange(n_latents),
                **self.values,
                "p_value": self.p_value,
                "q_value": adjust_p(self.p_value),
            }
        )
        table.insert(4, "lift", lift)
        order = np.lexsort([-lift, -self.values["auroc"]])[:n_top]
        table = table.iloc[order].reset_index(drop=True)
        table.attrs = {
            "tokens_inside": self.sample.n_inside,
            "tokens_outside": self.sample.n_outside,
            "tokens_inside_used": len(self.sample.inside),
            "tokens_outside_used": len(self.sample.outside),
            "tokens_per_random_region": len(self.sample.matched),
            "random_regions": int(self._is_placed.sum()),
        }
        return table

    def _over_field(self, inside: FloatColumn, outside: FloatColumn) -> FloatColumn:
        n_inside, n_outside = self.sample.n_inside, self.sample.n_outside
        return (n_inside * inside + n_outside * outside) / (n_inside + n_outside)

    def _add_random(self, latents: slice, activations: FloatArray) -> None:
        """Compare the region's mean over its matched places with those of random regions."""
        n_matched, n_random = self.sample.random.shape[1], len(self._weights)
        if n_random == 0:
            return
        observed = activations[:n_matched].mean(axis=0)
        moved = activations[n_matched:].reshape(-1, n_matched, activations.shape[1])
        if not self._is_placed.all():
            moved = moved[self._is_placed]
        means = np.matmul(self._weights[:, None, :], moved)[:, 0]
        at_least = (means >= observed).sum(axis=0)
        spread = means.std(axis=0)
        z_score = np.divide(
            observed - means.mean(axis=0), spread, out=np.zeros_like(spread), where=spread > 0
        )
        self.values["z_score"][latents] = z_score
        seen = (means.max(axis=0) > 0) | (observed > 0)  # looks the same whatever is the region
        self.p_value[latents] = np.where(seen, (1 + at_least) / (1 + n_random), np.nan)


def column_auroc(first: FloatArray, second: FloatArray) -> FloatColumn:
    """Return per column the chance that a row of *first* is above one of *second*, ties half.

    For thousands of columns of activations, ``(n, n_columns)``, none below 0: one sort of whole
    columns, in which the lowest bit of each number says where it comes from. Only zeros count as
    ties; equal numbers above 0 do not occur in practice.
    """
    bits = (np.concatenate([first, second]).T + np.float32(0)).view(np.int32)  # makes -0.0 a 0.0
    bits &= np.int32(~1)
    bits[:, : len(first)] |= np.int32(1)
    n_zeros = [(part <= 0).sum(axis=0, dtype=np.int64) for part in (first, second)]
    bits.sort(axis=1)
    bits &= np.int32(1)
    sums = bits.astype(np.float64) @ np.arange(1.0, bits.shape[1] + 1)
    above = sums - len(first) * (len(first) + 1) / 2
    above -= n_zeros[0] * n_zeros[1] / 2  # among zeros the sort puts the first behind the second
    auroc: npt.NDArray[np.float64] = above / (len(first) * len(second))
    return auroc


def _sample(n: int, n_wanted: int, rng: np.random.Generator) -> IntArray:
    if n <= n_wanted:
        return np.arange(n)
    return np.sort(rng.choice(n, n_wanted, replace=False))


def _check_size(n_inside: int, n_outside: int, config: RegionQueryConfig) -> None:
    if n_inside < config.min_tokens:
        raise RegionError(
            f"The region covers {n_inside} tokens of accepted patches; at least "
            f"{config.min_tokens} are needed. Paint a larger region, on patches that passed the "
            "quality control."
        )
    if n_outside < config.min_tokens:
        raise RegionError(
            f"Only {n_outside} tokens are left to compare the region with. Paint a smaller region."
        )
