"""Pooling in blocks: equal to pooling the whole matrix, whatever the sizes and the threads."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bio_superposition.models import latent_pooling
from napari_bio_superposition.models.latent_pooling import LatentPooling
from napari_bio_superposition.models.sae import JumpReLU


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few tokens and latents make several blocks."""
    monkeypatch.setattr(latent_pooling, "_TOKENS_CPU", 16)
    monkeypatch.setattr(latent_pooling, "_LATENTS_CPU", 4)


@pytest.fixture
def threads() -> Iterator[None]:
    """Set the number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def draw(n_patches: int, n_tokens: int, n_latents: int, seed: int) -> tuple[JumpReLU, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    W, b = torch.randn(6, n_latents, generator=chance), torch.randn(n_latents, generator=chance)
    tokens = torch.randn(n_patches, n_tokens, 6, generator=chance)
    threshold = torch.rand(n_latents, generator=chance)
    return JumpReLU(W, b, threshold), torch.nn.functional.normalize(tokens, dim=-1)


@settings(max_examples=25, deadline=None)
@given(
    n_patches=st.integers(0, 3),
    n_tokens=st.integers(1, 70),
    n_latents=st.integers(1, 13),
    scaled=st.booleans(),
    seed=st.integers(0, 99),
)
def test_blocks_give_what_the_whole_matrix_gives(n_patches, n_tokens, n_latents, scaled, seed):
    jump, unit = draw(n_patches, n_tokens, n_latents, seed)
    scale = 1 + torch.arange(n_patches * n_tokens).view(n_patches, n_tokens) / 9 if scaled else None
    pooled = LatentPooling(jump).pool(unit, scale, keep_codes=True)
    assert len(pooled) == n_patches
    for patch, tokens in enumerate(unit):
        activations = jump.activate(tokens)
        seen = activations if scale is None else activations * scale[patch, :, None]
        mean, largest, firing, squares = pooled[patch].values
        torch.testing.assert_close(mean, seen.mean(0))
        torch.testing.assert_close(largest, seen.amax(0))
        torch.testing.assert_close(firing, (activations > 0).float().mean(0))
        torch.testing.assert_close(squares, seen.square().mean(0))
        codes = torch.from_numpy(pooled[patch].codes.toarray())
        torch.testing.assert_close(codes, activations)


@pytest.mark.usefixtures("threads")
def test_results_are_the_same_for_any_number_of_threads():
    jump, unit = draw(3, 50, 13, seed=0)
    results = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        results.append(torch.stack([each.values for each in LatentPooling(jump).pool(unit)]))
        assert torch.get_num_threads() == n_threads
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
