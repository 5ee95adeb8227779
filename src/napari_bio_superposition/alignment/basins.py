"""Search for alternative alignments: many annealed starts, clustered into basins, ranked by loss.

Losses are comparable within one pair of costs and one epsilon only; nothing here compares others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_bio_superposition.alignment.gromov import (
    CentredCost,
    Solution,
    SolverLimits,
    solve_entropic,
    square_loss,
)
from napari_bio_superposition.alignment.starts import draw_starts
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray

SAME_BASIN = 0.25
"""Total variation below which two plans are the same alignment."""
_SEARCHING = Progress("Searching alignments")
_COLD = (1e-1, 5e-2)
"""Epsilons that the product plan goes through before it joins the other starts."""
_SORTING = 2e-2
"""Epsilon at which starts fall into basins."""
_QUICK = SolverLimits(
    plan_tolerance=1e-2,
    row_tolerance=1e-3,
    outer=15,
    inner=50,
    outer_annealing=8,
    inner_annealing=30,
)
_CAREFUL = SolverLimits(plan_tolerance=3e-3, row_tolerance=1e-4, outer=40, inner=50)
"""Enough to tell basins apart and to rank them; the chosen one is solved to the end later."""


@dataclass(frozen=True, eq=False)
class Basin:
    """One alternative alignment.

    Parameters
    ----------
    plan
        ``(n, m)`` float32 of total mass 1.
    loss
        Gromov-Wasserstein loss of the plan, without the entropy.
    starts
        Number of starts that ended here.
    """

    plan: FloatArray
    loss: float
    starts: int


Basins = tuple[Basin, ...]
"""Alternative alignments at one pair of costs and one epsilon, lowest loss first."""


def search_basins(  # noqa: PLR0913 (a problem, how hard to search, how to report)
    costs: tuple[CentredCost, CentredCost],
    epsilons: Sequence[float],
    n_starts: int,
    *,
    keep: int = 6,
    rng: np.random.Generator,
    report: Progress = _SEARCHING,
    extra_cost: Tensor | None = None,
) -> Job[Mapping[float, Basins]]:
    """Find the alternative alignments of two geometries at each epsilon.

    Parameters
    ----------
    costs
        Full costs of the landmarks.
    epsilons
        Values to report at; they are gone through from the largest to the smallest.
    n_starts
        Number of starts, the annealed product plan included.
    keep
        Basins of lowest loss that are followed below the epsilon at which starts fall into basins.
    rng
        Draws the starts.
    report
        What is yielded at every iteration, so that the bar of a longer job stands still meanwhile.
    extra_cost
        A linear cost of pairs, ``(n, m)``; part of the losses that are reported.

    Returns
    -------
    dict
        Epsilon to basins, lowest loss first.
    """
    product = costs[0].masses @ costs[1].masses.mT
    cold = yield from _reported(
        solve_entropic(costs, product, list(_COLD), _QUICK, extra_cost=extra_cost), report
    )
    starts = torch.cat([cold.plan[None], draw_starts(costs, n_starts - 1, rng=rng)])
    sorting = [max(_SORTING, *epsilons)]
    job = solve_entropic(costs, starts, sorting, _QUICK, extra_cost=extra_cost)
    plans = (yield from _reported(job, report)).plan
    weights = [1] * len(plans)
    found = {}
    for epsilon in sorted(epsilons, reverse=True):
        plans, weights = _merge(costs, plans, weights, extra_cost)
        plans, weights = plans[:keep], weights[:keep]
        job = solve_entropic(costs, plans, [epsilon], _CAREFUL, extra_cost=extra_cost)
        plans = (yield from _reported(job, report)).plan
        plans, weights = _merge(costs, plans, weights, extra_cost)
        losses = _loss(costs, plans, extra_cost).tolist()
        found[epsilon] = tuple(
            Basin(plan.cpu().numpy(), loss, weight)
            for plan, loss, weight in zip(plans, losses, weights, strict=True)
        )
    return found


def _reported(job: Job[Solution], report: Progress) -> Job[Solution]:
    """Yield *report* instead of the job's own progress."""
    try:
        while True:
            next(job)
            yield report
    except StopIteration as stop:
        solution: Solution = stop.value
        return solution
    finally:
        job.close()


def _loss(
    costs: tuple[CentredCost, CentredCost], plans: Tensor, extra_cost: Tensor | None
) -> Tensor:
    loss = square_loss(costs[0], plans, costs[1])
    return loss if extra_cost is None else loss + (plans * extra_cost).sum(dim=(-2, -1))


def _merge(
    costs: tuple[CentredCost, CentredCost],
    plans: Tensor,
    weights: list[int],
    extra_cost: Tensor | None,
) -> tuple[Tensor, list[int]]:
    """Keep the plan of lowest loss of each basin, in order of loss; add up the starts."""
    order = _loss(costs, plans, extra_cost).argsort().tolist()
    kept: list[int] = []
    counts: list[int] = []
    for index in order:
        near = [
            number
            for number, other in enumerate(kept)
            if float((plans[index] - plans[other]).abs().sum()) / 2 < SAME_BASIN
        ]
        if near:
            counts[near[0]] += weights[index]
        else:
            kept.append(index)
            counts.append(weights[index])
    return plans[kept], counts
