"""Dictionaries that nobody trained, for comparison with an SAE: random ones, and words. No SAE."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from napari_bio_superposition.models.sae import JumpReLU
from napari_bio_superposition.models.splice import Dictionary

_ROUNDS: Final = 12
_TOKENS_AT_ONCE: Final = 4096


@torch.no_grad()
def random_dictionary(
    tokens: Tensor, n_latents: int, *, l0: float, rng: torch.Generator
) -> Dictionary:
    """Return random unit directions whose thresholds give as many active latents per token.

    Parameters
    ----------
    tokens
        A sample of unit tokens, ``(token, width)``; sets thresholds, bias and decoder scale.
    n_latents
        Size of the dictionary.
    l0
        Active latents per token to match; each latent fires on the same share of the sample.
    rng
        Draws the directions, on the CPU.
    """
    directions = torch.randn(n_latents, tokens.shape[1], generator=rng).to(tokens.device)
    directions = functional.normalize(directions, dim=1)
    kept = max(1, min(len(tokens), round(len(tokens) * l0 / n_latents)))
    thresholds = _thresholds(tokens, directions, kept)
    unmet = thresholds <= 0  # an activation is positive: such a direction is turned round
    directions[unmet] *= -1
    thresholds[unmet] = _thresholds(tokens, directions[unmet], kept).clamp_min(0)
    jump = JumpReLU(directions.T.contiguous(), tokens.new_zeros(n_latents), thresholds - 1e-7)
    mean = tokens.mean(0)
    dot, square = 0.0, 0.0
    for part in torch.split(tokens, _TOKENS_AT_ONCE):
        decoded = jump.activate(part) @ directions
        dot += float((decoded * (part - mean)).sum())
        square += float(decoded.square().sum())
    return Dictionary(jump, directions * (max(0.0, dot) / max(square, 1e-12)), mean)


def _thresholds(tokens: Tensor, directions: Tensor, kept: int) -> Tensor:
    """Return the projection of each direction that *kept* tokens reach, ``(direction,)``."""
    blocks = torch.split(directions, 512)
    parts = [(tokens @ block.T).topk(kept, dim=0).values[-1] for block in blocks]
    return torch.cat(parts)


@torch.no_grad()
def cluster_tokens(tokens: Tensor, n_words: int, *, rng: torch.Generator) -> Tensor:
    """Return unit centroids ``(n_words, width)`` by spherical k-means: a bag of words' words.

    Words that no token takes start again at a random token.
    """
    n_words = min(n_words, len(tokens))
    words = tokens[torch.randperm(len(tokens), generator=rng)[:n_words].to(tokens.device)].clone()
    for _ in range(_ROUNDS):
        nearest = nearest_words(tokens, words)
        sums = torch.zeros_like(words).index_add_(0, nearest, tokens)
        empty = torch.bincount(nearest, minlength=n_words) == 0
        fresh = torch.randint(len(tokens), (int(empty.sum()),), generator=rng)
        sums[empty] = tokens[fresh.to(tokens.device)]
        words = functional.normalize(sums, dim=1)
    return words


@torch.no_grad()
def nearest_words(tokens: Tensor, words: Tensor) -> Tensor:
    """Return the word of largest cosine to each token, ``(token,)``."""
    parts = [(part @ words.T).argmax(1) for part in torch.split(tokens, _TOKENS_AT_ONCE)]
    return torch.cat(parts)
