"""The pass of an evaluation agrees with inference and with the measures of training."""

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.evaluation_pass import RANDOM, SAE, measure_patches
from napari_bio_superposition.models.inference import encode_patches
from napari_bio_superposition.models.sae_metrics import measure_sae
from napari_bio_superposition.models.splice import Dictionary
from napari_bio_superposition.models.token_buffer import PatchRows
from napari_bio_superposition.models.token_pool import pool_dictionary, sample_patch_tokens


def test_it_agrees_with_inference_and_training(tiny_model, tiny_patches, rng):
    measures = run(measure_patches(tiny_model, PatchRows.of(tiny_patches), rng=rng, n_sampled=4))
    encoded = run(encode_patches(tiny_model, tiny_patches))
    own = measures.dictionaries[SAE]
    np.testing.assert_allclose(own.pooled, encoded.activations, rtol=1e-4, atol=1e-6)
    channels = measures.representations["CNN channels"]
    np.testing.assert_allclose(channels, encoded.cnn, rtol=1e-4, atol=1e-6)
    tokens = tiny_model.prepare(tiny_model.feature_map(torch.from_numpy(tiny_patches))).unit
    expected = measure_sae(tiny_model.sae, tokens.flatten(0, 1))
    n_tokens = 7 * measures.n_tokens
    assert own.n_active.sum() / n_tokens == pytest.approx(expected.l0, rel=1e-4)
    assert own.error.sum() / measures.variation.sum() == pytest.approx(expected.fvu, rel=1e-3)
    random = measures.dictionaries[RANDOM]
    assert random.n_active.sum() / n_tokens == pytest.approx(expected.l0, rel=0.2)
    rectified = measures.representations["CNN rectified"]
    np.testing.assert_allclose(rectified[:, :16] - rectified[:, 16:], channels, atol=1e-5)
    np.testing.assert_allclose(measures.representations["k-means words"].sum(1), 1, rtol=1e-5)
    assert not np.allclose(measures.original, measures.ablated)


def test_sampled_places_hold_their_activations(tiny_model, tiny_patches, rng):
    measures = run(measure_patches(tiny_model, PatchRows.of(tiny_patches), rng=rng, n_sampled=3))
    tokens = tiny_model.prepare(tiny_model.feature_map(torch.from_numpy(tiny_patches)))
    activations = tiny_model.sae.encode(tokens.unit).numpy()
    expected = activations[measures.sampled[:, None], measures.places]
    np.testing.assert_allclose(measures.activations, expected.reshape(-1, 24), atol=1e-6)


def test_all_tokens_in_memory_give_the_same(tiny_model, tiny_patches, rng):
    patches = PatchRows.of(tiny_patches)
    tokens = run(sample_patch_tokens(tiny_model, patches, n_per_patch=256, rng=rng))
    pooled = pool_dictionary(Dictionary.of(tiny_model.sae), tokens)
    encoded = run(encode_patches(tiny_model, tiny_patches))
    np.testing.assert_allclose(pooled.pooled, encoded.activations, rtol=0.05, atol=2e-3)
    np.testing.assert_allclose(tokens.mean(), encoded.cnn, atol=2e-3)
    assert tokens.of(np.array([1, 4]), 100).shape == (100, 16)
