"""Baselines: the random dictionary has the L0 asked for, words find planted clusters."""

import pytest
import torch
from torch.nn import functional

from napari_bio_superposition.models.splice import score_tokens
from napari_bio_superposition.models.token_baselines import (
    cluster_tokens,
    nearest_words,
    random_dictionary,
)


def unit_tokens(n: int = 2000, width: int = 16) -> torch.Tensor:
    chance = torch.Generator().manual_seed(0)
    return functional.normalize(torch.randn(n, width, generator=chance) + 0.5, dim=1)


@pytest.mark.parametrize("l0", [1.5, 8.0])
def test_the_random_dictionary_has_the_l0(l0):
    tokens = unit_tokens()
    dictionary = random_dictionary(tokens, 64, l0=l0, rng=torch.Generator().manual_seed(1))
    scores = score_tokens(dictionary, tokens, torch.ones(len(tokens)))
    assert scores.n_active / len(tokens) == pytest.approx(l0, rel=0.1)
    variation = float((tokens - tokens.mean(0)).square().sum())
    assert scores.error < variation  # the decoder's scale is the best one


def test_words_find_planted_clusters():
    chance = torch.Generator().manual_seed(0)
    centres = functional.normalize(torch.randn(5, 16, generator=chance), dim=1)
    truth = torch.randint(5, (1000,), generator=chance)
    noise = 0.05 * torch.randn(1000, 16, generator=chance)
    tokens = functional.normalize(centres[truth] + noise, dim=1)
    words = cluster_tokens(tokens, 12, rng=chance)
    torch.testing.assert_close(words.norm(dim=1), torch.ones(12))
    found = nearest_words(tokens, words)
    assert all(len(truth[found == word].unique()) <= 1 for word in range(12))
