"""A training that was killed goes on as if nothing had happened; views without classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.errors import ConfigError, ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.compute import SingleDevice, open_compute
from napari_bio_superposition.models.encoder_config import EncoderConfig
from napari_bio_superposition.models.training import EncoderTraining, train_encoder
from napari_bio_superposition.models.training_config import ContrastiveConfig
from napari_bio_superposition.models.training_state import load_state, save_state

SHAPE = EncoderConfig(n_channels=1, width=8, blocks=(1, 1, 1, 1))
CONFIG = ContrastiveConfig(
    n_epochs=3, batch_size=8, warmup_epochs=1, queue_size=20, key_momentum=0.9, crop_px=16
)


def _training(config: ContrastiveConfig = CONFIG, compute=None) -> EncoderTraining:
    pixels = np.random.default_rng(0).random((40, 1, 20, 20)).astype(np.float16)
    classes = np.repeat([0, 1], 20)
    rng = np.random.default_rng(7)
    return EncoderTraining(
        pixels, classes, SHAPE, config, rng=rng, compute=compute or SingleDevice()
    )


def _finish(training: EncoderTraining) -> list[float]:
    while not training.finished:
        run(training.run_epoch())
    return training.losses


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_training_goes_on_with_the_very_same_losses(tmp_path, optimizer):
    rate = {"sgd": 0.1, "adamw": 1e-3}[optimizer]
    config = replace(CONFIG, optimizer=optimizer, learning_rate=rate)
    whole = _finish(_training(config))
    killed = _training(config)
    stop = int(np.random.default_rng().integers(1, killed.n_steps))  # at any step
    while killed.step < stop:
        for _ in killed.run_epoch():
            if killed.step == stop:
                break
    save_state(killed.state_dict(), tmp_path / "state.pt")
    resumed = _training(config)
    resumed.load_state_dict(load_state(tmp_path / "state.pt"))
    assert resumed.step == stop
    assert _finish(resumed) == whole


def test_a_state_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    state = _training().state_dict()
    with pytest.raises(ModelError, match=r"12 steps|15 steps"):
        _training(replace(CONFIG, n_epochs=4)).load_state_dict(state)
    (tmp_path / "bad.pt").write_bytes(b"no state")
    with pytest.raises(ModelError, match="cannot be read"):
        load_state(tmp_path / "bad.pt")


def test_fabric_and_plain_torch_give_the_same_curve():
    pytest.importorskip("lightning.fabric")
    compute = open_compute("cpu")
    compute.launch()
    np.testing.assert_allclose(_finish(_training(compute=compute)), _finish(_training()), rtol=1e-6)


def test_half_precision_follows_the_full_one():
    half = _finish(_training(compute=SingleDevice(precision="bf16-mixed")))
    full = _finish(_training())
    assert half != full
    np.testing.assert_allclose(half[:3], full[:3], atol=0.2)


def test_without_classes_each_patch_is_its_own_class(rng):
    # Each patch is a grating of its own frequency: two views of one are alike, others are not.
    frequency = np.linspace(1, 8, 48)[:, None, None]
    wave = np.sin(np.linspace(0, np.pi, 20)[None, None, :] * frequency * 2)
    pixels = (0.5 + 0.5 * np.broadcast_to(wave, (48, 20, 20)))[:, None].astype(np.float32)
    config = replace(
        CONFIG, n_epochs=12, optimizer="adamw", learning_rate=3e-3, centre_first=True,
        centre_pooled=True, warmup_epochs=0, crop_px=None, temperature=0.2,
    )  # fmt: skip
    same = np.zeros(48, np.int64)
    trained = run(train_encoder(pixels, same, SHAPE, config, rng=rng))
    chance = np.log(8 + 20)  # one positive among the batch's keys and the queue
    assert trained.losses[-6:].mean() < chance - 0.7
    with pytest.raises(ModelError, match="two of them"):
        run(train_encoder(pixels, same, SHAPE, replace(config, supervision="classes"), rng=rng))


def test_a_batch_in_chunks_gives_the_same_curve():
    chunks = _finish(_training(replace(CONFIG, chunk_patches=3)))
    np.testing.assert_allclose(chunks, _finish(_training()), rtol=1e-4)
    with pytest.raises(ConfigError, match="centre_pooled"):
        replace(CONFIG, chunk_patches=3, centre_pooled=True)
    with pytest.raises(ConfigError, match="detail_weight"):
        replace(CONFIG, chunk_patches=3, detail_weight=1.0)


def test_a_batch_is_shared_equally_or_not_at_all():
    compute = SingleDevice()
    compute.world_size = 3
    with pytest.raises(ModelError, match="multiple of 3"):
        _training(compute=compute)
    assert torch.get_default_dtype() == torch.float32
