"""Basins, agreement, choice of settings, averaged paths, landmarks' blocks."""

import numpy as np
import pytest
import torch

from napari_bio_superposition.alignment.agreement import measure_agreement
from napari_bio_superposition.alignment.basins import Basin, search_basins
from napari_bio_superposition.alignment.blocks import fill_blocks, match_quantiles
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.geodesics import METRICS, find_neighbours, prepare_points
from napari_bio_superposition.alignment.gromov import centre_cost
from napari_bio_superposition.alignment.selection import choose_settings
from napari_bio_superposition.alignment.survey import measure_paths
from napari_bio_superposition.core.progress import run


def _search(first, second, n_starts=6):
    costs = [
        centre_cost(np.linalg.norm(p[:, None] - p[None, :], axis=-1) / 3) for p in (first, second)
    ]
    rng = np.random.default_rng(0)
    return run(search_basins((costs[0], costs[1]), [1e-2], n_starts, rng=rng))[1e-2]


def test_a_mirror_symmetric_shape_has_two_equal_basins() -> None:
    points = np.c_[np.linspace(-1, 1, 30), np.zeros(30)]
    basins = _search(points, points)
    assert len(basins) == 2
    assert basins[1].loss == pytest.approx(basins[0].loss, rel=0.02)
    assert measure_agreement(basins[0].plan, basins[1].plan) < -0.3


def test_the_lowest_basin_of_an_asymmetric_shape_is_the_true_one(rng) -> None:
    points = np.c_[rng.beta(1, 3, 40) * 2, rng.normal(size=40) * 0.1]
    rotation = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    basins = _search(points, points @ rotation)
    agreement = [measure_agreement(basin.plan, np.eye(40) / 40) for basin in basins]
    assert agreement[0] == max(agreement) > 0.5
    losses = [basin.loss for basin in basins]
    assert losses == sorted(losses)
    assert sum(basin.starts for basin in basins) == 6


def test_agreement_is_one_zero_or_negative(rng: np.random.Generator) -> None:
    band = np.exp(-((np.arange(20)[:, None] - np.arange(20)[None, :]) ** 2) / 8)
    band /= band.sum()
    flat = np.full((20, 20), 1 / 400)
    assert measure_agreement(band, band) == pytest.approx(1)
    assert measure_agreement(band, flat) == pytest.approx(0, abs=1e-6)
    assert measure_agreement(band, band[:, ::-1]) < -0.2
    assert measure_agreement(band, band.T) == pytest.approx(measure_agreement(band.T, band))


def test_the_setting_that_disagrees_is_left_out() -> None:
    band = np.exp(-((np.arange(20)[:, None] - np.arange(20)[None, :]) ** 2) / 8)
    band /= band.sum()
    flipped = np.ascontiguousarray(band[:, ::-1])
    found = {
        # The flipped one has the lowest loss, which must not matter: it is of another graph.
        10: {1e-2: (Basin(flipped, 0.001, 4),)},
        20: {1e-2: (Basin(band, 0.03, 4),)},
        30: {1e-2: (Basin(band, 0.02, 4),)},
        50: {1e-2: (Basin(band, 0.04, 4),)},
    }
    choice = choose_settings(found)
    assert set(choice.k) == {20, 30, 50}
    assert choice.agreement[10] < 0
    assert choice.k[0] in choice.agreement


def test_one_setting_alone_is_taken() -> None:
    plan = np.full((3, 3), 1 / 9)
    choice = choose_settings({7: {1e-3: (Basin(plan, 0.1, 1),)}})
    assert choice.k == (7,)
    assert choice.epsilon == 1e-3


def test_quantiles_of_two_and_three() -> None:
    rows, columns, weights = match_quantiles(2, 3)
    np.testing.assert_array_equal(rows, [0, 0, 1, 1])
    np.testing.assert_array_equal(columns, [0, 1, 1, 2])
    np.testing.assert_allclose(weights, [1 / 3, 1 / 6, 1 / 6, 1 / 3])


def test_blocks_keep_marginals_and_order() -> None:
    # Two landmarks on a line of six cells, coupled with itself.
    line = np.arange(6.0)
    nearest = np.array([0, 0, 0, 1, 1, 1])
    distances = np.abs(line[[1, 4], None] - line[None, :]).astype(np.float32)
    plan = fill_blocks(np.diag([0.5, 0.5]), (nearest, nearest), (distances, distances)).toarray()
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 6)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 6)
    np.testing.assert_allclose(plan, np.eye(6) / 6, atol=1e-12)


def test_starts_follow_the_generator(rng: np.random.Generator) -> None:
    from napari_bio_superposition.alignment.starts import draw_starts

    points = rng.normal(size=(15, 3))
    cost = centre_cost(np.linalg.norm(points[:, None] - points[None, :], axis=-1))
    drawn = [draw_starts((cost, cost), 12, rng=np.random.default_rng(3)) for _ in range(2)]
    torch.testing.assert_close(drawn[0], drawn[1])
    assert drawn[0].shape == (12, 15, 15)


def test_paths_are_averaged_over_the_metrics_and_report_the_graph_in_most_pieces() -> None:
    # Two groups apart in level, which correlation does not see, along one direction.
    cells = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.4], [1.0, 2.0, 4.8]])
    cells = np.concatenate([cells, cells + 100])
    lists = {m: find_neighbours(prepare_points(cells, m), 1) for m in METRICS["both"]}
    everyone = np.arange(6)
    alone = {m: measure_paths([lists[m]], everyone, 1, CouplingConfig()) for m in lists}
    both, sizes = measure_paths(list(lists.values()), everyone, 1, CouplingConfig())
    np.testing.assert_allclose(both, (alone["correlation"][0] + alone["euclidean"][0]) / 2)
    assert sizes == max((found[1] for found in alone.values()), key=len)
    assert alone["euclidean"][0][0, 3] > alone["correlation"][0][0, 3]
