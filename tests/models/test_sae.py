"""The gated SAE: the gate as a threshold, and its losses, each by hand."""

import pytest
import torch
from torch.nn import functional

from napari_bio_superposition.models.sae_gated import GatedSAE, gated_losses
from napari_bio_superposition.models.sae_loss import (
    normalize_decoder,
    project_decoder_gradient,
    schedule_sparsity,
)
from napari_bio_superposition.models.sae_metrics import measure_sae


@pytest.fixture
def sae() -> GatedSAE:
    """Two inputs, three latents, numbers that can be followed by hand."""
    sae = GatedSAE(2, 3)
    with torch.no_grad():
        sae.W_mag.copy_(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
        sae.b_mag.copy_(torch.tensor([0.0, -0.5, 0.25]))
        sae.b_gate.copy_(torch.tensor([-0.5, 0.5, -1.5]))
        sae.W_dec.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
        sae.b_dec.copy_(torch.tensor([0.1, 0.2]))
    return sae


TOKEN = torch.tensor([[0.75, 1.0]])
# u = (0.75, 1, 1.75); gate u + b_gate = (0.25, 1.5, 0.25): all open; magnitude (0.75, 0.5, 2)


def test_activations_by_hand(sae):
    assert sae.encode(TOKEN).tolist() == [[0.75, 0.5, 2.0]]
    closed = torch.tensor([[0.5, 0.25]])  # u = (0.5, 0.25, 0.75); gates (0, 0.75, -0.75)
    assert sae.encode(closed).tolist() == [[0.0, 0.0, 0.0]]  # the second by its magnitude, -0.25


def test_the_threshold_is_the_published_gate():
    chance = torch.Generator().manual_seed(0)
    sae = GatedSAE.create(16, 64, rng=chance)
    with torch.no_grad():
        sae.b_mag.normal_(std=0.1, generator=chance)
        sae.b_gate.normal_(std=0.1, generator=chance)
        tokens = torch.randn(500, 16, generator=chance)
        u = tokens @ sae.W_mag
        published = (u + sae.b_gate > 0) * torch.relu(u + sae.b_mag)
        torch.testing.assert_close(sae.encode(tokens), published)


def test_chosen_latents_are_columns_of_all(sae):
    tokens = torch.randn(50, 2)
    chosen = sae.jump(torch.tensor([2, 0])).activate(tokens)
    torch.testing.assert_close(chosen, sae.encode(tokens)[:, [2, 0]])


def test_initialised_as_published():
    sae = GatedSAE.create(8, 32, rng=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(32))
    torch.testing.assert_close(sae.W_dec, functional.normalize(sae.W_mag.T, dim=1))
    assert sae.b_gate.unique().tolist() == [pytest.approx(0.1)]
    assert not sae.b_mag.any()
    assert not sae.b_dec.any()


def test_losses_by_hand(sae):
    terms = gated_losses(sae, TOKEN, n_auxiliary=1)
    # decoded: 0.75 (1, 0) + 0.5 (0, 1) + 2 (0.6, 0.8) + (0.1, 0.2) = (2.05, 2.3)
    assert terms.reconstruction.item() == pytest.approx(1.3**2 + 1.3**2)
    assert terms.sparsity.item() == pytest.approx(0.25 + 1.5 + 0.25)
    assert terms.auxiliary.item() == pytest.approx(1.3**2 + 1.3**2)  # no closed latent to help
    assert terms.active.tolist() == [1.0, 1.0, 1.0]
    mean = gated_losses(sae, TOKEN, sparsity="mean")
    assert mean.sparsity.item() == pytest.approx(2.0 / 3)


def test_the_auxiliary_loss_lets_closed_latents_explain_the_residual(sae):
    with torch.no_grad():
        sae.b_gate[2] = -2.0  # closes latent 2: decoded (0.85, 0.7), residual (-0.1, 0.3)
    without = gated_losses(sae, TOKEN, n_auxiliary=1)
    # latent 2 would add 2 (0.6, 0.8)
    assert without.auxiliary.item() == pytest.approx(1.3**2 + 1.3**2)
    second = gated_losses(sae, TOKEN, n_auxiliary=1, second_bias=True)
    assert second.auxiliary.item() == pytest.approx(1.4**2 + 1.5**2)


def test_the_gate_learns_through_a_sigmoid(sae):
    gated_losses(sae, TOKEN).reconstruction.backward()
    slope = torch.sigmoid(torch.tensor([0.25, 1.5, 0.25]))
    slope = slope * (1 - slope)
    upstream = 2 * 1.3 * torch.tensor([1.0, 1.0, 1.4])  # d loss / d activation
    magnitude = torch.tensor([0.75, 0.5, 2.0])
    torch.testing.assert_close(sae.b_gate.grad, upstream * magnitude * slope)


def test_the_decoder_keeps_unit_rows(sae):
    sae.W_dec.grad = torch.ones(3, 2)
    project_decoder_gradient(sae)
    torch.testing.assert_close((sae.W_dec.grad * sae.W_dec).sum(1), torch.zeros(3))
    with torch.no_grad():
        sae.W_dec.mul_(3)
    normalize_decoder(sae)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(3))


def test_a_schedule_without_ramp_starts_after_the_warm_up():
    values = [schedule_sparsity(s, 10, final=2.0, n_warmup=3, ramp=0.0) for s in range(5)]
    assert values == [0.0, 0.0, 0.0, 2.0, 2.0]


def test_metrics_by_hand(sae):
    tokens = torch.tensor([[0.75, 1.0], [-1.0, -1.0]])  # the second activates nothing
    metrics = measure_sae(sae, tokens, chunk=1)
    assert (metrics.l0, metrics.l0_of_active_tokens, metrics.active_token_share) == (1.5, 3.0, 0.5)
    error = 2 * 1.3**2 + 1.1**2 + 1.2**2
    variance = 2 * 0.875**2 + 2 * 1.0**2
    assert metrics.fvu == pytest.approx(error / variance)
    assert metrics.firing_rate.tolist() == [0.5, 0.5, 0.5]
    assert metrics.alive_share() == 1.0
