"""Couplings made again: of other data by the same settings, and the alternatives of one."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.basins import search_basins
from napari_bio_superposition.alignment.checks import check_features, usable_neighbours
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.coupling import PERFECT_LOSS
from napari_bio_superposition.alignment.gromov import centre_cost
from napari_bio_superposition.alignment.plans import choose_solver, plan_all_cells
from napari_bio_superposition.alignment.polish import polish_plan
from napari_bio_superposition.alignment.procedure import couple
from napari_bio_superposition.alignment.survey import Survey, survey_modality
from napari_bio_superposition.core.progress import Job, Progress

Matrix = npt.NDArray[Any]
_FAR = 0.1
"""Gap of the loss beyond which an alternative alignment is no serious one."""
_MOST = 4
_STARTS, _RESAMPLES = 12, 6
"""Effort at settings that are known already: half of the starts find the basins again."""


@dataclass(frozen=True, eq=False)
class Alternative:
    """Another coupling of the same data that cannot be dismissed.

    Parameters
    ----------
    kind
        ``basin``: another alignment at the chosen settings; ``k``: the best one at another k.
    k
        Numbers of neighbours.
    gap
        Share by which its loss is above the lowest one at these settings.
    plan
        ``(n, m)``.
    """

    kind: str
    k: tuple[int, ...]
    gap: float
    plan: Any


def recouple(
    features: Matrix,
    rna_features: Matrix,
    config: CouplingConfig,
    k: tuple[int, ...],
    epsilon: float,
    *,
    rng: np.random.Generator,
) -> Job[Any]:
    """Couple other data at settings that were chosen before; return the plan alone.

    Parameters
    ----------
    features, rna_features
        ``(n, d)`` and ``(m, e)``.
    config
        Settings of the coupling; nulls are left out.
    k, epsilon
        As chosen for the data at hand.
    rng
        Source of all randomness.
    """
    fixed = replace(
        config,
        neighbours=k,
        epsilons=(epsilon,),
        n_nulls=0,
        n_starts=min(config.n_starts, _STARTS),
        n_resamples=min(config.n_resamples, _RESAMPLES),
    )
    coupling = yield from couple(features, rna_features, fixed, rng=rng)
    return coupling.plan


def find_alternatives(
    features: Matrix,
    rna_features: Matrix,
    config: CouplingConfig,
    k: tuple[int, ...],
    epsilon: float,
    *,
    rng: np.random.Generator,
) -> Job[list[Alternative]]:
    """Return the serious alternatives: basins within a tenth of the loss, and the best at each k.

    Parameters
    ----------
    features, rna_features, config, rng
        As for `alignment.couple`.
    k, epsilon
        As chosen: k are averaged.
    """
    image, _ = check_features(features, "image")
    rna, _ = check_features(rna_features, "RNA")
    tried = usable_neighbours(config.neighbours, min(len(image), len(rna)))
    config = replace(config, neighbours=tried)
    first = yield from survey_modality(image, config, name="images", rng=rng)
    second = yield from survey_modality(rna, config, name="RNA", rng=rng)
    chosen = tuple(number for number in k if number in tried) or tried[:1]
    settings = [("basin", chosen), *(("k", (number,)) for number in tried)]
    found = []
    for done, (kind, numbers) in enumerate(settings):
        yield Progress("Finding alternative alignments", done, len(settings), "settings")
        limit = _MOST if kind == "basin" else 1
        found += yield from _couple_all(
            (first, second), (kind, numbers), epsilon, config, limit, rng
        )
    return found


def _couple_all(
    surveys: tuple[Survey, Survey],
    setting: tuple[str, tuple[int, ...]],
    epsilon: float,
    config: CouplingConfig,
    limit: int,
    rng: np.random.Generator,
) -> Job[list[Alternative]]:
    """Return the best alignments at one setting, lowest loss first."""
    kind, ks = setting
    blocks = [survey.between_landmarks(ks) for survey in surveys]
    costs = [
        centre_cost(block, survey.masses, device=config.device)
        for block, survey in zip(blocks, surveys, strict=True)
    ]
    searched = search_basins((costs[0], costs[1]), [epsilon], config.n_starts, rng=rng)
    basins = (yield from searched)[epsilon]
    lowest = basins[0].loss
    solver = choose_solver(config, max(map(len, surveys)))
    found = []
    for basin in basins[:limit]:
        gap = (basin.loss - lowest) / max(lowest, PERFECT_LOSS)
        if gap > _FAR:
            break
        start: Matrix = basin.plan
        if solver == "landmarks":
            masses = surveys[0].masses, surveys[1].masses
            start = polish_plan((blocks[0], blocks[1]), masses, basin.plan)[0]
        full = yield from plan_all_cells(
            surveys, ks, epsilon, start, replace(config, solver=solver)
        )
        found.append(Alternative(kind, ks, float(gap), full.plan))
    return found
