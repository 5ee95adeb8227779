"""Attribution adds up to the channel and finds what was planted; steering moves what it should."""

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.attribution import attribute_channel, match_maps_greedily
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import TokenCache, encode_patches
from napari_bio_superposition.models.steering import LinearReadOut, steer


@pytest.fixture
def tokens(tiny_model: FeatureModel, tiny_patches: np.ndarray) -> TokenCache:
    encoded = run(encode_patches(tiny_model, tiny_patches, keep_tokens=True))
    assert encoded.tokens is not None
    return encoded.tokens


def test_contributions_and_residual_add_up_to_the_channel(
    tiny_model: FeatureModel, tiny_patches: np.ndarray, tokens: TokenCache, rng: np.random.Generator
) -> None:
    rows = np.arange(0, 7 * 256, 5)
    found = attribute_channel(tiny_model, tokens, 3, rows, rng=rng)
    total = found.constant + found.contributions.sum(axis=0) + found.residual
    np.testing.assert_allclose(found.value, total, atol=1e-5)
    maps = tiny_model.feature_map(torch.from_numpy(tiny_patches))
    scaled = maps / maps.mean((2, 3), keepdim=True).norm(dim=1, keepdim=True)
    expected = scaled[:, 3].flatten()[rows].numpy()
    np.testing.assert_allclose(found.value, expected, atol=3e-3)
    strength = np.abs(found.contributions).mean(axis=1)
    assert (np.diff(strength) <= 1e-6).all()
    rest = np.square(found.residual).mean() / np.square(found.value - found.constant).mean()
    assert found.explained[-1] == pytest.approx(1 - rest, abs=1e-4)
    assert 1 <= found.participation <= len(found.latents)


def test_a_planted_pair_of_latents_explains_its_channel(
    tiny_model: FeatureModel, rng: np.random.Generator
) -> None:
    """Two orthogonal latents that write channel 5, active at different tokens."""
    sae = tiny_model.sae
    with torch.no_grad():
        sae.b_mag.zero_()
        sae.b_gate.zero_()
        sae.b_dec.zero_()
        sae.W_mag.zero_()
        sae.W_dec.zero_()
        for latent, other in ((2, 0), (9, 1)):
            direction = torch.zeros(16)
            direction[[5, other]] = torch.tensor([0.6, 0.8])
            sae.W_dec[latent] = direction
            sae.W_mag[other, latent] = 1 / 0.8
    unit = np.stack([sae.W_dec[2 if i % 3 else 9].numpy() for i in range(60)])
    norms = rng.random(60) + 0.5
    tokens = TokenCache(unit[None].astype(np.float16), norms[None].astype(np.float32), (6, 10))
    found = attribute_channel(tiny_model, tokens, 5, np.arange(60), rng=rng)
    assert found.latents.tolist() == [2, 9]
    assert found.explained[1] > 0.999
    assert 0.3 < found.explained[0] < 0.95
    assert found.shuffled[1] < 0.8
    assert np.abs(found.residual).max() < 1e-3


def test_wrong_channels_and_empty_places_are_refused(
    tiny_model: FeatureModel, tokens: TokenCache, rng: np.random.Generator
) -> None:
    with pytest.raises(ModelError, match="from 0 to 15"):
        attribute_channel(tiny_model, tokens, 16, np.arange(3), rng=rng)
    with pytest.raises(ModelError, match="No place is chosen"):
        attribute_channel(tiny_model, tokens, 1, np.arange(0), rng=rng)


def test_greedy_matching_takes_the_halves_of_a_map(rng: np.random.Generator) -> None:
    left, right = np.zeros((2, 8, 8), np.float32)
    left[2:4, :3] = 1
    right[2:4, 5:] = 1
    noise = rng.random((8, 8)).astype(np.float32)
    match = match_maps_greedily(left + right, np.stack([noise, left, right]), np.array([7, 8, 9]))
    assert set(match.latents[:2]) == {8, 9}
    assert match.coverage[1] == pytest.approx(1.0)
    assert match.n_for_coverage == 2
    assert match_maps_greedily(left, noise[None] * 0, np.array([7])).n_for_coverage == -1


# --- steering ------------------------------------------------------------------------------------


def read_outs(model: FeatureModel, latent: int) -> dict[str, LinearReadOut]:
    of_latent = np.zeros((model.card.n_latents, 1), np.float32)
    of_latent[latent] = 1
    direction = model.sae.W_dec[latent].numpy()[:, None]
    classes = np.concatenate([-of_latent, of_latent], axis=1)
    return {
        "activation": LinearReadOut(of_latent, np.zeros(1), ("latent",)),
        "direction": LinearReadOut(direction, np.zeros(1), ("along",), space="cnn"),
        "class": LinearReadOut(classes, np.zeros(2), ("a", "b"), probabilities=True),
    }


def test_a_factor_of_one_changes_nothing(tiny_model: FeatureModel, tokens: TokenCache) -> None:
    outs = read_outs(tiny_model, 4)
    effect = steer(tiny_model, tokens, 4, outs, factor=1.0)
    for name in outs:
        np.testing.assert_allclose(effect.change(name), 0, atol=1e-3)
    pooled = effect.before["activation"]
    expected = tiny_model.sae.encode(torch.from_numpy(tokens.unit.astype(np.float32))).numpy()
    expected = (expected * tokens.norms[..., None]).mean(axis=1)[:, 4:5]
    np.testing.assert_allclose(pooled, expected, rtol=1e-4)
    np.testing.assert_allclose(effect.before["class"].sum(axis=1), 1, rtol=1e-5)


def test_ablation_lowers_and_doubling_raises_what_reads_the_feature(
    tiny_model: FeatureModel, tokens: TokenCache
) -> None:
    """Along the decoder's direction the CNN changes by exactly the mean activation."""
    latent = int(np.argmax(tiny_model.sae.encode(torch.from_numpy(
        tokens.unit.astype(np.float32))).mean((0, 1)).numpy()))  # fmt: skip
    outs = read_outs(tiny_model, latent)
    without = steer(tiny_model, tokens, latent, outs, factor=0.0, patches=np.array([1, 3]))
    more = steer(tiny_model, tokens, latent, outs, factor=2.0, patches=np.array([1, 3]))
    mean = without.before["activation"][:, 0]
    np.testing.assert_allclose(without.change("direction")[:, 0], -mean, rtol=1e-3)
    np.testing.assert_allclose(more.change("direction")[:, 0], mean, rtol=1e-3)
    assert without.before["direction"].shape == (2, 1)


def test_read_outs_that_do_not_fit_are_refused(
    tiny_model: FeatureModel, tokens: TokenCache
) -> None:
    with pytest.raises(ModelError, match="sae, cnn"):
        LinearReadOut(np.zeros((3, 1)), np.zeros(1), ("a",), space="rna")
    with pytest.raises(ModelError, match="needs weights of shape"):
        LinearReadOut(np.zeros((3, 1)), np.zeros(1), ("a", "b"))
    short = LinearReadOut(np.zeros((3, 1)), np.zeros(1), ("a",))
    with pytest.raises(ModelError, match="takes 3 features, and there are 24"):
        steer(tiny_model, tokens, 0, {"x": short})
    with pytest.raises(ModelError, match="No latent 99"):
        steer(tiny_model, tokens, 99, {})
