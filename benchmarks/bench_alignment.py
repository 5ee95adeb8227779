"""Coupling: our solver against POT's default at equal epsilon, and growth with the number of cells.

Accuracy is FOSCTTM on a planted asymmetric sheet whose true matches are known; it is shown so that
speed is not bought with it.
"""

import resource
import time
import warnings
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist

from napari_bio_superposition.alignment import CouplingConfig, couple
from napari_bio_superposition.alignment.geodesics import (
    build_graph,
    find_neighbours,
    geodesic_distances,
    prepare_points,
)
from napari_bio_superposition.alignment.gromov import (
    SolverLimits,
    centre_cost,
    epsilon_stages,
    solve_by_corrections,
    square_loss,
)
from napari_bio_superposition.alignment.plans import Solver
from napari_bio_superposition.alignment.polish import import_pot
from napari_bio_superposition.alignment.scores import fraction_closer
from napari_bio_superposition.core.progress import run

_N_POT = 1000
_EPSILON = 5e-3
_ROUNDS = 5
_SIZES = (2000, 5000, 15_000)
_PLANS = {"landmarks": "landmarks' plan", "low_rank": "full plan, low-rank costs"}


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per measurement."""
    plans: list[Solver] = ["landmarks", "low_rank"]
    return [
        compare_with_pot(_N_POT),
        *(measure_plan(n, solver) for solver in plans for n in _SIZES),
    ]


def make_views(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two embeddings of one asymmetric sheet; row i is the same cell."""
    rng = np.random.default_rng(seed)
    sheet = _draw_sheet(n, rng)
    return embed_points(sheet, 10, rng), embed_points(sheet, 15, rng)


def make_sheet(n: int, seed: int = 0) -> np.ndarray:
    """Return the places on the sheet of the cells that `make_views` embeds, ``(n, 2)``."""
    return _draw_sheet(n, np.random.default_rng(seed))


def _draw_sheet(n: int, rng: np.random.Generator) -> np.ndarray:
    sheet = np.c_[3 * rng.beta(1.2, 2.5, n), rng.beta(1, 2.5, n)]
    sheet[:, 1] *= 0.3 + sheet[:, 0] / 3
    return sheet


def embed_points(points: np.ndarray, n_features: int, rng: np.random.Generator) -> np.ndarray:
    """Return *points* seen by straight and by bent features, with noise."""
    shape = points.shape[1], n_features
    bent = np.sin(points @ rng.normal(size=shape) * 0.7 + 6 * rng.random(n_features))
    flat = points @ rng.normal(size=shape)
    return np.c_[flat, bent] + 0.05 * rng.normal(size=(len(points), 2 * n_features))


def compare_with_pot(n: int) -> dict[str, Any]:
    """Solve one problem from the product plan by POT's default and by the annealed solver.

    In turns, each once to warm up; the fastest turn of each counts.
    """
    costs = [_geodesic_cost(view) for view in make_views(n)]
    solvers = {"POT": _solve_by_pot, "ours": _solve_annealed}
    plans = {name: solve(costs) for name, solve in solvers.items()}
    wall: dict[str, list[float]] = {name: [] for name in solvers}
    cpu: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(_ROUNDS):
        for name, solve in solvers.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            solve(costs)
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start)
    double = [centre_cost(cost, dtype=torch.float64) for cost in costs]
    losses = {
        name: float(square_loss(double[0], torch.as_tensor(plan, dtype=torch.float64), double[1]))
        for name, plan in plans.items()
    }
    row_sums = torch.as_tensor(plans["ours"], dtype=torch.float64).sum(dim=1)
    return {
        "what": f"entropic plan, n = {n}, epsilon {_EPSILON:g}",
        "seconds": min(wall["ours"]),
        "times as fast as POT's default": min(wall["POT"]) / min(wall["ours"]),
        "the same in CPU time": min(cpu["POT"]) / min(cpu["ours"]),
        "loss": losses["ours"],
        "loss of POT": losses["POT"],
        "row error": float((row_sums - 1 / n).abs().sum()),
    }


def _solve_by_pot(costs: list[np.ndarray]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT warns where its Sinkhorn does not converge
        return import_pot().gromov.entropic_gromov_wasserstein(*costs, epsilon=_EPSILON)


def _solve_annealed(costs: list[np.ndarray]) -> Any:
    first, second = (centre_cost(cost) for cost in costs)
    n = len(first)
    product = torch.full((n, n), 1 / n**2)
    stages = epsilon_stages(5e-2, _EPSILON)
    limits = SolverLimits(plan_tolerance=1e-3)
    return run(solve_by_corrections((first, second), product, stages, limits)).plan


def _geodesic_cost(view: np.ndarray) -> np.ndarray:
    neighbours = find_neighbours(prepare_points(view, "correlation"), 30)
    distances = geodesic_distances(build_graph(neighbours, k=30, weights="connectivity"))
    return np.asarray(distances / distances.max(), dtype=np.float64)


def measure_plan(n: int, solver: Solver) -> dict[str, Any]:
    """Couple two views by one solver, all choices of settings included."""
    views = make_views(n)
    config = CouplingConfig(solver=solver, n_nulls=0)
    start, cpu_start = time.perf_counter(), time.process_time()
    coupling = run(couple(*views, config, rng=np.random.default_rng(0)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "what": f"{_PLANS[solver]}, n = {n}",
        "seconds": seconds,
        "CPU seconds": cpu,
        "FOSCTTM": _foscttm(coupling.pull(views[1]), views[1]),
        "marginal error": max(coupling.row_error, coupling.column_error),
        "peak MB of process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **{f"share {step}": value / seconds for step, value in coupling.seconds.items()},
    }


def _foscttm(projected: np.ndarray, cells: np.ndarray, n_rows: int = 1000) -> float:
    """Estimate from the first rows: the full matrix would need the memory that is measured."""
    rows = np.arange(min(n_rows, len(cells)))
    return float(np.mean(fraction_closer(cdist(projected[rows], cells), rows)))
