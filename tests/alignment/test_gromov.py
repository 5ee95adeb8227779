"""The loss against its definition, the solver against POT, the factors against full costs."""

import itertools

import numpy as np
import pytest
import torch

from napari_bio_superposition.alignment.gromov import (
    SolverLimits,
    centre_cost,
    epsilon_stages,
    factorize_cost,
    interaction,
    solve_by_corrections,
    solve_entropic,
    square_loss,
    truncate_cost,
)
from napari_bio_superposition.alignment.polish import import_pot, polish_plan
from napari_bio_superposition.core.progress import run


def _cost(rng: np.random.Generator, n: int) -> np.ndarray:
    points = rng.normal(size=(n, 2)) * [1.0, 0.4]
    cost = np.linalg.norm(points[:, None] - points[None, :], axis=-1)
    return cost / cost.max()


def _product(n: int, m: int) -> torch.Tensor:
    return torch.full((n, m), 1 / (n * m), dtype=torch.float64)


def test_loss_is_the_sum_over_all_quadruples(rng: np.random.Generator) -> None:
    first, second = _cost(rng, 4), _cost(rng, 5)
    plan = rng.random((4, 5))
    plan /= plan.sum()
    expected = sum(
        (first[i, k] - second[j, m]) ** 2 * plan[i, j] * plan[k, m]
        for i in range(4)
        for j in range(5)
        for k in range(4)
        for m in range(5)
    )
    p, q = plan.sum(axis=1), plan.sum(axis=0)
    costs = [centre_cost(c, w, dtype=torch.float64) for c, w in ((first, p), (second, q))]
    loss = float(square_loss(costs[0], torch.as_tensor(plan), costs[1]))
    assert loss == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("epsilon", [0.02, 0.05])
def test_solver_agrees_with_pot_from_the_same_start(rng, epsilon: float) -> None:
    first, second = _cost(rng, 14), _cost(rng, 11)
    p, q = np.full(14, 1 / 14), np.full(11, 1 / 11)
    start = rng.random((14, 11))
    start = np.asarray(run_rounding(start / start.sum(), p, q))
    gromov = import_pot().gromov
    theirs = gromov.entropic_gromov_wasserstein(
        first,
        second,
        p,
        q,
        "square_loss",
        epsilon=epsilon,
        G0=start,
        max_iter=2000,
        tol=1e-12,
        numItermax=20000,
        stopThr=1e-13,
    )
    costs = [centre_cost(c, dtype=torch.float64) for c in (first, second)]
    limits = SolverLimits(plan_tolerance=1e-11, row_tolerance=1e-12, outer=2000, inner=20000)
    job = solve_entropic((costs[0], costs[1]), torch.as_tensor(start), [epsilon], limits)
    plan = run(job).plan
    ours = float(square_loss(costs[0], plan, costs[1]))
    pot_loss = float(square_loss(costs[0], torch.as_tensor(theirs), costs[1]))
    assert ours == pytest.approx(pot_loss, abs=1e-6)
    np.testing.assert_allclose(plan.numpy(), theirs, atol=1e-6)


def run_rounding(plan, p, q):
    from napari_bio_superposition.alignment.sinkhorn import round_to_marginals

    tensors = [torch.as_tensor(value) for value in (plan, p[:, None], q[None, :])]
    return round_to_marginals(*tensors).numpy()


@pytest.mark.parametrize("annealed", [True, False])
@pytest.mark.parametrize("epsilon", [5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1])
def test_single_precision_holds_at_every_epsilon(rng, epsilon: float, annealed: bool) -> None:
    costs = [centre_cost(_cost(rng, size)) for size in (40, 50)]
    stages = epsilon_stages(0.1 if annealed else epsilon, epsilon)
    limits = SolverLimits(outer=60)
    solution = run(solve_entropic((costs[0], costs[1]), _product(40, 50).float(), stages, limits))
    assert torch.isfinite(solution.plan).all()
    assert float(solution.plan.sum()) == pytest.approx(1, abs=1e-5)
    assert solution.potentials is not None
    assert all(torch.isfinite(potential).all() for potential in solution.potentials)


def test_two_steps_end_where_one_does(rng: np.random.Generator) -> None:
    costs = [centre_cost(_cost(rng, size), dtype=torch.float64) for size in (100, 90)]
    pair = (costs[0], costs[1])
    stages, limits = epsilon_stages(5e-2, 1e-2), SolverLimits(plan_tolerance=1e-7)
    found = [
        run(solve(pair, _product(100, 90), stages, limits))
        for solve in (solve_entropic, solve_by_corrections)
    ]
    losses = [float(square_loss(pair[0], solution.plan, pair[1])) for solution in found]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    assert all(solution.row_error < 1e-5 for solution in found)


def test_leading_components_are_the_cost_where_there_are_no_others(rng) -> None:
    points = rng.normal(size=(30, 2))
    cost = centre_cost(np.square(points[:, None] - points[None, :]).sum(axis=-1))
    short = truncate_cost(cost, 4)  # a squared distance in the plane has a centred core of rank 2
    assert short.right is not None
    torch.testing.assert_close(short.left @ short.right.mT, cost.left, rtol=1e-4, atol=1e-4)


def test_factors_of_full_rank_are_the_full_cost(rng: np.random.Generator) -> None:
    first, second = _cost(rng, 12), _cost(rng, 15)
    full = [centre_cost(c, dtype=torch.float64) for c in (first, second)]
    low = [
        factorize_cost(c.astype(np.float32), np.arange(len(c)), rank=len(c), dtype=torch.float64)
        for c in (first, second)
    ]
    plan = torch.as_tensor(
        run_rounding(rng.random((12, 15)), np.full(12, 1 / 12), np.full(15, 1 / 15))
    )
    expected = square_loss(full[0], plan, full[1])
    torch.testing.assert_close(square_loss(low[0], plan, low[1]), expected, rtol=1e-4, atol=1e-5)
    mixed = interaction(low[0], plan, full[1]) - interaction(full[0], plan, low[1])
    centred = mixed - mixed.mean(dim=0) - mixed.mean(dim=1, keepdim=True) + mixed.mean()
    assert float(centred.abs().max()) < 1e-5


def test_stages_fall_to_the_asked_epsilon() -> None:
    stages = epsilon_stages(5e-2, 1e-3)
    assert stages[0] == pytest.approx(5e-2)
    assert stages[-1] == pytest.approx(1e-3)
    assert all(0.3 < low / high < 1 for high, low in itertools.pairwise(stages))
    assert epsilon_stages(1e-3, 1e-2) == [1e-2]


def test_polishing_finds_the_identity_of_equal_geometries(rng: np.random.Generator) -> None:
    cost = _cost(rng, 12)
    masses = np.full(12, 1 / 12)
    start = 0.5 * np.eye(12) / 12 + 0.5 / 144
    plan, loss = polish_plan((cost, cost), (masses, masses), start)
    np.testing.assert_allclose(plan, np.eye(12) / 12, atol=1e-9)
    assert loss == pytest.approx(0, abs=1e-9)
