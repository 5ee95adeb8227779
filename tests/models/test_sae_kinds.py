"""Losses of the kinds by hand, and their gradients against autograd's of the plain formulas."""

import pytest
import torch
from torch.nn import functional

from napari_bio_superposition.models.sae_batch_topk import (
    BatchTopKSAE,
    batch_threshold,
    batch_topk_losses,
)
from napari_bio_superposition.models.sae_gated import GatedSAE, gated_losses
from napari_bio_superposition.models.sae_jumprelu import JumpReluSAE, jumprelu_losses
from napari_bio_superposition.models.sae_matryoshka import (
    MatryoshkaSAE,
    matryoshka_losses,
    nested_sizes,
)
from napari_bio_superposition.models.sparse_decode import decode_active, find_active


def fill(sae):
    """Give a threshold SAE of 2 inputs and 3 latents numbers that can be followed by hand."""
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
        sae.b_enc.copy_(torch.tensor([0.0, -0.5, 0.0]))
        sae.W_dec.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
    return sae


TOKENS = torch.tensor([[0.75, 1.0], [0.5, 0.25]])
# y = (0.75, 0.5, 1.75) and (0.5, -0.25, 0.75)


def test_the_largest_of_the_whole_batch_are_kept():
    terms = batch_topk_losses(fill(BatchTopKSAE(2, 3)), TOKENS, k=1.5, n_auxiliary=1)
    # of y the three largest: 0.75 and 1.75 of the first token, 0.75 of the second
    # (the tie between the two 0.75 is no tie: the cut lies below both)
    # decoded: 0.75 (1, 0) + 1.75 (0.6, 0.8) = (1.8, 1.4); 0.75 (0.6, 0.8) = (0.45, 0.6)
    errors = 1.05**2 + 0.4**2 + 0.05**2 + 0.35**2
    assert terms.reconstruction.item() == pytest.approx(errors / 2)
    assert terms.active.tolist() == [0.5, 0.0, 1.0]
    variance = 2 * 0.125**2 + 2 * 0.375**2
    assert terms.fvu.item() == pytest.approx(errors / variance)
    assert terms.auxiliary.item() == 0.0


def test_dead_latents_explain_the_residual():
    dead = torch.tensor([False, True, False])
    terms = batch_topk_losses(fill(BatchTopKSAE(2, 3)), TOKENS, k=1.5, n_auxiliary=1, dead=dead)
    # residuals (-1.05, -0.4) and (0.05, -0.35); latent 1 adds 0.5 (0, 1) and 0 (0, 1)
    by_hand = (1.05**2 + 0.9**2 + 0.05**2 + 0.35**2) / 2
    assert terms.auxiliary.item() == pytest.approx(by_hand)


def test_the_cut_is_exact_for_any_batch():
    chance = torch.Generator().manual_seed(0)
    for k in (0.5, 3, 40):
        activations = torch.randn(257, 64, generator=chance).relu()
        cut = batch_threshold(activations, k)
        assert int((activations > cut).sum()) == min(round(k * 257), int((activations > 0).sum()))
    assert batch_threshold(torch.zeros(4, 4), 2) == 0.0


def test_the_stored_threshold_meets_the_target_on_average():
    chance = torch.Generator().manual_seed(0)
    sae = BatchTopKSAE.create(16, 64, rng=chance)
    tokens = functional.normalize(torch.randn(3000, 16, generator=chance), dim=1)
    sae.calibrate(tokens, target_l0=5, chunk=500)
    assert float((sae.encode(tokens) > 0).sum(1).float().mean()) == pytest.approx(5, rel=0.02)


def test_nested_dictionaries_by_hand():
    sizes = nested_sizes(3, (0.34, 1.0))
    assert sizes == (1, 3)
    terms = matryoshka_losses(fill(MatryoshkaSAE(2, 3)), TOKENS, k=1.5, sizes=sizes, n_auxiliary=1)
    first = 1.0**2 + 0.5**2 + 0.25**2  # latent 0 alone: (0.75, 0) and nothing
    whole = 1.05**2 + 0.4**2 + 0.05**2 + 0.35**2
    assert terms.reconstruction.item() == pytest.approx((first + whole) / 4)


def test_the_jump_by_hand():
    sae = fill(JumpReluSAE(2, 3))
    with torch.no_grad():
        sae.threshold.copy_(torch.tensor([0.6, 0.9, 0.6]))
    terms = jumprelu_losses(sae, TOKENS, bandwidth=0.4)
    assert terms.sparsity.item() == pytest.approx(1.5)  # 0.75, 1.75 and 0.75
    assert terms.active.tolist() == [0.5, 0.0, 1.0]
    (gradient,) = torch.autograd.grad(terms.sparsity, sae.threshold, retain_graph=True)
    # within 0.2 of their threshold: 0.75 and 0.5 of latent 0, and 0.75 of latent 2
    torch.testing.assert_close(gradient, torch.tensor([-2.0, 0.0, -1.0]) / 0.4 / 2)
    (gradient,) = torch.autograd.grad(terms.reconstruction, sae.threshold)
    # d loss / d a of latent 0: error . row = 1.05 and -0.05; of latent 2, second token:
    upstream = torch.tensor([1.05 - 0.05, 0.0, -0.05 * 0.6 + 0.35 * 0.8])
    torch.testing.assert_close(gradient, -torch.tensor([0.6, 0.9, 0.6]) * upstream / 0.4)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_the_sparse_product_is_the_dense_one(share):
    chance = torch.Generator().manual_seed(0)
    activations = torch.rand(40, 70, generator=chance)
    activations *= torch.rand(40, 70, generator=chance) < share
    activations.requires_grad_()
    W_dec = torch.randn(70, 9, generator=chance, requires_grad=True)
    weights = torch.randn(40, 9, generator=chance)
    active = find_active(activations.detach())
    assert (active.tokens is None) == (share == 0.5)
    torch.testing.assert_close(active.shares(), (activations > 0).float().mean(0))
    results = []
    for product in (decode_active(activations, active, W_dec), activations @ W_dec):
        gradients = torch.autograd.grad((product * weights).sum(), (activations, W_dec))
        results.append((product, *gradients))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_gradients_are_those_of_the_published_step_to_1e_5():
    """Two products, a dense auxiliary decode, a gate by subtraction: as published."""
    chance = torch.Generator().manual_seed(0)
    sae = GatedSAE.create(32, 256, rng=chance)
    with torch.no_grad():
        sae.W_mag.copy_(sae.W_dec.T)
        sae.b_gate.fill_(-0.4)
        sae.b_mag.normal_(std=0.05, generator=chance)
    tokens = functional.normalize(torch.randn(300, 32, generator=chance), dim=1)
    terms = gated_losses(sae, tokens, sparsity="mean", second_bias=True)
    assert float(terms.active.mean()) < 0.06  # so that the sparse product is taken
    ours = torch.autograd.grad(terms.total(800), list(sae.parameters()))

    gate = tokens @ sae.W_mag + sae.b_gate
    magnitude = torch.relu(tokens @ sae.W_mag + sae.b_mag)
    hard, soft = (gate > 0).float(), torch.sigmoid(gate)
    decoded = sae.decode((hard - soft).detach() * magnitude + soft * magnitude)
    values, latents = (magnitude * (1 - hard)).topk(32, dim=1)
    chosen = torch.zeros_like(magnitude).scatter(1, latents, values)
    explained = chosen @ sae.W_dec.detach() + sae.b_dec.detach()
    loss = (
        (decoded - tokens).square().sum(1).mean()
        + 800 * (torch.relu(gate) * sae.W_dec.detach().norm(dim=1)).mean()
        + (explained - (tokens - decoded.detach())).square().sum(1).mean() / 32
    )
    published = torch.autograd.grad(loss, list(sae.parameters()))
    assert terms.total(800).item() == pytest.approx(loss.item(), rel=1e-5)
    for one, other in zip(ours, published, strict=True):
        assert float((one - other).norm() / other.norm()) <= 1e-5
