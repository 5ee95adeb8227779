"""Codes kept beside the tokens: the same maps without a product, within bounded memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models import latent_pooling, sparse_codes
from napari_bio_superposition.models.inference import encode_patches, latent_maps
from napari_bio_superposition.models.sparse_codes import CodeCollector, gather_codes


@pytest.mark.parametrize("norm_restored", [True, False])
def test_maps_from_codes_are_those_from_tokens(make_model, tiny_patches, norm_restored):
    model = make_model(norm_restored=norm_restored)
    tokens = run(encode_patches(model, tiny_patches, keep_tokens=True, batch_size=3)).tokens
    assert tokens.codes is not None
    latents = list(range(24))
    kept = latent_maps(model, tokens, latents)
    computed = latent_maps(model, replace(tokens, codes=None), latents)
    assert kept.shape == computed.shape == (24, 7, 16, 16)
    flipped = (kept > 0) != (computed > 0)
    assert flipped.mean() < 2e-3  # half precision of the tokens, gates near their threshold
    np.testing.assert_allclose(kept[~flipped], computed[~flipped], atol=2e-3 * computed.max())


def test_maps_from_codes_average_to_the_pooled_features(tiny_model, tiny_patches):
    encoded = run(encode_patches(tiny_model, tiny_patches, keep_tokens=True))
    maps = latent_maps(tiny_model, encoded.tokens, range(24))
    np.testing.assert_allclose(maps.mean((2, 3)).T, encoded.activations, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose((maps > 0).mean((2, 3)).T, encoded.firing, atol=1e-6)


def test_planted_codes_come_back_where_they_were():
    collector = CodeCollector(2, 5, 3, token_bytes=0)
    planted = torch.tensor([[0, 1, 0], [0, 0, 0], [2, 0, 0], [0, 0.5, 0], [4, 0, 0]])
    collector.put(1, gather_codes(planted).tocsc())  # patch 0 stays silent
    codes = collector.collect()
    maps = np.full((3, 2, 5), 7, np.float32)
    for latent in range(3):
        codes.fill_map(latent, maps[latent])
    np.testing.assert_array_equal(maps[:, 0], 0)
    np.testing.assert_array_equal(maps[:, 1], planted.T)
    assert codes.nbytes == 4 * 2 * 4 + (1 + 2) * 4  # starts; uint8 and float16 of four codes


def test_a_patch_that_is_encoded_again_replaces_its_first_codes():
    collector = CodeCollector(1, 2, 2, token_bytes=0)
    for value in (3.0, 5.0):
        collector.put(0, gather_codes(torch.tensor([[0, value], [0, 0]])).tocsc())
    found = np.zeros((1, 2), np.float32)
    codes = collector.collect()
    codes.fill_map(1, found)
    np.testing.assert_array_equal(found, [[5, 0]])
    codes.fill_map(0, found)
    np.testing.assert_array_equal(found, 0)


def test_too_many_codes_are_given_up_and_maps_are_computed(tiny_model, tiny_patches, monkeypatch):
    expected = run(encode_patches(tiny_model, tiny_patches, keep_tokens=True)).tokens
    monkeypatch.setattr(sparse_codes, "_MOST_BYTES", 4000)
    monkeypatch.setattr(sparse_codes, "_SHARE_OF_TOKENS", 0)
    encoded = run(encode_patches(tiny_model, tiny_patches, keep_tokens=True))
    assert encoded.tokens.codes is None
    maps = latent_maps(tiny_model, encoded.tokens, [3])
    known = latent_maps(tiny_model, replace(expected, codes=None), [3])
    np.testing.assert_array_equal(maps, known)


def test_without_tokens_no_codes_are_gathered(tiny_model, tiny_patches, monkeypatch):
    def refuse(*_):
        raise AssertionError("codes were gathered")

    monkeypatch.setattr(latent_pooling, "gather_codes", refuse)
    assert run(encode_patches(tiny_model, tiny_patches[:2])).tokens is None
