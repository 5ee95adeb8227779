"""Disjoint halves tell one shape seen twice from unrelated ones, by loss and by repetition."""

import numpy as np
import pytest

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.halves import (
    HalvesComparison,
    compare_halves,
    match_nearest,
)
from napari_bio_superposition.core.progress import run

CONFIG = CouplingConfig(metric="euclidean")


def _sheet(n: int, rng: np.random.Generator) -> np.ndarray:
    along = rng.beta(1.2, 2.5, n)
    return np.c_[3 * along, rng.beta(1, 2.5, n) * (0.3 + along)]


def _ring(n: int, rng: np.random.Generator) -> np.ndarray:
    angle = 2 * np.pi * rng.random(n)
    return np.c_[np.cos(angle), np.sin(angle)] + 0.05 * rng.normal(size=(n, 2))


def _compare(first, second, seed: int) -> HalvesComparison:
    found = run(compare_halves((first, second), CONFIG, rng=np.random.default_rng(seed)))
    assert found is not None
    return found


def test_unrelated_shapes_are_told_from_one_shape_seen_twice() -> None:
    seed = 0
    rng = np.random.default_rng(seed)
    sheet = _sheet(160, rng)
    turned = sheet @ np.linalg.qr(rng.normal(size=(2, 2)))[0] + 0.01 * rng.normal(size=(160, 2))
    same = _compare(sheet, turned, seed)
    assert same.excess <= same.excess_over_tighter < 1.5
    assert same.reproducibility > 0.8
    other = _compare(sheet, _ring(160, rng), seed)
    assert other.excess_over_tighter > 4
    assert len(other.reproduced) == 2  # clear after the first look


def test_a_ball_has_no_map_that_other_cells_would_repeat() -> None:
    rng = np.random.default_rng(0)
    found = _compare(*(rng.normal(size=(80, 3)) for _ in range(2)), 0)
    assert found.excess < 1.3
    assert found.reproducibility < 0.5


def test_ratios_are_of_medians_over_the_mean_and_over_the_tighter_modality() -> None:
    losses = {"across": (0.02, 0.03, 0.9), "images": (0.01,), "rna": (0.02, 0.02)}
    found = HalvesComparison(losses, (0.9, -0.5, 0.7))
    assert found.excess == pytest.approx(2.0)
    assert found.excess_over_tighter == pytest.approx(3.0)
    assert found.reproducibility == 0.7


def test_the_nearest_of_another_half_stand_for_a_cell() -> None:
    points = np.arange(8.0)[:, None]
    plan = match_nearest(points, points[1:6])
    np.testing.assert_allclose(plan.sum(), 1)
    # The first cell: half of its own eighth over 1, 2, 3; nobody's nearest but that of 1.
    np.testing.assert_allclose(plan[0], [1 / 48 + 1 / 30, 1 / 48, 1 / 48, 0, 0])
    assert (plan.sum(axis=1) > 0).all()
    assert (plan.sum(axis=0) > 0).all()


def test_too_few_cells_have_no_halves() -> None:
    cells = np.random.default_rng(0).random((50, 2))
    assert run(compare_halves((cells, cells), CONFIG, rng=np.random.default_rng(0))) is None
