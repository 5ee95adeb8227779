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
_LARGEST_OMEGA = 1.9
_NEAR = 0.1
"""L1 error of the row sums below which iterations may be over-relaxed."""
_BLOCK = 2048
Potentials = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Balanced:
    """A plan with (nearly) the asked marginals, and how it was reached.

    Parameters
    ----------
    plan
        ``(..., n, m)``, entries at least 0.
    potentials
        Dual potentials of rows ``(..., n, 1)`` and columns ``(..., 1, m)`` in units of the cost:
        the warm start of the next call, also at another epsilon.
    row_error
        L1 distance of the row sums from ``p``, the largest over the stack; the columns are exact.
    iterations
        Number of scaling iterations.
    """

    plan: Tensor
    potentials: Potentials
    row_error: float
    iterations: int


def balance(
    cost: Tensor,
    masses: tuple[Tensor, Tensor],
    *,
    epsilon: float,
    potentials: Potentials | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> Balanced:
    """Return the entropic transport plan of *cost* between two sets of masses.

    Minimises ``<cost, T> - epsilon H(T)`` over plans with the given marginals. Kernel products do
    the work, over-relaxed once their rate is known (Lehmann et al. 2021); whenever a scaling grows
    too large it is absorbed into the potentials, whose update in the log domain leaves no row and
    no column empty, at any epsilon.

    Parameters
    ----------
    cost
        ``(..., n, m)``, float32 or float64; a constant per row or per column changes nothing.
    masses
        ``p`` of shape ``(..., n, 1)`` and ``q`` of shape ``(..., 1, m)``, positive, of equal sum.
    epsilon
        Weight of the entropy, in units of the cost.
    potentials
        Potentials of an earlier call.
    tolerance
        L1 error of the row sums at which to stop.
    max_iterations
        Number of iterations at which to stop in any case.

    Returns
    -------
    Balanced
        The plan, the potentials and the error that is left.
    """
    p, q = masses
    energy = cost / -epsilon
    kernel, f, g = _warm_kernel(energy, p, q, potentials, epsilon)
    u, v = torch.ones_like(p), torch.ones_like(q)
    pace = _Pace()
    done, error = 0, float("inf")
    while True:
        u = _relax(u, p / (kernel @ v.mT), pace.omega)
        v = _relax(v, q / (u.mT @ kernel), pace.omega)
        done += 1
        if done % _CHECK_EVERY and done < max_iterations:
            continue
        v = q / (u.mT @ kernel)  # exact columns
        error = float((u * (kernel @ v.mT) - p).abs().sum(dim=(-2, -1)).max())
        fits = max(_span(u), _span(v)) < _ABSORB_AT
        if fits and (error < tolerance or done >= max_iterations):
            break
        pace.follow(error)
        if not fits:
            kernel, f, g = _absorb(energy, p, q, _finite(g + v.log(), g))
            u, v = torch.ones_like(p), torch.ones_like(q)
            pace.forget()
            if done >= max_iterations:  # as it is, with exact columns
                error = float((kernel.sum(dim=-1, keepdim=True) - p).abs().sum(dim=(-2, -1)).max())
                break
    plan = kernel.mul_(u).mul_(v)
    return Balanced(plan, ((f + u.log()) * epsilon, (g + v.log()) * epsilon), error, done)


class _Pace:
    """Over-relaxation that follows the observed rate, near the solution only.

    Far from it over-relaxation may overshoot; after one setback there is none.
    """

    def __init__(self) -> None:
        self.omega = 1.0
        self._last = float("inf")
        self._trusted = True

    def forget(self) -> None:
        """Begin anew after an absorption."""
        self.omega, self._last = 1.0, float("inf")

    def follow(self, error: float) -> None:
        """Take note of the error after another `_CHECK_EVERY` iterations."""
        if not error < self._last and self.omega > 1:
            self.omega, self._trusted = 1.0, False
        elif self._trusted and self.omega == 1 and error < min(_NEAR, self._last) < float("inf"):
            rate = min((error / self._last) ** (1 / _CHECK_EVERY), 0.9999)
            self.omega = min(2 / (1 + (1 - rate) ** 0.5), _LARGEST_OMEGA)
        self._last = error


def _relax(old: Tensor, new: Tensor, omega: float) -> Tensor:
    return new if omega == 1 else new * (new / old).pow_(omega - 1)


def _finite(potential: Tensor, fallback: Tensor) -> Tensor:
    """Return the potential, or *fallback* where a scaling has overflown."""
    return torch.where(torch.isfinite(potential), potential, fallback)


def _warm_kernel(
    energy: Tensor, p: Tensor, q: Tensor, potentials: Potentials | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the kernel with earlier potentials inside, where they still fit, else absorbed ones.

    One exponential per entry instead of three passes in the log domain.
    """
    if potentials is None:
        return _absorb(energy, p, q, torch.zeros_like(q))
    f, g = (potential / epsilon for potential in potentials)
    kernel = (energy + f).add_(g).exp_()
    rows, columns = kernel.sum(dim=-1, keepdim=True), kernel.sum(dim=-2, keepdim=True)
    if max(_span(rows / p), _span(columns / q)) < _ABSORB_AT:
        return kernel, f, g
    del kernel
    return _absorb(energy, p, q, g)


def _absorb(energy: Tensor, p: Tensor, q: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Update both potentials in the log domain; return the kernel that has them inside, and them.

    After the row update every row sums to its mass, so the column update lowers no entry by more
    than the number of columns: no row of the kernel can be empty. Rows go in blocks, because each
    logarithm of sums needs as much memory again.
    """
    blocks = torch.split(energy, _BLOCK, dim=-2)
    sums = [torch.logsumexp(block + g, dim=-1, keepdim=True) for block in blocks]
    f = p.log() - torch.cat(sums, dim=-2)
    shifted = energy + f
    total = torch.full_like(g + f[..., :1, :], -torch.inf)
    for block in torch.split(shifted, _BLOCK, dim=-2):
        total = torch.logaddexp(total, torch.logsumexp(block, dim=-2, keepdim=True))
    g = q.log() - total
    return shifted.add_(g).exp_(), f, g


def _span(scaling: Tensor) -> float:
    """Return the largest absolute logarithm of a scaling; not below a limit where it is NaN."""
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
