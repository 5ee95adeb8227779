"""Entropic Gromov-Wasserstein with the square loss: centred costs, gradient, annealed solver.

The only room-wide user of torch besides `sinkhorn`; numpy goes in and comes out at the callers. No
search for basins here: one start (or a stack of them) in, one solution each out.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.alignment.sinkhorn import Potentials, balance
from napari_bio_superposition.core.progress import Job, Progress

_LEADING = 40
"""Components of a full cost that do most of the work."""
_MOST_CORRECTIONS = 20
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class CentredCost:
    """A symmetric cost split as ``C = core + offset 1' + 1 offset'`` with ``core @ masses = 0``.

    Double centring takes the large constant part out of the products, so that single precision
    (and TF32) is enough; the product of the offsets stays apart, as a rank-one term. ``core`` may
    be replaced by a low-rank factorisation ``left @ right'``.

    Parameters
    ----------
    left, right
        The core is ``left`` alone, ``(n, n)``, where ``right`` is ``None``; else ``(n, r)`` each.
    offset
        ``(n, 1)``.
    masses
        Mass of each cell or landmark, ``(n, 1)``, of sum 1.
    second_moment
        ``masses' C^2 masses`` of the squared entries.
    """

    left: Tensor
    right: Tensor | None
    offset: Tensor
    masses: Tensor
    second_moment: float

    def __len__(self) -> int:
        return len(self.offset)

    def apply(self, plan: Tensor) -> Tensor:
        """Return ``core @ plan`` for a plan ``(..., n, m)``."""
        return self.left @ plan if self.right is None else self.left @ (self.right.mT @ plan)


def centre_cost(
    cost: npt.ArrayLike,
    masses: npt.ArrayLike | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> CentredCost:
    """Return a full cost matrix, double-centred; the sums are taken in float64.

    Parameters
    ----------
    cost
        Symmetric, ``(n, n)``.
    masses
        ``(n,)`` of sum 1; uniform where not given.
    dtype, device
        Where the products are computed.
    """
    full = torch.as_tensor(np.asarray(cost), dtype=torch.float64)
    n = len(full)
    weight = np.full(n, 1 / n) if masses is None else np.asarray(masses)
    p = torch.as_tensor(weight, dtype=torch.float64).reshape(n, 1)
    mean = full @ p
    offset = mean - (p * mean).sum() / 2
    core = full - offset - offset.mT
    return CentredCost(
        left=core.to(device, dtype),
        right=None,
        offset=offset.to(device, dtype),
        masses=p.to(device, dtype),
        second_moment=float(p.mT @ full.square() @ p),
    )


def factorize_cost(
    distances: npt.NDArray[np.float32],
    landmarks: npt.NDArray[np.int64],
    *,
    rank: int,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> CentredCost:
    """Return a low-rank cost from the distances between landmarks and all cells (Nystrom).

    The centred matrix is written as ``core[:, L] inv(core[L, L]) core[L, :]`` with its *rank*
    largest eigenvalues (by magnitude) of the landmark block kept, which for a geodesic distance
    may have either sign.

    Parameters
    ----------
    distances
        ``(n_landmarks, n)``; scaled like the full cost.
    landmarks
        Indices of the landmarks, ``(n_landmarks,)``.
    rank
        Eigenvalues kept; 25 lose nothing measurable (the method specification, Numerics).
    """
    columns = torch.as_tensor(distances, dtype=torch.float64).mT
    n = len(columns)
    block = columns[torch.as_tensor(landmarks)]
    # Nystrom on the distances themselves gives the row means, which no landmark block alone knows.
    left, right = _eigen_factors(columns, block, rank)
    mean = left @ (right.mean(dim=0, keepdim=True).mT)
    offset = mean - mean.mean() / 2
    gram = right.mT @ right
    second_moment = float(((left.mT @ left) * gram.mT).sum()) / n**2
    centred_left = left - left.mean(dim=0)
    centred_right = right - right.mean(dim=0)
    return CentredCost(
        left=centred_left.to(device, dtype),
        right=centred_right.to(device, dtype),
        offset=offset.to(device, dtype),
        masses=torch.full((n, 1), 1 / n, dtype=dtype, device=device),
        second_moment=second_moment,
    )


def _eigen_factors(columns: Tensor, block: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh((block + block.mT) / 2)
    keep = values.abs().argsort(descending=True)[: min(rank, len(values))]
    right = columns @ vectors[:, keep]
    return right / values[keep], right


def interaction(first: CentredCost, plan: Tensor, second: CentredCost) -> Tensor:
    """Return ``C1 @ plan @ C2`` up to a constant per row and per column, ``(..., n, m)``.

    Those constants change neither the balanced plan nor, with fixed marginals, the comparison of
    losses.
    """
    if second.right is None:
        product = first.apply(plan) @ second.left
    elif first.right is None:
        product = (first.left @ (plan @ second.left)) @ second.right.mT
    else:
        product = first.left @ ((first.right.mT @ plan @ second.left) @ second.right.mT)
    return product.addcmul_(first.offset, second.offset.mT)


def square_loss(first: CentredCost, plan: Tensor, second: CentredCost) -> Tensor:
    """Return the Gromov-Wasserstein loss of each plan, without the entropy, ``(...)``.

    ``sum (C1[i,k] - C2[j,l])^2 T[i,j] T[k,l]``; exact where the plan has the masses of the costs.
    """
    core = (interaction(first, plan, second) * plan).sum(dim=(-2, -1))
    offsets = (first.offset.mT @ plan @ second.offset).squeeze((-2, -1))
    linear = (first.masses * first.offset).sum() * (second.masses * second.offset).sum()
    return first.second_moment + second.second_moment - 2 * (core + offsets + 2 * linear)


Costs = tuple[CentredCost, CentredCost]


@dataclass(frozen=True, eq=False)
class Solution:
    """What the solver found from one start or from each of a stack of starts.

    Parameters
    ----------
    plan
        ``(..., n, m)``; its columns have their mass, its rows up to ``row_error``.
    potentials
        Dual potentials, the warm start of a next call.
    row_error
        L1 distance of the row sums from the masses, the largest over the stack.
    converged
        Whether both the plan stood still and the marginals were reached.
    iterations
        Outer iterations over all stages.
    """

    plan: Tensor
    potentials: Potentials | None
    row_error: float
    converged: bool
    iterations: int


def epsilon_stages(start: float, end: float, factor: float = 3.0) -> list[float]:
    """Return falling values of epsilon from *start* to *end*, each at most *factor* apart."""
    if start <= end:
        return [end]
    steps = int(np.ceil(np.log(start / end) / np.log(factor)))
    return [float(value) for value in np.geomspace(start, end, steps + 1)]


@dataclass(frozen=True, kw_only=True)
class SolverLimits:
    """When the solver stops."""

    plan_tolerance: float = 1e-4
    """L1 change of the plan (of total mass 1) in one outer iteration."""
    row_tolerance: float = 1e-6
    """L1 error of the row sums."""
    outer: int = 200
    """Outer iterations at the last epsilon."""
    inner: int = 1000
    """Sinkhorn iterations in one outer iteration at the last epsilon."""
    outer_annealing: int = 15
    inner_annealing: int = 50
    """The same before the last epsilon, where only the neighbourhood counts."""

    def sinkhorn_tolerance(self, change: float, *, last: bool) -> float:
        """Return how closely the marginals are met after the plan has moved by *change*."""
        if not last:
            return 1e-3
        return max(self.row_tolerance, min(1e-3, 0.03 * change))


def solve_entropic(
    costs: Costs,
    start: Tensor,
    stages: list[float],
    limits: SolverLimits | None = None,
    *,
    extra_cost: Tensor | None = None,
    potentials: Potentials | None = None,
) -> Job[Solution]:
    """Descend from *start* to a stationary plan of entropic Gromov-Wasserstein.

    Iterates ``T <- balance(gradient(T), epsilon)`` with the gradient
    ``2 [C1^2 p 1' + 1 (C2^2 q)' - 2 C1 T C2]`` (the factor 2 fixes what epsilon means, as in POT),
    at each value of epsilon in turn, warm-started (the method specification, section 16.4). While
    the plan still moves, its marginals are met no more closely than it moves.

    Parameters
    ----------
    costs
        The centred costs of both modalities.
    start
        ``(n, m)``, or ``(s, n, m)`` for a stack of starts that go together.
    stages
        Falling values of epsilon; the last one is the one asked for.
    limits
        Tolerances and largest numbers of iterations.
    extra_cost
        A linear cost ``(n, m)`` added to the gradient: the fused and the intra-class mode.
    potentials
        Of an earlier solution nearby.

    Returns
    -------
    Solution
        The plan at the last epsilon.
    """
    limits = limits or SolverLimits()
    solution = Solution(start, potentials, float("inf"), False, 0)
    for number, epsilon in enumerate(stages):
        last = number == len(stages) - 1
        change = float("inf")
        for _ in range(limits.outer if last else limits.outer_annealing):
            before = solution.plan
            tolerance = limits.sinkhorn_tolerance(change, last=last)
            balanced = balance(
                _gradient(costs, before, extra_cost),
                (costs[0].masses, costs[1].masses.mT),
                epsilon=epsilon,
                potentials=solution.potentials,
                tolerance=tolerance,
                max_iterations=limits.inner if last else limits.inner_annealing,
            )
            change = _measure_change(before, balanced.plan)
            still = change < (limits.plan_tolerance if last else 10 * limits.plan_tolerance)
            solution = Solution(
                plan=balanced.plan,
                potentials=balanced.potentials,
                row_error=balanced.row_error,
                converged=still and balanced.row_error < 10 * limits.row_tolerance,
                iterations=solution.iterations + 1,
            )
            yield Progress(f"Transporting at epsilon {epsilon:.2g}", solution.iterations)
            # Loose marginals of a plan at rest are met in one more iteration.
            if still and tolerance <= limits.sinkhorn_tolerance(0.0, last=last):
                break
    return solution


def _gradient(costs: Costs, plan: Tensor, extra_cost: Tensor | None) -> Tensor:
    gradient = interaction(costs[0], plan, costs[1]).mul_(-4)
    return gradient if extra_cost is None else gradient.add_(extra_cost)


def _measure_change(before: Tensor, after: Tensor) -> float:
    """Return the L1 distance of two plans, the largest over a stack; by blocks, to save memory."""
    pairs = zip(*(torch.split(plan, _BLOCK, -2) for plan in (before, after)), strict=True)
    parts = [(new - old).abs_().sum(dim=(-2, -1)) for old, new in pairs]
    return float(torch.stack(parts).sum(dim=0).max())


def solve_by_corrections(
    costs: Costs,
    start: Tensor,
    stages: list[float],
    limits: SolverLimits | None = None,
    *,
    extra_cost: Tensor | None = None,
) -> Job[Solution]:
    """Do the same as `solve_entropic` with few of its cubic products.

    A few leading components of the costs find the solution nearly; what they miss in the gradient
    there is added as a linear cost, and the solution followed, until it stands still. At rest the
    gradient is that of the full costs.
    """
    limits = limits or SolverLimits()
    leading = truncate_cost(costs[0], _LEADING), truncate_cost(costs[1], _LEADING)
    if leading[0] is costs[0] and leading[1] is costs[1]:
        return (yield from solve_entropic(costs, start, stages, limits, extra_cost=extra_cost))
    nearby = replace(limits, row_tolerance=1e-5, plan_tolerance=10 * limits.plan_tolerance)
    solution = yield from solve_entropic(leading, start, stages, nearby, extra_cost=extra_cost)
    iterations, still = solution.iterations, False
    for _ in range(_MOST_CORRECTIONS):
        before = solution.plan
        missing = _gradient(costs, before, extra_cost).sub_(_gradient(leading, before, None))
        solution = yield from solve_entropic(
            leading,
            before,
            stages[-1:],
            limits,
            extra_cost=missing,
            potentials=solution.potentials,
        )
        iterations += solution.iterations
        still = _measure_change(before, solution.plan) < limits.plan_tolerance
        if still:
            break
    return replace(solution, iterations=iterations, converged=still and solution.converged)


def truncate_cost(cost: CentredCost, rank: int) -> CentredCost:
    """Return a full cost with the *rank* leading components of its core, by subspace iteration.

    It starts from evenly spaced columns of the core, so that nothing is random.
    """
    core = cost.left
    if cost.right is not None or 2 * rank >= len(core):
        return cost
    spread = torch.linspace(0, len(core) - 1, rank, device=core.device).long()
    basis = core[:, spread]
    for _ in range(2):
        basis = core @ torch.linalg.qr(basis)[0]
    basis = torch.linalg.qr(basis)[0]
    values, vectors = torch.linalg.eigh(basis.mT @ core @ basis)
    right = basis @ vectors
    return replace(cost, left=right * values, right=right)
