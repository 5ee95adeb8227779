"""Couplings made again: of other data by the same settings, and the alternatives of one."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_bio_superposition.alignment.basins import search_basins
from napari_bio_superposition.alignment.checks import check_features, usable_neighbours
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.coupling import PERFECT_LOSS
from napari_bio_superposition.alignment.gromov import centre_cost
from napari_bio_superposition.alignment.known import Known
from napari_bio_superposition.alignment.per_class import couple_per_class
from napari_bio_superposition.alignment.plans import choose_solver, plan_all_cells
from napari_bio_superposition.alignment.polish import polish_plan
from napari_bio_superposition.alignment.procedure import couple
from napari_bio_superposition.alignment.survey import Survey, survey_modality
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[Any]
Labels = npt.NDArray[np.str_]
_FAR = 0.1
"""Gap of the loss beyond which an alternative alignment is no serious one."""
_MOST = 4
_STARTS, _RESAMPLES = 12, 6
"""Effort at settings that are known already: half of the starts find the basins again."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a coupling was made with: its other couplings use the same.

    Parameters
    ----------
    config
        Settings of the method.
    k, epsilon
        As chosen; k are averaged.
    known
        What was used of pairs of cells: shared features, classes within which to couple.
    labels
        Classes that were aligned one by one, of patches and of RNA cells.
    """

    config: CouplingConfig
    k: tuple[int, ...]
    epsilon: float
    known: Known | None = None
    labels: tuple[Labels, Labels] | None = None


@dataclass(frozen=True, eq=False)
class Origin:
    """Which patches and RNA cells the rows of two other tables stand for.

    Parameters
    ----------
    rows, cells
        Indices of patches and of RNA cells; all of them, in order, where ``None``.
    related
        Whether the RNA is that of the coupling at all: nothing is known of an unrelated tissue.
    """

    rows: IntArray | None = None
    cells: IntArray | None = None
    related: bool = True


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
    setting: Setting,
    origin: Origin | None = None,
    *,
    rng: np.random.Generator,
) -> Job[Any]:
    """Couple other data at settings that were chosen before; return the plan alone.

    Parameters
    ----------
    features, rna_features
        ``(n, d)`` and ``(m, e)``.
    setting
        What the coupling at hand was made with; nulls are left out.
    origin
        Which patches and cells the rows stand for; all of them where not given.
    rng
        Source of all randomness.

    Raises
    ------
    TableError
        Where classes are coupled with, and one is empty on one side of these data.
    """
    config, origin = setting.config, origin or Origin()
    fixed = replace(
        config,
        neighbours=setting.k,
        epsilons=(setting.epsilon,),
        n_nulls=0,
        n_starts=min(config.n_starts, _STARTS),
        n_resamples=min(config.n_resamples, _RESAMPLES),
    )
    if setting.labels is not None and origin.related:
        both = Known(classes=setting.labels).take(origin.rows, origin.cells).classes
        assert both is not None
        coupling = yield from couple_per_class(features, rna_features, both, fixed, rng=rng)
        return coupling.plan
    known = None
    if setting.known is not None and origin.related:
        known = setting.known.take(origin.rows, origin.cells)
    coupling = yield from couple(features, rna_features, fixed, rng=rng, known=known)
    return coupling.plan


def find_alternatives(
    features: Matrix, rna_features: Matrix, setting: Setting, *, rng: np.random.Generator
) -> Job[list[Alternative]]:
    """Return the serious alternatives: basins within a tenth of the loss, and the best at each k.

    Classes that were aligned one by one have no alternatives of the whole: an empty list.

    Parameters
    ----------
    features, rna_features, rng
        As for `alignment.couple`.
    setting
        What the coupling was made with.
    """
    if setting.labels is not None:
        return []
    config, k = setting.config, setting.k
    image, _ = check_features(features, "image")
    rna, _ = check_features(rna_features, "RNA")
    tried = usable_neighbours(config.neighbours, min(len(image), len(rna)))
    setting = replace(setting, config=replace(config, neighbours=tried))
    first = yield from survey_modality(image, setting.config, name="images", rng=rng)
    second = yield from survey_modality(rna, setting.config, name="RNA", rng=rng)
    chosen = tuple(number for number in k if number in tried) or tried[:1]
    wanted = [("basin", chosen), *(("k", (number,)) for number in tried)]
    found = []
    for done, (kind, numbers) in enumerate(wanted):
        yield Progress("Finding alternative alignments", done, len(wanted), "settings")
        found += yield from _couple_all((first, second), kind, numbers, setting, rng)
    return found


def _couple_all(
    surveys: tuple[Survey, Survey],
    kind: str,
    ks: tuple[int, ...],
    setting: Setting,
    rng: np.random.Generator,
) -> Job[list[Alternative]]:
    """Return the best alignments at one setting, lowest loss first."""
    config, known = setting.config, setting.known
    blocks = [survey.between_landmarks(ks) for survey in surveys]
    costs = [
        centre_cost(block, survey.masses, device=config.device)
        for block, survey in zip(blocks, surveys, strict=True)
    ]
    extra = None if known is None else known.cost(surveys[0].landmarks, surveys[1].landmarks)
    searched = search_basins(
        *((costs[0], costs[1]), [setting.epsilon], config.n_starts),
        rng=rng,
        extra_cost=None if extra is None else torch.as_tensor(extra).to(costs[0].left),
    )
    basins = (yield from searched)[setting.epsilon]
    lowest = basins[0].loss
    solver = choose_solver(config, max(map(len, surveys)))
    found = []
    for basin in basins[: _MOST if kind == "basin" else 1]:
        gap = (basin.loss - lowest) / max(lowest, PERFECT_LOSS)
        if gap > _FAR:
            break
        start: Matrix = basin.plan
        if solver == "landmarks":
            masses = surveys[0].masses, surveys[1].masses
            start = polish_plan((blocks[0], blocks[1]), masses, basin.plan)[0]
        fixed = replace(config, solver=solver)
        full = yield from plan_all_cells(surveys, ks, setting.epsilon, start, fixed, known)
        found.append(Alternative(kind, ks, float(gap), full.plan))
    return found
