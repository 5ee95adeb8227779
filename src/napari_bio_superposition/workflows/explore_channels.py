"""CNN channels of an image: which are strong at a place, their maps, and what they are made of."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.features.overlays import assemble_overlay
from napari_bio_superposition.features.regions import tokens_in_region
from napari_bio_superposition.models.attribution import (
    ChannelAttribution,
    MapMatch,
    attribute_channel,
    channel_map,
    match_maps_greedily,
)
from napari_bio_superposition.models.inference import TokenCache, latent_maps
from napari_bio_superposition.models.region_query import stream_activations
from napari_bio_superposition.workflows.analyze import ImageAnalysis
from napari_bio_superposition.workflows.loading import LoadedModels

_MOST_TOKENS: Final = 4096
_N_CHANNELS: Final = 20
"""Channels that are listed for a place."""
_N_CANDIDATES: Final = 64
"""Latents that compete in the greedy matching: those most active in the patch."""


@dataclass(frozen=True, eq=False)
class ExplainedChannel:
    """The strongest CNN channels of a place, and one of them split into features.

    Parameters
    ----------
    channels
        Strongest first, ``(n,)``.
    strength
        Root mean square of each over the place, ``(n,)``.
    attribution
        Of one channel.
    """

    channels: IntArray
    strength: FloatArray
    attribution: ChannelAttribution


@dataclass(frozen=True, eq=False)
class MatchedChannel:
    """The published greedy matching of one channel's map in one patch.

    Parameters
    ----------
    channels, strength
        As in `ExplainedChannel`.
    channel
        Which was matched.
    patch
        Position among the accepted patches: where the channel is strongest at the place.
    match
        The latents that were taken.
    rolled
        The control: the same with each candidate's map moved at random over the patch.
    """

    channels: IntArray
    strength: FloatArray
    channel: int
    patch: int
    match: MapMatch
    rolled: MapMatch


def channel_overlay(analysis: ImageAnalysis, models: LoadedModels, channel: int) -> FloatArray:
    """Return how strong a CNN channel is over the image, ``(height, width)``; nan outside patches.

    The absolute value of the channel as the SAE sees it: what a comparison of CNN channels is
    about.

    Raises
    ------
    RegionError
        Where the analysis holds no tokens.
    ModelError
        Where there is no such channel.
    """
    tokens, patches = _need_tokens(analysis), analysis.patches
    maps = np.abs(channel_map(models.features, tokens, channel))
    origins = patches.origins[patches.accepted]
    return assemble_overlay(maps, origins, patches.side, analysis.image.shape)


def explain_channel(
    analysis: ImageAnalysis,
    models: LoadedModels,
    place: BoolArray | None = None,
    channel: int | None = None,
    *,
    rng: np.random.Generator | None = None,
) -> ExplainedChannel:
    """Split a CNN channel at a place into the SAE features that write it; see `attribute_channel`.

    Parameters
    ----------
    analysis, models
        Of one image, with tokens.
    place
        Pixels, ``(height, width)``; all patches where ``None``.
    channel
        Its number; the strongest of the place where ``None``.
    rng
        Draws tokens and the control; seed 0 where omitted.
    """
    rng, tokens = rng or np.random.default_rng(0), _need_tokens(analysis)
    rows = _rows_of_place(analysis, tokens, place)
    channels, strength = _strongest_channels(tokens, rows, rng)
    chosen = int(channels[0]) if channel is None else channel
    found = attribute_channel(models.features, tokens, chosen, rows, rng=rng)
    return ExplainedChannel(channels, strength, found)


def match_channel(
    analysis: ImageAnalysis,
    models: LoadedModels,
    place: BoolArray | None = None,
    channel: int | None = None,
    *,
    n_candidates: int = _N_CANDIDATES,
    rng: np.random.Generator | None = None,
) -> MatchedChannel:
    """Match the map of a CNN channel greedily with maps of latents, as the paper does.

    It works on the patch of the place in which the channel is strongest. Candidates are the latents
    most active there, none chosen by hand. `explain_channel` says what a channel is made of; this
    says which pictures look like it.

    Parameters
    ----------
    analysis, models, place, channel
        As for `explain_channel`.
    n_candidates
        How many latents compete.
    rng
        Draws tokens and the control; seed 0 where omitted.
    """
    rng, tokens = rng or np.random.default_rng(0), _need_tokens(analysis)
    rows = _rows_of_place(analysis, tokens, place)
    channels, strength = _strongest_channels(tokens, rows, rng)
    chosen = int(channels[0]) if channel is None else channel
    maps = np.abs(channel_map(models.features, tokens, chosen))
    at_place = np.bincount(
        rows // maps[0].size, weights=maps.reshape(-1)[rows], minlength=len(maps)
    )
    patch = int(at_place.argmax())
    latents = _most_active(models, tokens, patch, n_candidates)
    one = TokenCache(tokens.unit[[patch]], tokens.norms[[patch]], tokens.map_shape)
    candidates = latent_maps(models.features, one, latents.tolist())[:, 0]
    return MatchedChannel(
        channels,
        strength,
        chosen,
        patch,
        match_maps_greedily(maps[patch], candidates, latents),
        match_maps_greedily(maps[patch], _roll(candidates, rng), latents),
    )


def _need_tokens(analysis: ImageAnalysis) -> TokenCache:
    if analysis.tokens is None:
        raise RegionError("This result has no features. Run the analysis with a model.")
    return analysis.tokens


def _rows_of_place(
    analysis: ImageAnalysis, tokens: TokenCache, place: BoolArray | None
) -> IntArray:
    """Return the numbers of the tokens that a place covers."""
    if place is None:
        return np.arange(tokens.norms.size)
    patches = analysis.patches
    origins = patches.origins[patches.accepted]
    rows = np.flatnonzero(tokens_in_region(origins, patches.side, tokens.map_shape, place))
    if not rows.size:
        raise RegionError("The place lies on no accepted patch. Choose another one.")
    return rows


def _strongest_channels(
    tokens: TokenCache, rows: IntArray, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    some = rng.choice(rows, min(len(rows), _MOST_TOKENS), replace=False)
    width = tokens.unit.shape[-1]
    unit = tokens.unit.reshape(-1, width)[some].astype(np.float32)
    strength = np.sqrt(np.mean(np.square(unit * tokens.norms.reshape(-1)[some, None]), axis=0))
    channels = np.argsort(-strength, kind="stable")[:_N_CHANNELS]
    return channels, strength[channels]


def _most_active(models: LoadedModels, tokens: TokenCache, patch: int, n: int) -> IntArray:
    """Return the latents with the highest mean in a patch; those that never fire are left out."""
    n_tokens = tokens.norms.shape[1]
    rows = np.arange(patch * n_tokens, (patch + 1) * n_tokens)
    means = np.zeros(models.features.card.n_latents)
    for latents, activations in stream_activations(models.features, tokens, rows):
        means[latents] = activations.mean(axis=0)
    order = np.argsort(-means, kind="stable")[:n]
    found: IntArray = order[means[order] > 0]
    if not found.size:
        raise RegionError("No feature is active in this patch. Choose another place.")
    return found


def _roll(maps: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return maps ``(n, h, w)``, each moved at random over its patch, taken as a torus."""
    moves = rng.integers(maps.shape[1:], size=(len(maps), 2)).tolist()
    return np.stack([np.roll(one, move, (0, 1)) for one, move in zip(maps, moves, strict=True)])
