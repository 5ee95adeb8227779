"""Fixtures that all tests share."""

from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images and RNA beside the checkout; skip where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data beside the checkout (../shared/data) are absent")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that is the same in every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a feature model with random weights, for tests of what surrounds it."""
    import torch

    from napari_bio_superposition.models.card import ModelCard
    from napari_bio_superposition.models.checkpoint import save_model
    from napari_bio_superposition.models.encoder import EncoderConfig, create_network
    from napari_bio_superposition.models.feature_model import FeatureModel
    from napari_bio_superposition.models.sae_gated import GatedSAE

    card = ModelCard(
        name="tiny",
        channel_roles=("mitochondria", "lysosomes", "nuclei"),
        pixel_size_um=0.6,
        intensity_scaling="field_percentile",
        width=16,
        blocks=(1, 1, 1, 2),
        n_latents=12,
        licence="CC0-1.0",
    )
    rng = torch.Generator().manual_seed(0)
    config = EncoderConfig(n_channels=3, width=16, blocks=(1, 1, 1, 2))
    encoder = create_network(config, rng=rng).encoder
    sae = GatedSAE.create(16, 12, rng=rng)
    sae.W_mag.data.mul_(25)
    for network in (encoder, sae):
        network.requires_grad_(False).eval()
    model = FeatureModel(card, encoder, sae, torch.zeros(16))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(model, folder)
    return folder
