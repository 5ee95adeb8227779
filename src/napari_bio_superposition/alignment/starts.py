"""Starting plans of the search: smooth maps between the leading coordinates of two geometries."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.alignment.gromov import CentredCost
from napari_bio_superposition.alignment.sinkhorn import balance

_DIMENSIONS = 3
_SOFTNESS = 0.3
"""Epsilon of the starting plans, for coordinates of unit variance: wide, so that the solver decides
about everything but the orientation."""


def draw_starts(
    costs: tuple[CentredCost, CentredCost], n_starts: int, *, rng: np.random.Generator
) -> Tensor:
    """Return starting plans, ``(n_starts, n, m)``.

    Alternative alignments of two geometries differ by reflections and rotations of their leading
    coordinates (classical scaling). The first starts are all sign changes of these axes, mirror
    images included; the others are random orthogonal maps.
    """
    first, second = (leading_coordinates(cost, _DIMENSIONS) for cost in costs)
    dimensions = min(first.shape[1], second.shape[1])
    first, second = first[:, :dimensions], second[:, :dimensions]
    maps = torch.as_tensor(
        np.stack([*_sign_changes(dimensions), *_rotations(dimensions, n_starts, rng)])[:n_starts],
        dtype=first.dtype,
        device=first.device,
    )
    similarity = first @ maps @ second.mT
    masses = (costs[0].masses, costs[1].masses.mT)
    return balance(-similarity, masses, epsilon=_SOFTNESS, max_iterations=20).plan


def leading_coordinates(cost: CentredCost, dimensions: int) -> Tensor:
    """Return classical-scaling coordinates with unit variance, ``(n, dimensions)``.

    Axes without positive variance are left out, so that there may be fewer.
    """
    if cost.right is not None:
        raise ValueError("leading_coordinates needs a full cost")
    # On the CPU, because not every device has float64; there are few landmarks.
    root = cost.masses.cpu().double().sqrt()
    weighted = -(root * cost.left.cpu().double() * root.mT)
    values, vectors = torch.linalg.eigh(weighted)
    order = values.argsort(descending=True)[:dimensions]
    order = order[values[order] > 1e-9 * values.abs().max()]
    coordinates: Tensor = (vectors[:, order] / root).to(cost.left)
    return coordinates


def _sign_changes(dimensions: int) -> list[npt.NDArray[np.float64]]:
    signs = np.array(np.meshgrid(*[[1.0, -1.0]] * dimensions)).reshape(dimensions, -1).T
    return [np.diag(row) for row in signs]


def _rotations(
    dimensions: int, number: int, rng: np.random.Generator
) -> list[npt.NDArray[np.float64]]:
    """Draw uniform orthogonal matrices."""
    maps = []
    for _ in range(number):
        orthogonal, triangle = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))
        maps.append(orthogonal * np.sign(np.diag(triangle)))
    return maps
