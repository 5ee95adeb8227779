"""Splicing: a perfect reconstruction changes nothing, a missing one leaves the centre."""

import pytest
import torch

from napari_bio_superposition.models.card import TAPS
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.splice import Dictionary, score_tokens, splice


def test_scores_are_those_of_the_sae(tiny_model, tiny_patches):
    tokens = tiny_model.prepare(tiny_model.feature_map(torch.from_numpy(tiny_patches)))
    unit, scale = tokens.unit[0], tokens.norms[0]
    scores = score_tokens(Dictionary.of(tiny_model.sae), unit, scale)
    activations = tiny_model.sae.encode(unit)
    rebuilt = tiny_model.sae.decode(activations)
    torch.testing.assert_close(scores.pooled, (activations * scale[:, None]).mean(0))
    torch.testing.assert_close(scores.firing, (activations > 0).float().sum(0))
    torch.testing.assert_close(scores.reconstruction, rebuilt)
    assert scores.error == pytest.approx(float((rebuilt - unit).square().sum()), rel=1e-4)
    assert scores.n_active == float((activations > 0).sum())
    assert scores.n_active_tokens == float((activations > 0).any(1).sum())


@pytest.mark.parametrize("tap", TAPS)
@pytest.mark.parametrize("centring", ["dataset", "image"])
def test_a_perfect_reconstruction_changes_nothing(make_model, tiny_patches, tap, centring):
    model = make_model(tap=tap, centring=centring)
    patches = torch.from_numpy(tiny_patches)
    maps = model.feature_map(patches)
    tokens = model.prepare(maps)
    whole = model.encoder(normalize_instances(patches)).mean((2, 3))
    kept = splice(model, maps, tokens, tokens.unit)
    torch.testing.assert_close(torch.from_numpy(kept), whole, atol=1e-5, rtol=1e-4)


def test_nothing_leaves_the_centre_of_each_map(make_model, tiny_patches):
    model = make_model(centring="image")
    maps = model.feature_map(torch.from_numpy(tiny_patches))
    tokens = model.prepare(maps)
    ablated = splice(model, maps, tokens, torch.zeros_like(tokens.unit))
    flat = maps.mean((2, 3), keepdim=True).expand_as(maps)
    expected = model.encoder.resume(flat, model.card.tap).mean((2, 3))
    torch.testing.assert_close(torch.from_numpy(ablated), expected, atol=1e-4, rtol=1e-3)
