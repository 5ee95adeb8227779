"""The pass of an evaluation agrees with inference and with the measures of training."""

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.evaluation_pass import (
    RANDOM,
    SAE,
    measure_dictionaries,
    measure_patches,
    sample_tokens,
)
from napari_bio_superposition.models.inference import encode_patches
from napari_bio_superposition.models.sae_metrics import measure_sae
from napari_bio_superposition.models.splice import Dictionary
from napari_bio_superposition.models.token_buffer import PatchRows


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
    np.testing.assert_allclose(measures.activations[SAE], expected.reshape(-1, 24), atol=1e-6)


def test_many_dictionaries_go_through_one_pass(tiny_model, tiny_patches, rng):
    patches = PatchRows.of(tiny_patches)
    tokens = run(sample_tokens(tiny_model, patches, rng=rng, n_tokens=1500))
    assert len(tokens) >= 1500  # few patches give more tokens each
    own = Dictionary.of(tiny_model.sae)
    words = {"2 words": tokens[:2], "5 words": tokens[:5]}
    job = measure_dictionaries(tiny_model, patches, {"a": own, "b": own}, words, rng=rng)
    measures = run(job)
    first, second = (measures.dictionaries[name] for name in "ab")
    np.testing.assert_array_equal(first.spliced, second.spliced)
    np.testing.assert_array_equal(first.pooled, measures.representations["b"])
    assert measures.representations["5 words"].shape == (7, 5)
    assert measures.activations["a"].shape == measures.activations["b"].shape
