"""SAE training: tokens in bounded memory, sparsity on request, resuming, dead latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_bio_superposition.core.errors import ConfigError, ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_kinds import create_sae
from napari_bio_superposition.models.sae_metrics import measure_sae
from napari_bio_superposition.models.sae_sparsity import SparsityControl
from napari_bio_superposition.models.sae_trainer import SaeTrainer
from napari_bio_superposition.models.sae_training import (
    Checkpoints,
    fit_sae,
    meet_target,
    train_sae,
)
from napari_bio_superposition.models.token_buffer import (
    PatchRows,
    TokenBuffer,
    TokenMaker,
    TokenShard,
    TokensInMemory,
    compute_mean_token,
)
from napari_bio_superposition.models.tokens import scale_tokens
from napari_bio_superposition.models.training_config import NormalizationConfig

SMALL = SaeConfig(
    n_latents=32,
    target_l0=3,
    tokens_per_patch=128,
    n_epochs=30,
    batch_tokens=128,
    learning_rate=3e-3,
)


@pytest.fixture
def maker(tiny_model):
    """Return the way to tokens of the tiny encoder, without a mean token."""
    return TokenMaker(tiny_model.encoder, NormalizationConfig(), "stage5_out", "dataset")


def plant(n_factors, width, n_active, n_tokens, *, seed=0):
    """Return unit tokens made of few of many directions, and the directions."""
    rng = np.random.default_rng(seed)
    truth = functional.normalize(torch.from_numpy(rng.standard_normal((n_factors, width))), dim=1)
    chosen = torch.from_numpy(rng.random((n_tokens, n_factors)).argsort(1)[:, :n_active])
    amounts = torch.from_numpy(rng.uniform(0.5, 1.5, (n_tokens, n_active)))
    codes = torch.zeros(n_tokens, n_factors, dtype=torch.float64).scatter_(1, chosen, amounts)
    return functional.normalize(codes @ truth, dim=1).float(), truth.float()


def recovery(sae, truth):
    """Return the share of planted directions that a latent meets at a cosine of 0.9."""
    cosine = truth @ functional.normalize(sae.W_dec.detach(), dim=1).T
    return float((cosine.amax(1) > 0.9).double().mean())


def test_the_mean_token_is_that_of_all_patches(tiny_model, maker, tiny_patches, rng):
    mean = run(compute_mean_token(maker, PatchRows.of(tiny_patches), rng=rng))
    tokens = scale_tokens(tiny_model.feature_map(torch.from_numpy(tiny_patches)))
    torch.testing.assert_close(mean, tokens.mean((0, 1)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "learning_rate", "at_least"), [("batch_topk", 1e-2, 0.98), ("gated", 5e-3, 0.9)]
)
def test_a_planted_dictionary_is_recovered(kind, learning_rate, at_least):
    """64 directions squeezed into 32 dimensions, three at a time; twice as many latents."""
    tokens, truth = plant(64, 32, 3, 10_000)
    config = SaeConfig(
        kind=kind,
        n_latents=128,
        target_l0=3,
        n_epochs=20,
        batch_tokens=500,
        learning_rate=learning_rate,
        batch_topk=replace(SaeConfig().batch_topk, dead_after_tokens=10_000),
    )
    trained = run(fit_sae(TokensInMemory(tokens), config, tokens[:2000], seed=0))
    assert recovery(trained.sae, truth) >= at_least
    assert trained.metrics.l0 == pytest.approx(3, rel=0.05)
    assert trained.metrics.fvu < 0.25


def test_nested_dictionaries_reconstruct_on_their_own():
    tokens, _ = plant(32, 16, 2, 10_000)
    config = replace(SMALL, target_l0=2, n_epochs=4, batch_tokens=250, learning_rate=1e-2)
    errors = {}
    for kind in ("matryoshka", "batch_topk"):
        sae = run(
            fit_sae(TokensInMemory(tokens), replace(config, kind=kind), tokens[:2000], seed=0)
        ).sae
        first = sae.encode(tokens)[:, :8] @ sae.W_dec[:8] + sae.b_dec
        errors[kind] = float((first - tokens).square().sum(1).mean())
    assert errors["matryoshka"] < 0.9 * errors["batch_topk"]


@pytest.mark.parametrize("kind", ["gated", "jumprelu", "batch_topk", "matryoshka"])
def test_each_kind_is_trained_with_the_centre_that_it_keeps(maker, tiny_patches, kind):
    job = train_sae(
        maker, PatchRows.of(tiny_patches), replace(SMALL, kind=kind), rng=np.random.default_rng(0)
    )
    trained = run(job)
    assert trained.mean_token.shape == (16,)
    assert trained.curves["fvu"][-10:].mean() < 0.7 * trained.curves["fvu"][:5].mean()
    torch.testing.assert_close(trained.sae.W_dec.norm(dim=1), torch.ones(32))
    assert trained.metrics.l0 == pytest.approx(3, rel=0.1)


def test_tokens_centred_otherwise_need_no_mean_token(maker, tiny_patches):
    config = replace(SMALL, n_epochs=1, centring="image")
    job = train_sae(
        replace(maker, centring="image"),
        PatchRows.of(tiny_patches),
        config,
        rng=np.random.default_rng(0),
    )
    assert run(job).mean_token is None


def test_the_buffer_is_bounded_and_deals_every_patch_once(maker, tiny_patches):
    maker = replace(maker, centring="image")
    config = replace(SMALL, tokens_per_patch=50, buffer_tokens=150)
    buffer = TokenBuffer(maker, PatchRows.of(tiny_patches), config, seed=1)
    assert buffer.shard_sizes == (150, 100, 100)
    shards = [run(buffer.shard(0, index)) for index in range(3)]
    assert [len(shard.unit) for shard in shards] == [150, 100, 100]
    assert all(shard.unit.dtype == torch.float16 for shard in shards)
    norms = torch.cat([shard.norms for shard in shards]).reshape(7, 50)
    known = maker.tokens(torch.from_numpy(tiny_patches)).norms
    for row in norms:  # rotations change borders, not the order of magnitude
        assert row.mean() == pytest.approx(float(known.mean()), rel=0.5)
    assert len({round(float(row.mean()), 5) for row in norms}) == 7
    again = TokenBuffer(maker, PatchRows.of(tiny_patches), config, seed=1)
    torch.testing.assert_close(run(again.shard(0, 2)).unit, shards[2].unit)
    other = run(again.shard(1, 2))
    assert not torch.equal(other.unit, shards[2].unit)


def test_one_shard_is_filled_once(maker, tiny_patches):
    buffer = TokenBuffer(replace(maker, centring="none"), PatchRows.of(tiny_patches), SMALL, seed=1)
    assert run(buffer.shard(0, 0)) is run(buffer.shard(3, 0))


def test_patches_on_disk_are_read_by_row(tiny_patches):
    rows = PatchRows(tiny_patches.astype(np.float16), np.array([1, 4, 6]))
    read = rows.read(np.array([0, 2]))
    assert read.dtype == torch.float32
    np.testing.assert_allclose(read, tiny_patches[[1, 6]], atol=1e-3)
    assert len(rows.sample(2, rng=np.random.default_rng(0))) == 2


def test_a_resumed_run_ends_where_an_undisturbed_one_does(maker, tiny_patches):
    config = replace(
        SMALL, kind="jumprelu", n_epochs=3, tokens_per_patch=64, buffer_tokens=256, batch_tokens=64
    )
    patches, saved = PatchRows.of(tiny_patches), []

    def start(state=None):
        rng = np.random.default_rng(4 if state is None else 99)
        checkpoints = Checkpoints(saved.append, state)
        return train_sae(maker, patches, config, rng=rng, checkpoints=checkpoints)

    whole = run(start())
    assert [state.position for state in saved] == [1, 2, 3, 4, 5]
    resumed = run(start(saved[2]))
    for name, tensor in whole.sae.state_dict().items():
        torch.testing.assert_close(resumed.sae.state_dict()[name], tensor, rtol=0, atol=0)
    for name, curve in whole.curves.items():
        np.testing.assert_array_equal(resumed.curves[name], curve)


def test_a_state_of_another_sae_is_refused(maker, tiny_patches):
    saved = []
    config = replace(SMALL, n_epochs=2)
    patches = PatchRows.of(tiny_patches)
    first = Checkpoints(saved.append)
    run(train_sae(maker, patches, config, rng=np.random.default_rng(0), checkpoints=first))
    other = train_sae(
        maker,
        patches,
        replace(config, kind="gated"),
        rng=np.random.default_rng(0),
        checkpoints=Checkpoints(state=saved[0]),
    )
    with pytest.raises(ModelError, match="does not fit"):
        run(other)


def test_sparsity_is_asked_for_in_one_way():
    with pytest.raises(ConfigError, match="one of them"):
        SaeConfig(target_l0=3, sparsity=0.1)
    with pytest.raises(ConfigError, match="no coefficient"):
        SaeConfig(kind="batch_topk", sparsity=0.1)
    with pytest.raises(ConfigError, match="belongs to the kind gated"):
        SaeConfig(kind="jumprelu", paper_lambda=800)
    published = SaeConfig(kind="gated", paper_lambda=800).request
    assert (published.coefficient, published.reduction) == (800, "mean")
    assert SaeConfig().request.target_l0 == 32


def test_the_coefficient_moves_towards_the_target():
    control = SparsityControl(SaeConfig(kind="gated", target_l0=10), 1000)
    first = control.coefficient
    assert control.at(0) == 0.0
    control.observe(150, 100.0, rate=1.0)  # still in the ramp
    assert control.coefficient == first
    control.observe(500, 100.0, rate=1.0)
    assert control.coefficient == pytest.approx(first * np.exp(0.02 * 0.5))
    control.smoothed = float("nan")
    control.observe(501, 8.0, rate=0.5)
    assert control.coefficient < first * np.exp(0.02 * 0.5)
    fixed = SparsityControl(SaeConfig(kind="gated", sparsity=0.1), 1000)
    fixed.observe(500, 100.0, rate=1.0)
    assert fixed.coefficient == 0.1


def test_steps_in_chunks_have_the_gradient_of_the_whole():
    tokens, _ = plant(8, 6, 2, 64)
    batch = TokenShard(tokens, torch.ones(64))
    config = SaeConfig(kind="gated", n_latents=12, sparsity=0.1, warmup_steps=0)
    saes = []
    for chunk in (64, 16):
        sae = create_sae(config, 6, rng=torch.Generator().manual_seed(0))
        SaeTrainer(sae, replace(config, chunk_tokens=chunk), 10).step(batch)
        saes.append(sae)
    torch.testing.assert_close(saes[0].W_mag, saes[1].W_mag, rtol=1e-5, atol=1e-6)


def test_dead_latents_begin_again_at_badly_explained_tokens():
    tokens, _ = plant(32, 16, 2, 4000)
    config = replace(SMALL, target_l0=2, batch_tokens=250, n_epochs=6, learning_rate=1e-2)
    alive = {}
    for every in (0, 10):
        sae = create_sae(config, 16, rng=torch.Generator().manual_seed(0))
        with torch.no_grad():
            sae.b_enc[16:] = -10.0  # half of them can never fire
        trainer = SaeTrainer(sae, replace(config, resample_every=every), 96)
        for rows in torch.arange(4000).split(250) * 6:
            trainer.step(TokenShard(tokens[rows], torch.ones(250)))
        sae.calibrate(tokens, target_l0=2)
        alive[every] = measure_sae(sae, tokens).alive_share()
    assert alive[0] <= 0.5
    assert alive[10] > 0.8


def test_a_loss_that_is_no_number_is_an_error():
    tokens, _ = plant(8, 6, 2, 64)
    config = SaeConfig(n_latents=12, target_l0=2)
    sae = create_sae(config, 6, rng=torch.Generator().manual_seed(0))
    broken = TokenShard(torch.full_like(tokens, torch.nan), torch.ones(64))
    with pytest.raises(ModelError, match="learning rate"):
        SaeTrainer(sae, config, 10).step(broken)


@pytest.mark.parametrize("kind", ["gated", "jumprelu"])
def test_thresholds_move_together_to_the_target(kind):
    tokens, _ = plant(32, 16, 2, 3000)
    config = SaeConfig(kind=kind, n_latents=64, target_l0=6)
    sae = create_sae(config, 16, rng=torch.Generator().manual_seed(0))
    if kind == "gated":
        with torch.no_grad():
            sae.W_mag.copy_(sae.W_dec.T)
            sae.b_gate.fill_(-0.6)
    before = measure_sae(sae, tokens).l0
    shift = meet_target(sae, config, tokens)
    assert measure_sae(sae, tokens).l0 == pytest.approx(6, rel=0.02)
    assert (shift < 0) == (before < 6)
    assert meet_target(sae, replace(config, target_l0=None, sparsity=0.1), tokens) == 0.0
