"""Balancing against values computed by hand, and invariants at every epsilon."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bio_superposition.alignment.sinkhorn import balance, round_to_marginals


def _uniform(n: int, m: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((n, 1), 1 / n, dtype=dtype), torch.full((1, m), 1 / m, dtype=dtype)


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
def test_two_by_two_is_the_logistic_function(epsilon: float) -> None:
    # By symmetry both scalings are equal, so the diagonal holds 1 / (1 + exp(-1 / epsilon)) of it.
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    plan = balance(cost, _uniform(2, 2, torch.float64), epsilon=epsilon, tolerance=1e-12).plan
    diagonal = 0.5 / (1 + np.exp(-1 / epsilon))
    expected = [[diagonal, 0.5 - diagonal], [0.5 - diagonal, diagonal]]
    np.testing.assert_allclose(plan.numpy(), expected, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(2, 12),
    m=st.integers(2, 12),
    epsilon=st.floats(5e-4, 1e-1),
)
def test_single_precision_never_fails(seed: int, n: int, m: int, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    cost = torch.as_tensor(rng.random((n, m)), dtype=torch.float32)
    p, q = (rng.random(size) + 0.1 for size in (n, m))
    masses = (
        torch.as_tensor(p / p.sum(), dtype=torch.float32)[:, None],
        torch.as_tensor(q / q.sum(), dtype=torch.float32)[None, :],
    )
    balanced = balance(cost, masses, epsilon=epsilon, max_iterations=300)
    assert torch.isfinite(balanced.plan).all()
    assert (balanced.plan >= 0).all()
    columns = balanced.plan.sum(dim=0, keepdim=True)
    np.testing.assert_allclose(columns.numpy(), masses[1].numpy(), rtol=1e-4)


def test_row_and_column_constants_change_nothing(rng: np.random.Generator) -> None:
    cost = torch.as_tensor(rng.random((5, 4)))
    shift = torch.as_tensor(rng.random((5, 1))) + torch.as_tensor(rng.random((1, 4)))
    masses = _uniform(5, 4, torch.float64)
    plans = [balance(c, masses, epsilon=0.05, tolerance=1e-10).plan for c in (cost, cost + shift)]
    np.testing.assert_allclose(plans[0].numpy(), plans[1].numpy(), atol=1e-9)


def test_a_stack_gives_what_single_plans_give(rng: np.random.Generator) -> None:
    costs = torch.as_tensor(rng.random((3, 6, 7)))
    masses = _uniform(6, 7, torch.float64)
    stack = balance(costs, masses, epsilon=0.02, tolerance=1e-9).plan
    for cost, plan in zip(costs, stack, strict=True):
        single = balance(cost, masses, epsilon=0.02, tolerance=1e-9).plan
        np.testing.assert_allclose(plan.numpy(), single.numpy(), atol=1e-7)


def test_warm_start_needs_fewer_iterations(rng: np.random.Generator) -> None:
    cost = torch.as_tensor(rng.random((20, 20)))
    masses = _uniform(20, 20, torch.float64)
    cold = balance(cost, masses, epsilon=0.02)
    warm = balance(cost, masses, epsilon=0.02, potentials=cold.potentials)
    assert warm.iterations < cold.iterations


def test_rounding_makes_marginals_exact(rng: np.random.Generator) -> None:
    plan = torch.as_tensor(rng.random((6, 9)))
    p, q = _uniform(6, 9, torch.float64)
    rounded = round_to_marginals(plan / plan.sum(), p, q)
    assert (rounded >= 0).all()
    np.testing.assert_allclose(rounded.sum(dim=1, keepdim=True).numpy(), p.numpy(), atol=1e-15)
    np.testing.assert_allclose(rounded.sum(dim=0, keepdim=True).numpy(), q.numpy(), atol=1e-15)
