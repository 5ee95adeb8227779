"""Unregularised refinement of a plan by POT: what ranks basins. No search, no torch."""

import importlib
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_bio_superposition.alignment.sinkhorn import round_to_marginals
from napari_bio_superposition.core.types import FloatArray


def polish_plan(
    costs: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    masses: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    plan: FloatArray,
    extra_cost: FloatArray | None = None,
) -> tuple[npt.NDArray[np.float64], float]:
    """Descend from *plan* without entropy (POT's conditional gradient, float64).

    Parameters
    ----------
    costs
        Full symmetric costs, ``(n, n)`` and ``(m, m)``.
    masses
        ``(n,)`` and ``(m,)``, of sum 1.
    plan
        Start, ``(n, m)``; its marginals are made exact first, which POT asserts.
    extra_cost
        A linear cost of pairs, ``(n, m)``, added to the loss.

    Returns
    -------
    plan
        A sparse plan nearby, as a full matrix.
    loss
        Its Gromov-Wasserstein loss.
    """
    first, second = (np.asarray(cost, dtype=np.float64) for cost in costs)
    p, q = (np.asarray(mass, dtype=np.float64) for mass in masses)
    start = round_to_marginals(
        torch.as_tensor(np.asarray(plan, dtype=np.float64)),
        torch.as_tensor(p)[:, None],
        torch.as_tensor(q)[None, :],
    ).numpy()
    gromov = import_pot().gromov
    if extra_cost is not None:
        linear = np.asarray(extra_cost, dtype=np.float64)
        # POT weighs both parts by one half.
        polished, log = gromov.fused_gromov_wasserstein(
            *(linear, first, second, p, q, "square_loss"),
            alpha=0.5,
            G0=start,
            symmetric=True,
            log=True,
            max_iter=200,
        )
        return np.asarray(polished), 2 * float(log["fgw_dist"])
    polished, log = gromov.gromov_wasserstein(
        first, second, p, q, "square_loss", G0=start, symmetric=True, log=True, max_iter=200
    )
    return np.asarray(polished), float(log["gw_dist"])


def import_pot() -> Any:
    """Import POT without its other backends, each of which would take seconds to load."""
    for backend in ("TENSORFLOW", "JAX", "CUPY"):
        os.environ.setdefault(f"POT_BACKEND_DISABLE_{backend}", "1")
    return importlib.import_module("ot")
