"""The bundled model: small enough, honest about itself, and at work on the sample image."""

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.patches import extract_patches
from napari_bio_superposition.imaging.simulate import sample_image
from napari_bio_superposition.models.catalogue import bundled_folder, list_models
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.inference import encode_patches, latent_maps


@pytest.fixture(scope="module")
def small():
    """Return the bundled model."""
    return load_model("small")


def test_it_is_bundled_and_below_4_megabytes():
    assert "small" in list_models()
    files = [path for path in bundled_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000


def test_its_card_says_what_it_expects_and_what_it_is_worth(small):
    card = small.card
    assert card.channel_roles == ("mitochondria", "lysosomes", "nuclei")
    assert card.intensity_scaling == "field_percentile"
    assert card.licence == "BSD-3-Clause"
    assert card.training_data
    assert card.training["encoder"]["temperature"] == 0.2
    worth = card.measurements
    assert worth["sae_probe_patch_accuracy"] > worth["chance_accuracy"] + 0.3
    assert 4 <= worth["l0"] <= 20
    assert worth["fvu"] < 0.4
    assert worth["alive_share"] > 0.8


def test_its_kernels_are_unit_vectors_as_far_as_half_precision_goes(small):
    kernel = small.encoder.stage5.blocks[1].c2.weight
    norms = kernel.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(64), atol=1e-3, rtol=0)


def test_it_sees_the_sample_image(small):
    card = small.card
    image, _ = sample_image()
    config = PatchConfig(
        intensity_scaling=card.intensity_scaling,
        low_percentile=card.low_percentile,
        high_percentile=card.high_percentile,
    )
    patches = extract_patches(image, card.channel_roles, config)
    encoded = run(encode_patches(small, patches.pixels[:6], keep_tokens=True))
    per_token = encoded.firing.sum(1)
    assert np.all((per_token > 2) & (per_token < 40))
    strongest = int(encoded.activations.mean(0).argmax())
    (maps,) = latent_maps(small, encoded.tokens, [strongest])
    assert maps.std() > 0
