"""The coupling as one job: survey, search, choose, compare with nulls, solve, judge.

The order of the steps lives here and nothing else; each step has its own module.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.alignment.agreement import measure_agreement
from napari_bio_superposition.alignment.basins import Basins, search_basins
from napari_bio_superposition.alignment.checks import check_features, usable_neighbours
from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.coupling import PERFECT_LOSS, BasinReport, Coupling
from napari_bio_superposition.alignment.gromov import CentredCost, centre_cost
from napari_bio_superposition.alignment.halves import HalvesComparison, compare_halves
from napari_bio_superposition.alignment.known import Known
from napari_bio_superposition.alignment.nulls import NullComparison, compare_with_nulls
from napari_bio_superposition.alignment.plans import (
    FullPlan,
    choose_solver,
    plan_all_cells,
)
from napari_bio_superposition.alignment.polish import polish_plan
from napari_bio_superposition.alignment.selection import Choice, choose_settings
from napari_bio_superposition.alignment.survey import Survey, survey_modality
from napari_bio_superposition.alignment.verdict import judge_coupling
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray

_N_SUBSAMPLES = 3
_SUBSAMPLE = 0.75
_SUBSAMPLE_STARTS = 9

Surveys = tuple[Survey, Survey]


def couple(
    features: npt.ArrayLike,
    rna_features: npt.ArrayLike,
    config: CouplingConfig | None = None,
    *,
    rng: np.random.Generator,
    known: Known | None = None,
) -> Job[Coupling]:
    """Couple two modalities by the shapes of their clouds of cells.

    Entropic Gromov-Wasserstein on geodesic distances. Epsilon and the numbers of neighbours are
    chosen by the agreement of couplings; nothing is chosen with labels. See the method
    specification, section 16, and docs/coupling.md.

    Parameters
    ----------
    features
        Of the images, ``(n, d)``, one row per patch.
    rna_features
        Of the RNA, ``(m, e)``, one row per cell; neither size has to match the other.
    config
        Settings; the defaults where omitted.
    rng
        Source of all randomness.
    known
        What is known of pairs of cells: shared features (the fused mode), classes (the intra-class
        mode). Nulls compare shapes alone.

    Returns
    -------
    Coupling
        The plan with its diagnostics and a verdict in words.

    Raises
    ------
    TableError
        Where features hold NaN, do not vary, or are too few.
    """
    config = config or CouplingConfig()
    clock = _Clock()
    image, n_flat = check_features(features, "image")
    rna, n_flat_rna = check_features(rna_features, "RNA")
    tried = usable_neighbours(config.neighbours, min(len(image), len(rna)))
    config = replace(config, neighbours=tried)
    first = yield from survey_modality(image, config, name="images", rng=rng)
    second = yield from survey_modality(rna, config, name="RNA", rng=rng)
    surveys = (first, second)
    clock.lap("survey")
    extra = None if known is None else known.cost(first.landmarks, second.landmarks)
    found = yield from _search_settings(surveys, config, rng, extra)
    choice = choose_settings(found)
    clock.lap("search")
    basins = yield from _search_chosen(surveys, choice, config, rng, extra)
    ranked = yield from _rank(surveys, choice, basins, extra)
    subsamples = yield from _check_subsamples(surveys, choice, ranked[0].plan, config, rng, extra)
    clock.lap("basins")
    nulls: NullComparison | None = None
    halves: HalvesComparison | None = None
    if config.n_nulls:
        nulls = yield from compare_with_nulls(
            (image, rna), choice.k[0], choice.epsilon, config, rng=rng
        )
        halves = yield from compare_halves((image, rna), config, rng=rng)
    clock.lap("nulls")
    full = yield from _plan(surveys, choice, ranked[0], config, known)
    clock.lap("plan")
    warnings = _warn((n_flat, n_flat_rna), surveys, full, known)
    coupling = _assemble(surveys, choice, ranked, subsamples, nulls, full, warnings, clock.seconds)
    return judge_coupling(replace(coupling, halves=halves))


class _Clock:
    """Wall time of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = round(now - self._last, 3)
        self._last = now


def _landmark_costs(
    surveys: Surveys, ks: tuple[int, ...], device: str
) -> tuple[CentredCost, CentredCost]:
    first, second = (
        centre_cost(survey.between_landmarks(ks), survey.masses, device=device)
        for survey in surveys
    )
    return first, second


def _search_settings(
    surveys: Surveys, config: CouplingConfig, rng: np.random.Generator, extra: FloatArray | None
) -> Job[Mapping[int, Mapping[float, Basins]]]:
    """Find the basins of every number of neighbours at every epsilon."""
    found = {}
    for done, k in enumerate(config.neighbours):
        report = Progress("Searching alignments", done, len(config.neighbours), "settings")
        costs = _landmark_costs(surveys, (k,), config.device)
        found[k] = yield from search_basins(
            *(costs, config.epsilons, config.n_starts),
            rng=rng,
            report=report,
            extra_cost=_tensor(extra, costs),
        )
    return found


def _tensor(extra: FloatArray | None, costs: tuple[CentredCost, CentredCost]) -> Tensor | None:
    return None if extra is None else torch.as_tensor(extra).to(costs[0].left)


def _search_chosen(
    surveys: Surveys,
    choice: Choice,
    config: CouplingConfig,
    rng: np.random.Generator,
    extra: FloatArray | None,
) -> Job[Basins]:
    """Find the basins of the costs averaged over the numbers of neighbours that agree."""
    costs = _landmark_costs(surveys, choice.k, config.device)
    found = yield from search_basins(
        costs, [choice.epsilon], config.n_starts, rng=rng, extra_cost=_tensor(extra, costs)
    )
    return found[choice.epsilon]


@dataclass(frozen=True, eq=False)
class _Ranked:
    """A basin with its refinement."""

    plan: npt.NDArray[Any]
    refined: npt.NDArray[Any]
    report: BasinReport


def _rank(
    surveys: Surveys, choice: Choice, basins: Basins, extra: FloatArray | None
) -> Job[list[_Ranked]]:
    """Refine every basin without entropy and put them in order of the refined loss."""
    costs = surveys[0].between_landmarks(choice.k), surveys[1].between_landmarks(choice.k)
    masses = surveys[0].masses, surveys[1].masses
    refined = []
    for done, basin in enumerate(basins):
        yield Progress("Refining alignments", done, len(basins), "alignments")
        refined.append((*polish_plan(costs, masses, basin.plan, extra), basin))
    refined.sort(key=lambda entry: entry[1])
    best, lowest = refined[0][2].plan, refined[0][1]
    return [
        _Ranked(
            basin.plan,
            plan,
            BasinReport(
                loss=loss,
                entropic_loss=basin.loss,
                gap=(loss - lowest) / max(lowest, PERFECT_LOSS),
                starts=basin.starts,
                agreement=measure_agreement(basin.plan, best),
            ),
        )
        for plan, loss, basin in refined
    ]


def _check_subsamples(
    surveys: Surveys,
    choice: Choice,
    plan: npt.NDArray[Any],
    config: CouplingConfig,
    rng: np.random.Generator,
    extra: FloatArray | None,
) -> Job[tuple[float, ...]]:
    """Couple random subsets of the landmarks and compare with the chosen plan."""
    agreements = []
    for done in range(_N_SUBSAMPLES):
        report = Progress("Coupling subsets", done, _N_SUBSAMPLES, "subsets")
        costs, kept = [], []
        for survey in surveys:
            n = len(survey.landmarks)
            part = np.sort(rng.choice(n, round(_SUBSAMPLE * n), replace=False))
            masses = survey.masses[part] / survey.masses[part].sum()
            block = survey.between_landmarks(choice.k)[np.ix_(part, part)]
            costs.append(centre_cost(block, masses, device=config.device))
            kept.append(part)
        pair = (costs[0], costs[1])
        here = None if extra is None else extra[np.ix_(kept[0], kept[1])]
        found = yield from search_basins(
            *(pair, [choice.epsilon], _SUBSAMPLE_STARTS),
            keep=3,
            rng=rng,
            report=report,
            extra_cost=_tensor(here, pair),
        )
        restricted = plan[np.ix_(kept[0], kept[1])]
        best = found[choice.epsilon][0].plan
        agreements.append(measure_agreement(best, restricted / restricted.sum()))
    return tuple(agreements)


def _plan(
    surveys: Surveys,
    choice: Choice,
    chosen: _Ranked,
    config: CouplingConfig,
    known: Known | None,
) -> Job[FullPlan]:
    solver = choose_solver(config, max(map(len, surveys)))
    start = chosen.refined if solver == "landmarks" else chosen.plan
    return (
        yield from plan_all_cells(
            surveys, choice.k, choice.epsilon, start, replace(config, solver=solver), known
        )
    )


def _warn(
    n_flat: tuple[int, int], surveys: Surveys, full: FullPlan, known: Known | None
) -> tuple[str, ...]:
    warnings = []
    for name, flat, survey in zip(("image", "RNA"), n_flat, surveys, strict=True):
        if flat:
            warnings.append(
                f"{flat} columns of the {name} features are constant and tell no cells apart."
            )
        apart = {k: len(sizes) for k, sizes in survey.component_sizes.items() if len(sizes) > 1}
        if apart:
            parts = ", ".join(f"{count} at k = {k}" for k, count in apart.items())
            warnings.append(
                f"The {name} graph fell into components ({parts}), which were joined by their "
                "shortest edges; the distances between them are uncertain."
            )
    if not full.converged:
        remedy = "a larger epsilon would"
        if known is not None and known.classes is not None:
            remedy = "it cannot where a class has another share of the patches than of the cells"
        warnings.append(
            f"The solver did not come to rest (marginal error {full.solver_error:.1e} before it "
            f"was made exact); {remedy}."
        )
    return tuple(warnings)


def _assemble(  # noqa: PLR0913 (one argument per step of the job)
    surveys: Surveys,
    choice: Choice,
    ranked: list[_Ranked],
    subsamples: tuple[float, ...],
    nulls: NullComparison | None,
    full: FullPlan,
    warnings: tuple[str, ...],
    seconds: dict[str, float],
) -> Coupling:
    n, m = full.plan.shape
    return Coupling(
        plan=full.plan,
        verdict="",
        explanation=(),
        loss=full.loss,
        k=choice.k,
        epsilon=choice.epsilon,
        solver=full.solver,
        basins=tuple(entry.report for entry in ranked),
        agreement=choice.agreement,
        subsample_agreement=subsamples,
        null_observed=() if nulls is None else nulls.observed,
        null_losses={} if nulls is None else nulls.losses,
        row_error=_measure_error(full.plan, 1, n),
        column_error=_measure_error(full.plan, 0, m),
        solver_error=full.solver_error,
        converged=full.converged,
        components={
            name: survey.component_sizes
            for name, survey in zip(("images", "rna"), surveys, strict=True)
        },
        warnings=warnings,
        seconds=seconds,
    )


def _measure_error(plan: Any, axis: int, size: int) -> float:
    """Return the L1 distance of a marginal from a uniform one, summed in double precision."""
    marginal = np.asarray(plan.sum(axis=axis, dtype=np.float64)).ravel()
    return float(np.abs(marginal - 1 / size).sum())
