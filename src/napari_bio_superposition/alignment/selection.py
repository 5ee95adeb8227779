"""Choice of epsilon and of the numbers of neighbours: by agreement, never by loss, no labels.

Losses of different graphs or epsilons are not comparable (their correlation with the truth has the
wrong sign, the method specification, lesson 3). So each setting contributes its best coupling, and
the one that agrees best with the others decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.agreement import agreement_matrix
from napari_bio_superposition.alignment.basins import Basins

AGREEING = 0.75
"""Least agreement with the central coupling of those that are averaged."""
_TOLERATED = 0.05
"""Agreement given up for a smaller epsilon: blur makes plans agree, and hides detail."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What the couplings of all settings agree on.

    Parameters
    ----------
    epsilon
        The smallest one at which the couplings agree nearly as well as at the best one.
    k
        Numbers of neighbours whose couplings agree; the central one first.
    agreement
        Every k to the agreement of its best coupling with the central one, at this epsilon.
    mean_agreement
        Epsilon to the median agreement of its central coupling with the others.
    """

    epsilon: float
    k: tuple[int, ...]
    agreement: Mapping[int, float]
    mean_agreement: Mapping[float, float]


def choose_settings(found: Mapping[int, Mapping[float, Basins]]) -> Choice:
    """Choose epsilon and neighbours from the basins of every setting.

    Parameters
    ----------
    found
        k to epsilon to basins, lowest loss first.
    """
    ks = list(found)
    epsilons = list(found[ks[0]])
    matrices = {
        epsilon: agreement_matrix([basins[epsilon][0].plan for basins in found.values()])
        for epsilon in epsilons
    }
    central = {epsilon: _most_central(matrix) for epsilon, matrix in matrices.items()}
    best = max(median for _, median in central.values())
    epsilon = min(value for value in epsilons if central[value][1] >= best - _TOLERATED)
    center = central[epsilon][0]
    row = matrices[epsilon][center]
    agreeing = [k for k, value in zip(ks, row, strict=True) if value >= AGREEING]
    return Choice(
        epsilon=epsilon,
        k=(ks[center], *(k for k in agreeing if k != ks[center])),
        agreement={k: float(value) for k, value in zip(ks, row, strict=True)},
        mean_agreement={value: median for value, (_, median) in central.items()},
    )


def _most_central(matrix: npt.NDArray[np.float64]) -> tuple[int, float]:
    """Return the plan with the highest median agreement with the others, and that median."""
    if len(matrix) == 1:
        return 0, 1.0
    others = ~np.eye(len(matrix), dtype=bool)
    medians = [float(np.median(row[mask])) for row, mask in zip(matrix, others, strict=True)]
    central = int(np.argmax(medians))
    return central, medians[central]
