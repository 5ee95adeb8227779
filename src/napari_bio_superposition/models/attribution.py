"""Which SAE features a CNN channel is made of at some places: exact, or by matching maps."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import TokenCache

_MOST_TOKENS: Final = 4096
_MATCHING_ROUNDS: Final = 8
_MATCHING_COVERAGE: Final = 0.8


@dataclass(frozen=True, eq=False)
class ChannelAttribution:
    """One CNN channel at ``m`` tokens as a sum over latents.

    Per token ``value = constant + sum_i contribution_i + residual``, exactly, in the unit of the
    gap-scaled feature map: centring and length are undone.

    Parameters
    ----------
    channel
        Number of the channel.
    value
        The channel, ``(m,)``: what the encoder gave, divided by its map's mean length.
    constant
        What was subtracted in centring, and the decoder's bias, ``(m,)``.
    latents
        Strongest first by mean absolute contribution, ``(k,)``; those that never fire are left out.
    contributions
        ``norm * a_i * W_dec[i, channel]``, ``(k, m)``.
    residual
        What the SAE does not reconstruct, ``(m,)``.
    explained
        Share of the variance of ``value - constant`` (its mean square) that the first 1, 2, ... k
        latents leave explained, ``(k,)``; below 0 where they overshoot.
    shuffled
        The same, with the contributions of each latent dealt out anew over the tokens.
    """

    channel: int
    value: FloatArray
    constant: FloatArray
    latents: IntArray
    contributions: FloatArray
    residual: FloatArray
    explained: FloatArray
    shuffled: FloatArray

    @property
    def participation(self) -> float:
        """How many latents share the channel evenly: ``(sum s)^2 / sum s^2``."""
        strength = np.abs(self.contributions).mean(axis=1)
        total = float((strength**2).sum())
        return float(strength.sum()) ** 2 / total if total > 0 else 0.0


@torch.no_grad()
def attribute_channel(
    model: FeatureModel,
    tokens: TokenCache,
    channel: int,
    rows: IntArray,
    *,
    rng: np.random.Generator,
) -> ChannelAttribution:
    """Split one CNN channel at chosen places into the SAE features that write it.

    Parameters
    ----------
    model
        The model that made *tokens*.
    tokens
        From ``encode_patches(..., keep_tokens=True)``.
    channel
        Number of the CNN channel.
    rows
        Numbers of the tokens, ``patch * tokens_per_patch + token``; 4096 of them are drawn where
        there are more.
    rng
        Draws tokens and the control.

    Raises
    ------
    ModelError
        Where the channel does not exist or no place is chosen.

    Notes
    -----
    Section 15 of the method specification, its choice [Y]: the channel of the centred token is
    ``sum_i a_i W_dec[i, channel] + b_dec[channel]`` and a residual. With centring ``image`` or
    ``batch`` the mean that was taken off is not kept; the constant is then the bias alone.
    """
    _check_channel(model, channel, rows)
    if len(rows) > _MOST_TOKENS:
        rows = np.sort(rng.choice(rows, _MOST_TOKENS, replace=False))
    unit, norms = _gather(model, tokens, rows)
    activations = model.sae.encode(unit) * norms[:, None]
    contributions = (activations * model.sae.W_dec[:, channel]).T
    centre = 0.0 if model.mean_token is None else float(model.mean_token[channel])
    value = unit[:, channel] * norms + centre
    constant = norms * model.sae.b_dec[channel] + centre
    residual = value - constant - contributions.sum(0)
    strength = contributions.abs().mean(1)
    order = torch.argsort(-strength, stable=True)[: int((strength > 0).sum())]
    parts = contributions[order].cpu().numpy()
    target = (value - constant).cpu().numpy()
    return ChannelAttribution(
        channel=channel,
        value=value.cpu().numpy(),
        constant=constant.cpu().numpy(),
        latents=order.cpu().numpy(),
        contributions=parts,
        residual=residual.cpu().numpy(),
        explained=_explained(parts, target),
        shuffled=_explained(rng.permuted(parts, axis=1), target),
    )


def channel_map(model: FeatureModel, tokens: TokenCache, channel: int) -> FloatArray:
    """Return one CNN channel at all tokens as the SAE sees it, ``(n, h, w)``, with its sign.

    Centred, and with norms restored if the card says so: the same preprocessing as for latents.

    Raises
    ------
    ModelError
        Where there is no such channel.
    """
    _check_channel(model, channel, np.arange(1))
    values = tokens.unit[..., channel].astype(np.float32)
    if model.card.norm_restored:
        values *= tokens.norms
    maps: FloatArray = values.reshape(len(tokens), *tokens.map_shape)
    return maps


@dataclass(frozen=True, eq=False)
class MapMatch:
    """Result of the paper's greedy matching.

    Parameters
    ----------
    latents
        In the order in which they were taken.
    overlap
        Soft intersection over union with what was left, per round.
    coverage
        Share of the channel's map under the maximum of the maps so far, per round.
    n_for_coverage
        Rounds until 80 % are covered; -1 where they never are.
    """

    latents: tuple[int, ...]
    overlap: tuple[float, ...]
    coverage: tuple[float, ...]
    n_for_coverage: int


def match_maps_greedily(
    channel_map: FloatArray, latent_maps: FloatArray, latents: IntArray
) -> MapMatch:
    """Choose latents whose maps look like a channel's, as the paper's "OMP" does.

    Parameters
    ----------
    channel_map
        ``(h, w)``; its rectified values count.
    latent_maps
        Candidates, ``(n, h, w)``.
    latents
        Their numbers, ``(n,)``.

    Notes
    -----
    Section 15 of the method specification. It matches pictures, each stretched from its own
    percentile 50 to 99.9, and is no orthogonal matching pursuit: nothing is fitted again and the
    decoder is not used. `attribute_channel` says what a channel is made of.
    """
    target = _stretch(np.maximum(channel_map, 0))
    candidates = np.stack([_stretch(one) for one in latent_maps])
    rest, cover = target.copy(), np.zeros_like(target)
    free = np.ones(len(candidates), bool)
    taken, overlap, coverage = [], [], []
    for _ in range(min(_MATCHING_ROUNDS, len(candidates))):
        union = np.maximum(candidates, rest).sum(axis=(1, 2))
        shared = np.minimum(candidates, rest).sum(axis=(1, 2))
        score = np.where(free, shared / np.maximum(union, 1e-12), -1.0)
        best = int(score.argmax())
        free[best] = False
        rest = np.maximum(rest - candidates[best], 0)
        cover = np.maximum(cover, candidates[best])
        taken.append(int(latents[best]))
        overlap.append(float(score[best]))
        coverage.append(float(np.minimum(cover, target).sum() / max(float(target.sum()), 1e-12)))
    reached = [n for n, share in enumerate(coverage, start=1) if share >= _MATCHING_COVERAGE]
    return MapMatch(tuple(taken), tuple(overlap), tuple(coverage), reached[0] if reached else -1)


def _explained(parts: FloatArray, target: FloatArray) -> FloatArray:
    """Return ``1 - mean((target - sum of the first k parts)^2) / mean(target^2)`` for each k."""
    rest = target - np.cumsum(parts, axis=0, dtype=np.float64)
    total = max(float(np.mean(np.square(target, dtype=np.float64))), 1e-30)
    explained: FloatArray = (1 - np.mean(rest**2, axis=1) / total).astype(np.float32)
    return explained


def _stretch(values: FloatArray) -> FloatArray:
    low, high = np.percentile(values, [50, 99.9])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    stretched: FloatArray = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return stretched


def _gather(model: FeatureModel, tokens: TokenCache, rows: IntArray) -> tuple[Tensor, Tensor]:
    unit = tokens.unit.reshape(-1, model.card.width)[rows].astype(np.float32)
    norms = tokens.norms.reshape(-1)[rows]
    return torch.from_numpy(unit).to(model.device), torch.from_numpy(norms).to(model.device)


def _check_channel(model: FeatureModel, channel: int, rows: IntArray) -> None:
    if not 0 <= channel < model.card.width:
        raise ModelError(
            f"No channel {channel} in model {model.card.name!r}; choose one from 0 to "
            f"{model.card.width - 1}."
        )
    if len(rows) == 0:
        raise ModelError("No place is chosen. Click into a patch, or paint a region.")
