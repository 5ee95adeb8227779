"""What can be read from the images: class and progression from texture, not from brightness."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from napari_bio_superposition.imaging.simulate import (
    SimulatedField,
    SimulationConfig,
    simulate_study,
)

CONFIG = SimulationConfig(n_plates=6, wells_per_class=3, side_px=256)
MODEL_CHANNELS = slice(0, 3)
"""Without the death dye, which no model sees."""


@dataclass(frozen=True)
class Measured:
    brightness: np.ndarray
    texture: np.ndarray
    genotype: np.ndarray
    plate: np.ndarray
    progression: np.ndarray


def measure_texture(field: SimulatedField) -> np.ndarray:
    """Return the log share of the contrast at four scales, which no gain or offset changes."""
    bands = []
    for channel in field.image.pixels[MODEL_CHANNELS].astype(np.float32):
        scales = [channel, *(gaussian_filter(channel, sigma) for sigma in (1, 2, 4, 8))]
        bands += [
            np.log((fine - coarse).std() / channel.std()) for fine, coarse in pairwise(scales)
        ]
    return np.array(bands)


@pytest.fixture(scope="module")
def measured() -> Measured:
    fields = list(simulate_study(CONFIG, rng=np.random.default_rng(11)))
    means = [field.image.pixels[MODEL_CHANNELS].mean(axis=(1, 2)) for field in fields]
    return Measured(
        brightness=np.log(means),
        texture=np.array([measure_texture(field) for field in fields]),
        genotype=np.array([field.image.acquisition.genotype for field in fields]),
        plate=np.array([field.image.acquisition.plate for field in fields]),
        progression=np.array([field.cells["progression"].mean() for field in fields]),
    )


def decode_class(features: np.ndarray, genotype: np.ndarray, plate: np.ndarray) -> float:
    """Return the balanced accuracy on plates that took no part in the fit; chance is 0.25."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = GroupKFold(len(np.unique(plate)))
    predicted = cross_val_predict(model, features, genotype, groups=plate, cv=folds)
    return float(balanced_accuracy_score(genotype, predicted))


def test_brightness_does_not_give_the_class_away(
    measured: Measured, rng: np.random.Generator
) -> None:
    found = decode_class(measured.brightness, measured.genotype, measured.plate)
    null = []
    for _ in range(19):
        shuffled = measured.genotype.copy()
        for plate in np.unique(measured.plate):
            on_plate = measured.plate == plate
            shuffled[on_plate] = rng.permutation(shuffled[on_plate])
        null.append(decode_class(measured.brightness, shuffled, measured.plate))
    assert found < max(null) + 0.08
    assert found < 0.42


def test_texture_tells_the_class(measured: Measured) -> None:
    assert decode_class(measured.texture, measured.genotype, measured.plate) > 0.7


def test_texture_follows_progression_on_unseen_plates(measured: Measured) -> None:
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
    folds = GroupKFold(CONFIG.n_plates)
    predicted = cross_val_predict(
        model, measured.texture, measured.progression, groups=measured.plate, cv=folds
    )
    assert spearmanr(predicted, measured.progression)[0] > 0.7
