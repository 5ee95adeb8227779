"""From the plan of the landmarks to the plan of all cells: exact, low-rank, or block by block."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.alignment.blocks import fill_blocks
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.gromov import (
    CentredCost,
    Solution,
    SolverLimits,
    centre_cost,
    epsilon_stages,
    factorize_cost,
    interaction,
    solve_by_corrections,
    solve_entropic,
    square_loss,
)
from napari_bio_superposition.alignment.known import Known
from napari_bio_superposition.alignment.sinkhorn import balance, round_to_marginals
from napari_bio_superposition.alignment.survey import Survey, average_distances, measure_paths
from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Job, Progress

Solver = Literal["auto", "exact", "low_rank", "landmarks"]
_EXACT_UP_TO = 2000
_LOW_RANK_UP_TO = 6000
_WARM = 1e-2
"""Epsilon at which the plan of all cells starts: low enough to stay in the landmarks' basin."""
_EXACT_ENOUGH = 1e-8
"""L1 error of the marginals that is left as it is."""
_LIMITS = SolverLimits(outer=100, inner=500)


@dataclass(frozen=True, eq=False)
class FullPlan:
    """The plan of all cells.

    Parameters
    ----------
    plan
        ``(n, m)`` numpy array, or CSR where sparse; exact uniform marginals up to rounding.
    loss
        Gromov-Wasserstein loss; that of the low-rank costs where they were used.
    solver
        What found it.
    solver_error
        L1 error of the rows before the marginals were made exact.
    converged
        Whether the solver came to rest.
    """

    plan: Any
    loss: float
    solver: str
    solver_error: float
    converged: bool


def choose_solver(config: CouplingConfig, n_cells: int) -> Solver:
    """Return the solver for the larger modality's number of cells."""
    if config.solver != "auto":
        return config.solver
    if n_cells <= _EXACT_UP_TO:
        return "exact"
    return "low_rank" if n_cells <= _LOW_RANK_UP_TO else "landmarks"


def plan_all_cells(
    surveys: tuple[Survey, Survey],
    ks: tuple[int, ...],
    epsilon: float,
    landmark_plan: npt.NDArray[Any],
    config: CouplingConfig,
    known: Known | None = None,
) -> Job[FullPlan]:
    """Extend the plan of the landmarks to all cells.

    Parameters
    ----------
    surveys
        Both modalities.
    ks
        Numbers of neighbours whose distances are averaged.
    epsilon
        Weight of the entropy; of no effect for the solver ``landmarks``.
    landmark_plan
        The chosen alignment, ``(n_landmarks, m_landmarks)``; for the solver ``landmarks`` the one
        refined without entropy, which is sparse.
    config
        Solver, rank and device.
    known
        What is known of pairs of cells.

    Raises
    ------
    TableError
        Where something is known of pairs, which the solver ``landmarks`` cannot take up.
    """
    solver = choose_solver(config, max(map(len, surveys)))
    if solver == "landmarks" and known is not None:
        raise TableError(
            "The solver landmarks cannot use classes or shared features of single cells. Choose "
            "another one (--solver low_rank), or fewer cells."
        )
    if solver == "landmarks":
        yield Progress("Filling the blocks of the plan")
        return _plan_blocks(surveys, ks, landmark_plan)
    costs = []
    for number, survey in enumerate(surveys):
        yield Progress("Measuring all paths", number, 2, "modalities")
        costs.append(_full_cost(survey, ks, config, solver))
    pair = (costs[0], costs[1])
    start = _expand(surveys, landmark_plan).to(pair[0].left)
    stages = epsilon_stages(max(_WARM, epsilon), epsilon)
    solve = solve_by_corrections if solver == "exact" else solve_entropic
    extra = None
    if known is not None:
        extra = known.tensor(np.arange(len(surveys[0])), np.arange(len(surveys[1])), start)
    solution = yield from solve(pair, start, stages, _LIMITS, extra_cost=extra)
    if solver == "exact":
        solution = _balance_in_double(pair, solution, epsilon, extra)
    plan = _finish(solution)
    loss = float(square_loss(pair[0], plan.to(pair[0].left), pair[1]))
    return FullPlan(plan.numpy(), loss, solver, solution.row_error, solution.converged)


def _balance_in_double(
    costs: tuple[CentredCost, CentredCost],
    solution: Solution,
    epsilon: float,
    extra_cost: Tensor | None,
) -> Solution:
    """Balance once more in float64, so that also weak couplings keep their order.

    In single precision what is coupled by less than 1e-38 is zero, and equal.
    """
    gradient = interaction(costs[0], solution.plan, costs[1]).cpu().double().mul_(-4)
    if extra_cost is not None:
        gradient += extra_cost.cpu()
    masses = costs[0].masses.cpu().double(), costs[1].masses.cpu().double().mT
    masses = masses[0] / masses[0].sum(), masses[1] / masses[1].sum()
    start = None
    if solution.potentials is not None:
        start = (solution.potentials[0].cpu().double(), solution.potentials[1].cpu().double())
    balanced = balance(gradient, masses, epsilon=epsilon, potentials=start, tolerance=1e-9)
    return replace(solution, plan=balanced.plan, row_error=balanced.row_error)


def _finish(solution: Solution) -> Tensor:
    """Make the marginals exact, unless they are: rounding adds a little to every entry.

    That would put the many weak couplings in another order.
    """
    plan = solution.plan.cpu()
    if solution.row_error < _EXACT_ENOUGH:
        return plan
    n, m = plan.shape
    p = torch.full((n, 1), 1 / n, dtype=plan.dtype)
    q = torch.full((1, m), 1 / m, dtype=plan.dtype)
    return round_to_marginals(plan, p, q)


def _full_cost(
    survey: Survey, ks: tuple[int, ...], config: CouplingConfig, solver: str
) -> CentredCost:
    if solver == "low_rank":
        return factorize_cost(
            survey.from_landmarks(ks), survey.landmarks, rank=config.rank, device=config.device
        )
    if len(survey.landmarks) == len(survey):
        return centre_cost(survey.between_landmarks(ks), device=config.device)
    everyone = np.arange(len(survey))
    paths = [measure_paths(survey.neighbours, everyone, k, config, survey.resamples)[0] for k in ks]
    cost = average_distances(paths, config)
    return centre_cost((cost + cost.T) / 2, device=config.device)


def _expand(surveys: tuple[Survey, Survey], landmark_plan: npt.NDArray[Any]) -> Tensor:
    """Share the mass of each pair of landmarks evenly among the cells they stand for."""
    first, second = surveys
    density = landmark_plan / np.outer(first.masses, second.masses)
    full = density[first.nearest][:, second.nearest] / (len(first) * len(second))
    return torch.as_tensor(full, dtype=torch.float32)


def _plan_blocks(
    surveys: tuple[Survey, Survey], ks: tuple[int, ...], landmark_plan: npt.NDArray[Any]
) -> FullPlan:
    first, second = surveys
    masses = torch.as_tensor(first.masses)[:, None], torch.as_tensor(second.masses)[None, :]
    exact = round_to_marginals(torch.as_tensor(landmark_plan, dtype=torch.float64), *masses)
    plan = fill_blocks(
        exact.numpy(),
        (first.nearest, second.nearest),
        (first.from_landmarks(ks), second.from_landmarks(ks)),
    )
    costs = [centre_cost(s.between_landmarks(ks), s.masses, dtype=torch.float64) for s in surveys]
    loss = float(square_loss(costs[0], exact, costs[1]))
    return FullPlan(plan, loss, "landmarks", 0.0, True)
