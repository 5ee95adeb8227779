"""The published encoder, SAE and losses, reproduced on generated weights and images.

Tolerances are relative to the largest entry: 1e-4, losses and gradients 1e-5.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_bio_superposition.models.card import TAPS
from napari_bio_superposition.models.contrastive import supervised_contrastive_loss
from napari_bio_superposition.models.encoder import EncoderConfig
from napari_bio_superposition.models.sae_gated import gated_losses
from napari_bio_superposition.models.sae_loss import (
    project_decoder_gradient,
    schedule_sparsity,
)
from napari_bio_superposition.models.sae_metrics import measure_sae
from napari_bio_superposition.models.tokens import prepare_tokens


def test_normalised_images_have_mean_0_and_deviation_1(reference):
    np.testing.assert_allclose(
        reference.patches.mean((2, 3)), reference.vectors["input_mean"], atol=1e-6
    )
    reference.check("input_std", reference.patches.std((2, 3)), 1e-6)


def test_the_paper_size_encoder_has_the_published_number_of_parameters(reference):
    assert reference.network.encoder.config == EncoderConfig()
    count = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in reference.network.named_children()
    }
    assert count == {"encoder": 29_893_888, "projector": 2_097_152}


@pytest.mark.parametrize("tap", TAPS)
def test_taps(reference, tap):
    feature_map = reference.maps[tap]
    assert feature_map.shape == (2, 512, 64, 64)
    reference.check(f"gap_{tap}", feature_map.mean((2, 3)))
    reference.check(f"map_{tap}_corner", feature_map[:, :4, :3, :3])
    reference.check(f"map_{tap}_centre", feature_map[:, :4, 31:34, 31:34])


def test_embedding(reference):
    pooled = reference.maps["refine_out"].mean((2, 3))
    embedding = functional.normalize(reference.network.projector(pooled), dim=1)
    reference.check("embedding", embedding)


@pytest.mark.parametrize("centring", ["image", "batch", "none"])
def test_tokens(reference, centring):
    tokens = prepare_tokens(reference.maps["stage5_out"], centring=centring)
    reference.check(f"token_norm_{centring}", tokens.norms.mean(1))
    reference.check(f"token_{centring}_first8", tokens.unit[:, :8])


@pytest.mark.parametrize("centring", ["image", "batch"])
def test_pooled_activations_sparsity_and_reconstruction(reference, centring):
    tokens = prepare_tokens(reference.maps["stage5_out"], centring=centring)
    with torch.no_grad():
        activations = reference.sae.encode(tokens.unit)
    restored = activations * tokens.norms[..., None]
    reference.check_pooled(f"sae_gap_{centring}", activations.mean(1))
    reference.check_pooled(f"sae_gap_{centring}_norm_restored", restored.mean(1))
    metrics = measure_sae(reference.sae, tokens.unit.flatten(0, 1))
    reference.check(f"sae_l0_{centring}", metrics.l0_of_active_tokens)
    reference.check(f"sae_fvu_{centring}", metrics.fvu)


def test_latent_map(reference):
    tokens = prepare_tokens(reference.maps["stage5_out"], centring="image")
    only = reference.sae.jump(torch.tensor([5])).activate(tokens.unit[0])
    reference.check("sae_map_latent_5", only.detach().reshape(64, 64))


def test_losses_and_gradients(reference):
    tokens = prepare_tokens(reference.maps["stage5_out"], centring="batch").unit[0, :512]
    sae = reference.sae
    terms = gated_losses(sae, tokens, sparsity="mean", second_bias=True)
    total = terms.total(800)
    sae.zero_grad()
    total.backward()
    reference.check("loss_recon", terms.reconstruction.detach(), 1e-5)
    reference.check("loss_sparsity_mean", terms.sparsity.detach(), 1e-5)
    reference.check("loss_aux", terms.auxiliary.detach(), 1e-5)
    reference.check("loss_total_lambda800", total.detach(), 1e-5)
    for name, parameter in sae.named_parameters():
        reference.check(f"grad_norm_{name}", parameter.grad.norm(), 1e-5)
    project_decoder_gradient(sae)
    reference.check("grad_norm_W_dec_projected", sae.W_dec.grad.norm(), 1e-5)


def test_sparsity_schedule(reference):
    steps = (0, 99, 100, 300, 437, 774, 775, 6000)
    values = [schedule_sparsity(step, 6744, final=800) for step in steps]
    reference.check("sparsity_schedule", values, 1e-9)


def test_supervised_contrastive_loss(reference, fill_rows):
    loss = supervised_contrastive_loss(
        fill_rows("q", (16, 32)),
        fill_rows("k", (80, 32)),
        torch.arange(16) % 4,
        torch.arange(80) % 4,
    )
    reference.check("supcon_loss", loss, 1e-5)
