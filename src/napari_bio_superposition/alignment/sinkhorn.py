"""Stabilised Sinkhorn balancing in torch: potentials absorbed, warm-started, one plan or a stack.

Own code because POT's kernel solver returns a zero plan in single precision at small epsilon, and
its log-domain solver costs an exponential per entry and iteration (the method specification,
Numerics). No Gromov-Wasserstein here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_ABSORB_AT = 20.0
"""Largest logarithm of a scaling before it moves into the potentials: single precision holds e^88,
and a product of two scalings and a kernel entry has to stay inside."""
_CHECK_EVERY = 10


@dataclass(frozen=True, eq=False)
class Balanced:
    """A plan with (nearly) the asked marginals, and how it was reached.

    Parameters
    ----------
    plan
        ``(..., n, m)``, entries at least 0.
    potential
        Dual potential of the columns in units of the cost, ``(..., 1, m)``: the warm start of the
        next call, also at another epsilon.
    row_error
        L1 distance of the row sums from ``p``, the largest over the stack; the columns are exact.
    iterations
        Number of scaling iterations.
    """

    plan: Tensor
    potential: Tensor
    row_error: float
    iterations: int


def balance(
    cost: Tensor,
    masses: tuple[Tensor, Tensor],
    *,
    epsilon: float,
    potential: Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> Balanced:
    """Return the entropic transport plan of *cost* between two sets of masses.

    Minimises ``<cost, T> - epsilon H(T)`` over plans with the given marginals. Kernel products do
    the work; whenever a scaling grows too large it is absorbed into the potentials, whose update in
    the log domain leaves no row and no column empty, at any epsilon.

    Parameters
    ----------
    cost
        ``(..., n, m)``, float32 or float64; a constant per row or per column changes nothing.
    masses
        ``p`` of shape ``(..., n, 1)`` and ``q`` of shape ``(..., 1, m)``, positive, of equal sum.
    epsilon
        Weight of the entropy, in units of the cost.
    potential
        Column potential of an earlier call, ``(..., 1, m)``.
    tolerance
        L1 error of the row sums at which to stop.
    max_iterations
        Number of iterations at which to stop in any case.

    Returns
    -------
    Balanced
        The plan, the potential and the error that is left.
    """
    p, q = masses
    energy = cost / -epsilon
    g = torch.zeros_like(q) if potential is None else potential / epsilon
    kernel, g = _absorb(energy, p, q, g)
    v = torch.ones_like(q)
    done, error = 0, float("inf")
    while True:
        u = p / (kernel @ v.mT)
        v = q / (u.mT @ kernel)
        done += 1
        if done % _CHECK_EVERY and done < max_iterations:
            continue
        error = float((u * (kernel @ v.mT) - p).abs().sum(dim=(-2, -1)).max())
        if error < tolerance or done >= max_iterations:
            break
        if max(_span(u), _span(v)) > _ABSORB_AT:
            kernel, g = _absorb(energy, p, q, g + v.log())
            v = torch.ones_like(q)
    plan = kernel.mul_(u).mul_(v)
    return Balanced(plan, (g + v.log()) * epsilon, error, done)


def _absorb(energy: Tensor, p: Tensor, q: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Update both potentials in the log domain; return the kernel that has them inside.

    After the row update every row sums to its mass, so the column update lowers no entry by more
    than the number of columns: no row of the kernel can be empty.
    """
    f = p.log() - torch.logsumexp(energy + g, dim=-1, keepdim=True)
    shifted = energy + f
    g = q.log() - torch.logsumexp(shifted, dim=-2, keepdim=True)
    return shifted.add_(g).exp_(), g


def _span(scaling: Tensor) -> float:
    """Return the largest absolute logarithm of a scaling."""
    low, high = torch.aminmax(scaling.log())
    return float(torch.maximum(-low, high))


def round_to_marginals(plan: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Return the plan nearby whose marginals are exact (Altschuler et al. 2017, algorithm 2).

    Parameters
    ----------
    plan
        ``(n, m)``, entries at least 0; float64 where the marginals have to hold to 1e-12.
    p, q
        Masses, ``(n, 1)`` and ``(1, m)``.
    """
    rows = plan.sum(dim=1, keepdim=True)
    plan = plan * torch.clamp(p / rows.clamp_min(torch.finfo(plan.dtype).tiny), max=1)
    columns = plan.sum(dim=0, keepdim=True)
    plan = plan * torch.clamp(q / columns.clamp_min(torch.finfo(plan.dtype).tiny), max=1)
    missing_rows = p - plan.sum(dim=1, keepdim=True)
    missing_columns = q - plan.sum(dim=0, keepdim=True)
    lost = missing_rows.abs().sum()
    if lost > 0:
        plan += missing_rows * (missing_columns / lost)
    return plan
