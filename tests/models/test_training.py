"""Contrastive and SAE training on planted classes and tokens; batches, queue, schedules by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.contrastive import (
    KeyQueue,
    crop_randomly,
    follow,
    rotate_randomly,
    supervised_contrastive_loss,
    unread_share,
)
from napari_bio_superposition.models.encoder import (
    EncoderConfig,
    centre_activations,
    create_network,
)
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.optimization import torch_generator, warmup_cosine
from napari_bio_superposition.models.training import train_encoder
from napari_bio_superposition.models.training_config import (
    ContrastiveConfig,
)

SHAPE = EncoderConfig(n_channels=1, width=16, blocks=(1, 1, 1, 1))
SHORT = ContrastiveConfig(
    n_epochs=3, batch_size=8, warmup_epochs=1, queue_size=64, key_momentum=0.9
)


@pytest.fixture
def textures(rng):
    """Return 96 patches of fine or coarse noise, ``(96, 1, 32, 32)``, and which it is."""
    fine = rng.random((48, 1, 32, 32))
    coarse = rng.random((48, 1, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    classes = np.repeat([0, 1], 48)
    return np.concatenate([fine, coarse]).astype(np.float32), classes


def test_the_contrastive_loss_by_hand():
    queries = torch.tensor([[1.0, 0.0]])
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    loss = supervised_contrastive_loss(
        queries, keys, torch.tensor([0]), torch.tensor([0, 1, 0]), temperature=0.5
    )
    total = math.log(math.exp(2) + 1 + math.exp(-2))
    assert loss.item() == pytest.approx(total - (2 - 2) / 2, rel=1e-6)


def test_a_query_without_a_key_of_its_class_contributes_nothing():
    one = torch.ones(1, 1)
    assert not supervised_contrastive_loss(one, one, torch.tensor([0]), torch.tensor([1]))


def test_tokens_are_read_where_they_hold_the_brightness_in_plain_sight():
    chance = torch.Generator().manual_seed(0)
    patches = torch.randn(2, 3, 32, 32, generator=chance)
    brightness = functional.avg_pool2d(patches, 2)
    noise = torch.randn(2, 8, 16, 16, generator=chance)
    only = torch.cat([brightness, torch.zeros(2, 5, 16, 16)], dim=1) + 5
    ridge = 0.3 * 3 / 8  # relative to the variance of each of the three
    assert unread_share(only, patches).item() == pytest.approx(ridge / (1 + ridge), abs=0.01)
    assert 0.95 < unread_share(noise, patches) <= 1
    faint = torch.cat([0.01 * brightness, noise[:, 3:]], dim=1)
    assert unread_share(faint, patches) > 0.95


def test_the_unread_share_by_hand_and_its_gradient():
    """One token channel x and a brightness y: 1 - r^2 / 1.3, with a ridge of 0.3 variances."""
    x = torch.tensor([1.0, 2.0, 4.0, 7.0]).view(1, 1, 2, 2).requires_grad_()
    y = torch.tensor([2.0, 1.0, 5.0, 6.0]).view(1, 1, 2, 2)
    share = unread_share(x, y)
    r = np.corrcoef(x.detach().ravel(), y.ravel())[0, 1]
    assert share.item() == pytest.approx(1 - r**2 / 1.3, abs=1e-4)
    share.backward()
    step = 1e-2 * torch.eye(4)[1].view(1, 1, 2, 2)
    slope = (unread_share(x + step, y) - unread_share(x - step, y)) / 2e-2
    assert x.grad is not None
    assert x.grad.ravel()[1].item() == pytest.approx(slope.item(), rel=1e-2)


def test_training_for_detail_keeps_places_readable(rng):
    """A short training for classes alone makes places harder to read; with detail, easier."""
    pixels = rng.random((32, 1, 16, 16), dtype=np.float32)
    classes = np.repeat([0, 1], 16)
    normal = normalize_instances(torch.from_numpy(pixels), mode="clamp", std_floor=0.01)
    unread = []
    for weight in (0.0, 20.0):
        config = ContrastiveConfig(
            n_epochs=20, batch_size=16, optimizer="adamw", learning_rate=1e-2, warmup_epochs=0,
            queue_size=64, detail_weight=weight,
        )  # fmt: skip
        job = train_encoder(pixels, classes, SHAPE, config, rng=np.random.default_rng(3))
        unread.append(float(unread_share(run(job).network.encoder(normal, "stage5_out"), normal)))
    assert unread[1] < 0.5 * unread[0]


def test_the_queue_drops_the_oldest_keys():
    queue = KeyQueue(3, 1, device=torch.device("cpu"))
    for value in range(5):
        queue.push(torch.full((1, 1), float(value)), torch.tensor([value]))
    assert queue.labels.tolist() == [2, 3, 4]
    keys, labels = queue.pool(torch.ones(1, 1), torch.tensor([9]))
    assert keys.flatten().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert labels.tolist() == [9, 2, 3, 4]
    assert queue.keys.dtype == torch.float16


def test_an_empty_queue_holds_nothing():
    queue = KeyQueue(0, 2, device=torch.device("cpu"))
    queue.push(torch.ones(4, 2), torch.arange(4))
    assert len(queue.pool(torch.ones(3, 2), torch.arange(3))[0]) == 3


def test_the_key_network_follows_slowly():
    key, query = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    with torch.no_grad():
        key.weight.fill_(0.0)
        query.weight.fill_(1.0)
    follow(key, query, momentum=0.9)
    assert key.weight.item() == pytest.approx(0.1)


def test_views_are_rotations_and_windows():
    patches = torch.arange(36.0).reshape(1, 1, 6, 6)
    chance = torch.Generator().manual_seed(0)
    turns = {tuple(rotate_randomly(patches, rng=chance).flatten().tolist()) for _ in range(60)}
    expected = {tuple(torch.rot90(patches, k, (2, 3)).flatten().tolist()) for k in range(4)}
    assert turns == expected
    corners = {crop_randomly(patches, 4, rng=chance)[0, 0, 0, 0].item() for _ in range(120)}
    assert corners == {0.0, 1.0, 2.0, 6.0, 7.0, 8.0, 12.0, 13.0, 14.0}


def test_the_learning_rate_rises_and_falls():
    rates = [warmup_cosine(step, 12, n_warmup=4) for step in range(13)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[8] == pytest.approx(0.5)
    assert rates[12] == pytest.approx(0.0)


def test_planted_classes_are_pulled_apart(textures):
    pixels, classes = textures
    config = ContrastiveConfig(
        n_epochs=6, batch_size=16, warmup_epochs=1, queue_size=64, key_momentum=0.9
    )
    job = train_encoder(pixels, classes, SHAPE, config, rng=np.random.default_rng(1))
    trained = run(job)
    assert trained.losses[-6:].mean() < math.log(80) - 0.4  # log 80 - log 2 = 3.7 is the optimum
    kernel = trained.network.encoder.stage5.blocks[0].c1.weight
    torch.testing.assert_close(kernel.flatten(1).norm(dim=1), torch.ones(16))
    with torch.no_grad():
        unit = trained.network(torch.from_numpy(pixels - 0.5) * 3)[0]
    centres = torch.stack([unit[classes == c].mean(0) for c in (0, 1)])
    assert ((unit @ centres.T).argmax(1).numpy() == classes).mean() > 0.95


def test_the_same_generator_gives_the_same_encoder(textures):
    runs = [
        run(train_encoder(*textures, SHAPE, SHORT, rng=np.random.default_rng(5))) for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].losses, runs[1].losses)
    other = run(train_encoder(*textures, SHAPE, SHORT, rng=np.random.default_rng(6)))
    assert not np.array_equal(runs[0].losses, other.losses)


def test_training_reports_every_step_and_can_be_closed(textures):
    job = train_encoder(*textures, SHAPE, SHORT, rng=np.random.default_rng(5))
    first = next(job)
    assert (first.done, first.total, first.unit) == (1, 36, "steps")
    assert first.values["loss"] > 0
    job.close()


def test_a_diverging_loss_is_an_error(textures):
    pixels, classes = textures
    broken = np.where(pixels > 0.999, np.nan, pixels).astype(np.float32)
    with pytest.raises(ModelError, match="learning rate"):
        run(train_encoder(broken, classes, SHAPE, SHORT, rng=np.random.default_rng(5)))


def test_torch_chance_comes_from_numpy_chance():
    draws = [
        torch.rand(1, generator=torch_generator(np.random.default_rng(s))).item() for s in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_centred_activations_have_no_mean():
    encoder = create_network(SHAPE, rng=torch.Generator().manual_seed(0)).encoder
    patches = torch.randn(4, 1, 32, 32)
    centre_activations(encoder, patches)
    for tap in ("stage5_out", "refine_out"):
        means = encoder(patches, tap).mean((0, 2, 3))
        torch.testing.assert_close(means, torch.zeros(16), atol=1e-5, rtol=0)


def test_centred_features_forget_what_all_patches_share():
    network = create_network(SHAPE, rng=torch.Generator().manual_seed(0))
    patches = torch.randn(6, 1, 32, 32)
    together = network(patches)[0]
    network.centre_pooled = True
    apart = network(patches)[0]
    assert (together @ together.T).min() > 0.9
    assert (apart @ apart.T).min() < 0.5


def test_the_short_recipe_learns_planted_classes(textures):
    pixels, classes = textures
    config = ContrastiveConfig(
        n_epochs=2,
        batch_size=16,
        warmup_epochs=0,
        optimizer="adamw",
        learning_rate=1e-3,
        projector_rate=10,
        temperature=0.2,
        queue_size=64,
        key_momentum=0.9,
        crop_px=24,
        centre_first=True,
        centre_pooled=True,
    )
    trained = run(train_encoder(pixels, classes, SHAPE, config, rng=np.random.default_rng(1)))
    assert trained.losses[-4:].mean() < math.log(80) - 0.4
