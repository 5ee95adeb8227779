"""From figures to words: how far a coupling may be trusted. No computing of figures here."""

from dataclasses import dataclass, replace

from napari_bio_superposition.alignment.coupling import Coupling
from napari_bio_superposition.alignment.halves import HalvesComparison
from napari_bio_superposition.alignment.nulls import GAUSSIAN, SHUFFLED, WITHIN, NullComparison

REFUSED = "no plan"
NO_ALIGNMENT = "no alignment"
AMBIGUOUS = "ambiguous"
LOW_CONFIDENCE = "low confidence"
CLASS_LEVEL = "class-level only"
CELL_LEVEL = "cell-level"
NOT_TESTED = "not tested"
VERDICTS = (REFUSED, NO_ALIGNMENT, AMBIGUOUS, LOW_CONFIDENCE, CLASS_LEVEL, CELL_LEVEL, NOT_TESTED)

_MIN_Z = 4.0
"""Standard deviations below a null's mean that count as an alignment: twenty unrelated pairs in
twenty have to stay above, with a null of ten losses."""
_MAX_EXCESS = 1.5
_MAX_EXCESS_OVER_TIGHTER = 2.0
"""Limits of `HalvesComparison`, fixed on simulated sheets, trees, clusters, rings and balls before
others were scored (decision 0021): one shape seen twice gave at most 1.4 and 1.7, unrelated ones
2.7 and more over the tighter modality."""
_AMBIGUOUS_GAP = 0.02
_AGREEING = 0.5
_REPEATED = 2
"""Draws of halves that have to repeat the map where the others flip it."""
_OTHER_MAP = 0.9
"""Agreement with the chosen alignment below which a basin is another one: a sheet that is mirrored
along its short side only still agrees by 0.8."""
_ROW_ERROR = 1e-2
_CHANCE = 0.4
"""FOSCTTM above which a map of all cells is closer to chance (0.5) than to use."""
_MIN_Z_CLOUD = 2.0
"""Standard deviations asked for against clouds of equal covariance, which share the overall shape
with the data and whose losses scatter more."""
_CHANCE_WITHIN = 0.35
"""Within-class FOSCTTM above which single matches are closer to chance (0.5) than to use."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The figures behind a verdict.

    Parameters
    ----------
    solver_error
        L1 error of the marginals before they were made exact.
    nulls
        Losses of the data and of rebuilt geometries; ``None`` where none were computed.
    gap
        Share by which the runner-up's loss is higher; ``None`` without a runner-up.
    n_ambiguous
        Number of alternative alignments within 2 % of the lowest loss.
    halves
        How well and reproducibly disjoint cells fit; ``None`` where it was not tested.
    agreement
        Of the couplings of other numbers of neighbours with the chosen one.
    subsample_agreement
        Of the couplings of random subsets with the chosen one.
    foscttm, within_class
        Measured FOSCTTM, overall and within classes, where pairs (and labels) are given.
    """

    solver_error: float
    nulls: NullComparison | None
    gap: float | None
    n_ambiguous: int
    agreement: tuple[float, ...]
    subsample_agreement: tuple[float, ...]
    halves: HalvesComparison | None = None
    foscttm: float | None = None
    within_class: float | None = None


def judge_coupling(
    coupling: Coupling, foscttm: float | None = None, within_class: float | None = None
) -> Coupling:
    """Return the coupling with its verdict and explanation.

    Parameters
    ----------
    coupling
        With all its diagnostics.
    foscttm, within_class
        Measured FOSCTTM, overall and within classes, where pairs (and labels) are given: what is
        measured counts more than what nulls suggest.
    """
    runners_up = [basin.gap for basin in coupling.basins[1:] if basin.agreement < _OTHER_MAP]
    nulls = None
    if coupling.null_losses:
        nulls = NullComparison(coupling.null_observed, coupling.null_losses)
    verdict, explanation = judge(
        Evidence(
            solver_error=coupling.solver_error,
            nulls=nulls,
            gap=min(runners_up, default=None),
            n_ambiguous=sum(gap < _AMBIGUOUS_GAP for gap in runners_up),
            agreement=tuple(v for k, v in coupling.agreement.items() if k != coupling.k[0]),
            subsample_agreement=coupling.subsample_agreement,
            halves=coupling.halves,
            foscttm=foscttm,
            within_class=within_class,
        )
    )
    return replace(coupling, verdict=verdict, explanation=explanation)


def judge(evidence: Evidence) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and the sentences that explain it, the gravest finding first."""
    rules = [_refuse]
    if evidence.foscttm is None:
        rules += [_compare_with_shuffled, _compare_with_halves, _look_for_reproduction]
        rules += [_look_for_others, _look_for_agreement, _look_for_firm_reproduction]
        rules += [_compare_with_cloud, _compare_with_clusters]
    else:
        rules += [_measure_overall, _measure_within]
    for rule in rules:
        verdict, sentence = rule(evidence)
        if verdict:
            return verdict, (sentence, *_notes(evidence, verdict))
    return NOT_TESTED, ("No null geometries were computed (--n-nulls 0).", *_notes(evidence, ""))


_Finding = tuple[str, str]
_NOTHING: _Finding = ("", "")


def _refuse(evidence: Evidence) -> _Finding:
    if evidence.solver_error <= _ROW_ERROR:
        return _NOTHING
    return REFUSED, (
        f"The solver left {evidence.solver_error:.1%} of the mass unplaced. Choose a larger "
        "epsilon or fewer neighbours."
    )


def _compare_with_shuffled(evidence: Evidence) -> _Finding:
    if evidence.nulls is None or evidence.nulls.z(SHUFFLED) >= _MIN_Z:
        return _NOTHING
    z = evidence.nulls.z(SHUFFLED)
    return NO_ALIGNMENT, (
        f"The loss is no better than chance: {abs(z):.1f} standard deviations "
        f"{'above' if z < 0 else 'below'} that of geometries without structure (columns shuffled), "
        f"where {_MIN_Z:g} below are asked for. Do not read anything from the plan."
    )


def _compare_with_halves(evidence: Evidence) -> _Finding:
    halves = evidence.halves
    if halves is None:
        return _NOTHING
    for excess, limit, floor in (
        (halves.excess_over_tighter, _MAX_EXCESS_OVER_TIGHTER, "the modality that fits better"),
        (halves.excess, _MAX_EXCESS, "the same modality"),
    ):
        if excess > limit:
            return NO_ALIGNMENT, (
                f"Images and RNA have different shapes: their loss is {excess:.1f} times that of "
                f"two halves of {floor}, where at most {limit:g} is expected of one shape seen "
                "twice. Do not read anything from the plan."
            )
    return _NOTHING


def _look_for_reproduction(evidence: Evidence) -> _Finding:
    """Ask whether disjoint cells give one map; the median draw must beat unrelated maps.

    Draws that either repeat the map or show its mirror image are not unrelated: too few cells to
    tell the two apart, which is low confidence.
    """
    halves = evidence.halves
    if halves is None or halves.reproducibility > 0:
        return _NOTHING
    if sum(value >= _AGREEING for value in halves.reproduced) >= _REPEATED:
        return _NOTHING
    return NO_ALIGNMENT, (
        f"{_describe_reproduction(halves)}: no better than unrelated maps. Do not read anything "
        "from the plan."
    )


def _look_for_firm_reproduction(evidence: Evidence) -> _Finding:
    halves = evidence.halves
    if halves is None or halves.reproducibility >= _AGREEING:
        return _NOTHING
    return LOW_CONFIDENCE, (
        f"{_describe_reproduction(halves)}, where {_AGREEING:g} is asked for. Treat it as a guess."
    )


def _describe_reproduction(halves: HalvesComparison) -> str:
    return (
        "Other cells of the same data give another map: couplings that share no cell agree by "
        f"{halves.reproducibility:.2f} in the median (1 the same, 0 unrelated, below 0 flipped)"
    )


def _look_for_others(evidence: Evidence) -> _Finding:
    if evidence.gap is None or evidence.gap >= _AMBIGUOUS_GAP:
        return _NOTHING
    return AMBIGUOUS, _describe_others(evidence)


def _look_for_agreement(evidence: Evidence) -> _Finding:
    values = (*evidence.agreement, *evidence.subsample_agreement)
    disagreeing = sum(value < _AGREEING for value in values)
    if 2 * disagreeing < len(values) or not values:
        return _NOTHING
    return LOW_CONFIDENCE, (
        f"Couplings disagree: {disagreeing} of {len(values)} from other numbers of neighbours and "
        "from subsets of the cells contradict the chosen one. Treat it as a guess."
    )


def _compare_with_cloud(evidence: Evidence) -> _Finding:
    if evidence.nulls is None or evidence.nulls.z(GAUSSIAN) >= _MIN_Z_CLOUD:
        return _NOTHING
    return CLASS_LEVEL, (
        "No alignment better than that of a cloud of the same covariance: the evidence is the "
        "overall shape alone. The map holds at most at the level of classes, and known labels "
        "should confirm it; do not read individual matches."
    )


def _compare_with_clusters(evidence: Evidence) -> _Finding:
    if evidence.nulls is None:
        return _NOTHING
    z = evidence.nulls.z(WITHIN)
    if z < _MIN_Z:
        return CLASS_LEVEL, (
            "Geometries that keep only the clusters of cells couple nearly as well (the data are "
            f"{z:.1f} standard deviations better, where {_MIN_Z:g} are asked for): the map holds "
            "at the level of classes; do not read individual matches."
        )
    return CELL_LEVEL, (
        f"The loss is {z:.1f} standard deviations better than that of geometries that keep only "
        "the clusters of cells. Whether single matches are right cannot be known without pairs."
    )


def _measure_overall(evidence: Evidence) -> _Finding:
    if evidence.foscttm is None or evidence.foscttm <= _CHANCE:
        return _NOTHING
    return NO_ALIGNMENT, (
        f"The true match stands at {evidence.foscttm:.2f} of the way on average (0.5 is chance, "
        "above it the map is flipped). Do not read anything from the plan."
    )


def _measure_within(evidence: Evidence) -> _Finding:
    if evidence.within_class is None:
        verdict = _compare_with_clusters(evidence)
        return verdict if verdict[0] else _NOTHING
    found = (
        f"Among cells of one class the true match stands at {evidence.within_class:.2f} of the way "
        "(0 is perfect, 0.5 is chance)"
    )
    if evidence.within_class > _CHANCE_WITHIN:
        return CLASS_LEVEL, (
            f"{found}: the map holds at the level of classes; do not read individual matches."
        )
    return CELL_LEVEL, f"{found}."


def _describe_others(evidence: Evidence) -> str:
    return (
        f"{evidence.n_ambiguous} alternative alignments are as good, the next within "
        f"{max(evidence.gap or 0.0, 0.0):.1%} of the loss: a mirror image cannot be told from the "
        "map itself. Look at the listed basins; one known class would decide "
        "(--label KEY --classes intra-class)."
    )


def _notes(evidence: Evidence, verdict: str) -> tuple[str, ...]:
    notes = []
    if verdict != AMBIGUOUS and evidence.n_ambiguous:
        notes.append(_describe_others(evidence))
    low = [value for value in evidence.agreement if value < _AGREEING]
    if low:
        notes.append(
            f"{len(low)} of {len(evidence.agreement)} other numbers of neighbours give another "
            "alignment and were left out."
        )
    return tuple(notes)
