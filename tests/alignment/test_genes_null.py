"""From R2 and its permutations to z, p and q, by hand."""

import numpy as np

from napari_bio_superposition.alignment.genes_halves import Halves, score_halves
from napari_bio_superposition.alignment.genes_null import (
    compare_with_permutations,
    permute_within,
)
from napari_bio_superposition.alignment.genes_ridge import Hat
from napari_bio_superposition.core.progress import run


def test_z_p_and_q_by_hand() -> None:
    permuted = np.array([[0.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
    scores = compare_with_permutations(np.array([3.0, 1.0]), permuted)
    np.testing.assert_allclose(scores.z, [2.0, 0.0])
    np.testing.assert_allclose(scores.p, [0.25, 1.0])
    np.testing.assert_allclose(scores.q, [0.5, 1.0])


def test_permutations_without_r2_do_not_count() -> None:
    nan = np.nan
    permuted = np.array([[0.0, nan, nan], [2.0, 1.0, 0.0], [1.0, 3.0, nan]])
    observed = np.array([3.0, 2.5, 1.0])
    scores = compare_with_permutations(observed, permuted)
    np.testing.assert_allclose(scores.z, [2.0, 0.5 / np.sqrt(2), nan])
    np.testing.assert_allclose(scores.p, [1 / 4, 2 / 3, nan])
    pooled = compare_with_permutations(observed, permuted, pooled=True)
    # In units of their own nulls: -1, 1, 0 and -0.71, 0.71; two of these five reach 0.35.
    np.testing.assert_allclose(pooled.p, [1 / 6, 3 / 6, nan])
    np.testing.assert_allclose(pooled.q, [2 / 6, 3 / 6, nan])


def test_a_gene_of_two_cells_has_a_null_and_one_that_does_not_vary_has_none() -> None:
    rng = np.random.default_rng(0)
    n, cells = 40, 200
    shares = [rng.dirichlet(np.ones(cells // 2), n) for _ in range(2)]
    first = np.concatenate([shares[0], np.zeros((n, cells // 2))], axis=1)
    second = np.concatenate([np.zeros((n, cells // 2)), shares[1]], axis=1)
    every = np.arange(n)
    hat = Hat(every, every, np.ones((n, 1)), np.full((1, n), 1 / n))
    expression = rng.poisson(1.0, (cells, 30)).astype(float)
    expression[:, 0] = 0
    expression[[3, -3], 0] = 1.0  # in each half a cell: a quarter of the permutations lose it
    expression[:, 1] = 1.0
    scores = run(score_halves([Halves([hat], first, second)], expression, 20, rng=rng))
    assert np.isfinite([scores.null_sd[0], scores.z[0], scores.p[0]]).all()
    assert np.isnan([scores.r2[1], scores.z[1], scores.p[1], scores.q[1]]).all()


def test_permutations_stay_within_strata() -> None:
    strata = np.repeat(["a", "b"], 20)
    order = permute_within(strata, rng=np.random.default_rng(0))
    assert sorted(order) == list(range(40))
    np.testing.assert_array_equal(strata[order], strata)
    assert (order != np.arange(40)).any()
