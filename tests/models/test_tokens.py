"""Normalisation and token preparation against values computed by hand."""

import pytest
import torch

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.tokens import (
    mean_scaled_token,
    prepare_tokens,
    scale_tokens,
)


@pytest.fixture
def feature_map() -> torch.Tensor:
    """Two maps of 2 channels and 1 x 2 places: tokens (6, 0), (0, 8) and (2, 2), (4, 4)."""
    return torch.tensor([[[[6.0, 0.0]], [[0.0, 8.0]]], [[[2.0, 4.0]], [[2.0, 4.0]]]])


def test_scaled_tokens_have_a_mean_of_length_1(feature_map):
    scaled = scale_tokens(feature_map)
    torch.testing.assert_close(scaled[0], torch.tensor([[1.2, 0.0], [0.0, 1.6]]))  # mean (3, 4)
    torch.testing.assert_close(scaled.mean(1).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("centring", "centre"),
    [("none", (0.0, 0.0)), ("image", (0.6, 0.8)), ("batch", (0.65355, 0.75355)),
     ("dataset", (0.5, -0.25))],
)  # fmt: skip
def test_centring_subtracts_what_it_says(feature_map, centring, centre):
    mean = torch.tensor([0.5, -0.25])
    tokens = prepare_tokens(feature_map, centring=centring, mean_token=mean)
    expected = torch.tensor([[1.2, 0.0], [0.0, 1.6]]) - torch.tensor(centre)
    torch.testing.assert_close(tokens.norms[0], expected.norm(dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.restored[0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.unit.norm(dim=2), torch.ones(2, 2))


def test_the_mean_token_is_the_mean_over_maps_and_places(feature_map):
    expected = scale_tokens(feature_map).mean((0, 1))
    torch.testing.assert_close(mean_scaled_token(feature_map), expected)


def test_dataset_centring_does_not_depend_on_the_batch(feature_map):
    mean = mean_scaled_token(feature_map)
    together = prepare_tokens(feature_map, centring="dataset", mean_token=mean)
    alone = prepare_tokens(feature_map[1:], centring="dataset", mean_token=mean)
    torch.testing.assert_close(alone.unit, together.unit[1:])


def test_an_empty_map_gives_zeros_and_no_nan():
    tokens = prepare_tokens(torch.zeros(1, 3, 2, 2), centring="image")
    assert not tokens.unit.any()
    assert not tokens.norms.any()


def test_half_precision_maps_are_centred_in_float32(feature_map):
    tokens = prepare_tokens(feature_map.bfloat16(), centring="image")
    assert tokens.unit.dtype == torch.float32


def test_unknown_centring_lists_the_choices(feature_map):
    with pytest.raises(ModelError, match="dataset, image, batch, none"):
        prepare_tokens(feature_map, centring="global")
    with pytest.raises(ModelError, match="mean token"):
        prepare_tokens(feature_map, centring="dataset")


def test_instances_are_normalised_with_n_minus_1():
    patch = torch.tensor([0.0, 1.0, 0.0, 1.0]).reshape(1, 1, 2, 2)
    normalized = normalize_instances(patch)
    torch.testing.assert_close(normalized, (patch - 0.5) / (1 / 3) ** 0.5)


def test_a_quiet_channel_is_clamped_or_bypassed():
    patch = torch.tensor([0.5, 0.502, 0.5, 0.502]).reshape(1, 1, 2, 2)
    clamped = normalize_instances(patch, mode="clamp")
    torch.testing.assert_close(clamped, (patch - 0.501) / 0.01)
    torch.testing.assert_close(normalize_instances(patch, mode="bypass"), patch)
    with pytest.raises(ModelError, match="clamp, bypass"):
        normalize_instances(patch, mode="off")
