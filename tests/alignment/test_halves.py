"""Halves of one modality set the floor of the loss: one shape seen twice against unrelated ones."""

import numpy as np
import pytest

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.halves import compare_halves
from napari_bio_superposition.core.progress import run

CONFIG = CouplingConfig(metric="euclidean", n_null_cells=60)


def _sheet(n: int, rng: np.random.Generator) -> np.ndarray:
    along = rng.beta(1.2, 2.5, n)
    return np.c_[3 * along, rng.beta(1, 2.5, n) * (0.3 + along)]


def _ring(n: int, rng: np.random.Generator) -> np.ndarray:
    angle = 2 * np.pi * rng.random(n)
    return np.c_[np.cos(angle), np.sin(angle)] + 0.05 * rng.normal(size=(n, 2))


def _excess(first, second, seed: int) -> float:
    rng = np.random.default_rng(seed)
    losses = run(compare_halves((first, second), 15, 5e-3, CONFIG, rng=rng))
    across, images, rna = (np.median(losses[key]) for key in ("across", "images", "rna"))
    return float(2 * across / (images + rna))


@pytest.mark.parametrize("seed", [0, 1])
def test_unrelated_shapes_are_told_from_one_shape_seen_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sheet = _sheet(160, rng)
    turned = sheet @ np.linalg.qr(rng.normal(size=(2, 2)))[0] + 0.01 * rng.normal(size=(160, 2))
    assert _excess(sheet, turned, seed) < 1.35
    assert _excess(sheet, _ring(160, rng), seed) > 1.5


def test_too_few_cells_have_no_halves() -> None:
    cells = np.random.default_rng(0).random((50, 2))
    assert run(compare_halves((cells, cells), 10, 5e-3, CONFIG, rng=np.random.default_rng(0))) == {}
