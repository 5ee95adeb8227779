"""Made images excite their latent more than real ones, scored as inference would score them."""

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.errors import ConfigError, ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.activation_maximization import (
    MaximizationConfig,
    _frequency_mask,
    _transform,
    maximize_activation,
)
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import encode_patches

SMALL = MaximizationConfig(n_steps=60, decays=(0.4, 1.2), jitters_px=(2,), n_seeds=2)
LATENT = 5


@pytest.mark.parametrize("centring", ["dataset", "image", "batch"])
def test_a_made_image_beats_real_patches_under_the_scoring_of_inference(
    make_model, tiny_patches: np.ndarray, centring: str
) -> None:
    model = make_model(centring=centring)
    real = run(encode_patches(model, tiny_patches)).activations[:, LATENT]
    made = run(maximize_activation(model, LATENT, SMALL, real=real, rng=np.random.default_rng(0)))
    assert made.images.shape == (4, 3, 32, 32)
    assert made.score[0] > real.max()
    assert made.percentile[0] == 100
    assert (np.diff(made.robust_score) <= 0).all()
    assert sorted(made.decay.tolist()) == pytest.approx([0.4, 0.4, 1.2, 1.2])
    np.testing.assert_allclose(made.maps.mean(axis=(1, 2)), made.score, rtol=1e-5)
    # Instance normalisation makes scale and offset irrelevant, so these are pixels like others.
    pixels = (0.5 + 0.1 * made.images).astype(np.float32)
    if centring == "batch":  # inference would mix the images of a batch
        pixels = pixels[:1]
    scored = run(encode_patches(model, pixels, batch_size=1)).activations[:, LATENT]
    np.testing.assert_allclose(scored, made.score[: len(pixels)], rtol=1e-3)


def test_a_batch_gives_what_single_runs_give_in_number_and_kind(
    tiny_model: FeatureModel,
) -> None:
    config = MaximizationConfig(
        n_steps=3, decays=(1.0,), jitters_px=(0, 3), n_seeds=2, batch_size=3
    )
    reports = []
    made = run(
        maximize_activation(tiny_model, 0, config, rng=np.random.default_rng(0)), reports.append
    )
    assert len(made.score) == 4
    assert set(zip(made.jitter_px.tolist(), made.seed.tolist(), strict=True)) == {
        (0, 0), (0, 1), (3, 0), (3, 1),
    }  # fmt: skip
    assert np.isnan(made.percentile).all()
    assert [report.done for report in reports] == [3, 6, 9, 10, 11, 12]
    assert reports[-1].fraction == 1


def test_closing_the_job_stops_it(tiny_model: FeatureModel) -> None:
    job = maximize_activation(tiny_model, 0, SMALL, rng=np.random.default_rng(0))
    assert next(job).done == 4
    job.close()
    with pytest.raises(StopIteration):
        next(job)


def test_frequencies_fall_off_as_specified() -> None:
    mask = _frequency_mask(8, 2.0)
    assert mask.shape == (8, 5)
    assert mask[0, 0] == mask[0, 1] == 1  # the mean counts as the lowest frequency
    assert mask[0, 2] == pytest.approx(0.25)
    assert mask[3, 4] == pytest.approx(1 / 25)


def test_transforms_keep_a_flat_image_flat_and_move_others(rng: np.random.Generator) -> None:
    flat = torch.full((2, 1, 16, 16), 3.0)
    moved = _transform(flat, np.array([4, 4]), rng)
    torch.testing.assert_close(moved, flat)
    noise = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(_transform(noise, np.array([4, 4]), rng), noise)


def test_settings_that_make_no_sense_are_refused(tiny_model: FeatureModel) -> None:
    with pytest.raises(ConfigError, match="at least one decay"):
        MaximizationConfig(decays=())
    with pytest.raises(ConfigError, match="must not be negative"):
        MaximizationConfig(jitters_px=(-1,))
    with pytest.raises(ModelError, match="from 0 to 23"):
        run(maximize_activation(tiny_model, 24, SMALL, rng=np.random.default_rng(0)))
