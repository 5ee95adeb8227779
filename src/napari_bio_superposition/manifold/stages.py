"""Early, middle and late pseudotime: cutting, trend test, pairwise tests, effect sizes."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from napari_bio_superposition.core.errors import list_choices
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.manifold.resampling import Wells
from napari_bio_superposition.manifold.statistics import percentiles
from napari_bio_superposition.manifold.trajectory_config import TrendConfig

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]
Cut = Literal["terciles", "equal_width"]
Alternative = Literal["decreasing", "increasing", "two-sided"]
STAGES: Final = ("early", "middle", "late")
CUTS: Final[tuple[Cut, ...]] = ("terciles", "equal_width")
_EVERY: Final = 20


@dataclass(frozen=True)
class TrendTest:
    """Jonckheere and Terpstra's test of an order between groups.

    Parameters
    ----------
    statistic
        Pairs of patches in the looked-for order, ties counted half.
    expected, variance
        Of the statistic without any trend, with ties.
    z, p_value
        Normal approximation with continuity correction, patches taken as independent.
    p_wells
        From outcomes that change places between wells of a plate: the one to go by; ``nan``
        where that was not done.
    alternative
        What was looked for.
    """

    statistic: float
    expected: float
    variance: float
    z: float
    p_value: float
    p_wells: float
    alternative: Alternative


@dataclass(frozen=True, eq=False)
class StageTest:
    """An outcome in three stages of pseudotime.

    Parameters
    ----------
    cut
        ``"terciles"``: equally many patches; ``"equal_width"``: equal spans between the 5th and
        the 95th percentile of pseudotime, as published (what lies outside belongs to no stage).
    edges
        Pseudotime between the stages, ``(2,)``.
    codes
        Stage of each patch, ``(n,)``: 0, 1, 2, or -1 for none.
    summary
        One row per stage: ``n_patches``, ``n_wells``, ``mean`` over patches, ``low`` and ``high``
        (95 % over draws of wells), ``sem`` over patches as published.
    trend
        Over all three.
    pairs
        One row per pair: ``first``, ``second``, ``cliffs_delta`` with ``low`` and ``high`` over
        draws of wells, ``p_wells`` (Dunn's test of the means of wells in each stage) and
        ``p_patches`` (of patches), both corrected.
    correction
        Of the pairwise tests.
    """

    cut: Cut
    edges: Numbers
    codes: Codes
    summary: pd.DataFrame
    trend: TrendTest
    pairs: pd.DataFrame
    correction: str


def cut_stages(pseudotime: Numbers, cut: Cut) -> tuple[Codes, Numbers]:
    """Cut pseudotime into three stages.

    Returns
    -------
    codes, edges
        Stage of each patch (-1 for none), and the two values between stages.
    """
    if cut == "terciles":
        codes = np.empty(len(pseudotime), np.int8)
        order = np.argsort(pseudotime, kind="stable")
        for stage, rows in enumerate(np.array_split(order, len(STAGES))):
            codes[rows] = stage
        edges = [float(pseudotime[codes == stage].min()) for stage in (1, 2)]
        return codes, np.array(edges)
    low, high = np.quantile(pseudotime, [0.05, 0.95])
    edges_all = np.linspace(low, high, len(STAGES) + 1)
    codes = np.digitize(pseudotime, edges_all[1:-1]).astype(np.int8)
    codes[(pseudotime < low) | (pseudotime > high)] = -1
    return codes, edges_all[1:-1]


def order_statistic(groups: list[Numbers]) -> float:
    """Return how many pairs fall: an earlier group's value above a later one's; ties count half."""
    total = 0.0
    for earlier, later in combinations(groups, 2):
        ordered = np.sort(later)
        below = np.searchsorted(ordered, earlier, "left")
        up_to = np.searchsorted(ordered, earlier, "right")
        total += float(below.sum()) + 0.5 * float((up_to - below).sum())
    return total


def jonckheere(groups: list[Numbers], alternative: Alternative = "decreasing") -> TrendTest:
    """Test whether values fall (or rise) from group to group.

    Parameters
    ----------
    groups
        The values of each group, in the order of the groups.
    alternative
        What is looked for.

    Notes
    -----
    Jonckheere, Biometrika 41, 133 (1954). The variance has all three terms for ties (Lehmann,
    Nonparametrics, 1975); section 14 of the method specification has the first only.
    """
    sizes = np.array([len(group) for group in groups], np.float64)
    n = sizes.sum()
    falling = order_statistic(groups)
    expected = float((n**2 - (sizes**2).sum()) / 4)
    ties = np.unique(np.concatenate(groups), return_counts=True)[1].astype(np.float64)
    variance = float(_variance(n, sizes, ties))
    statistic = falling
    if alternative == "increasing":
        statistic = 2 * expected - falling
    excess = statistic - expected
    size = max(abs(excess) - 0.5, 0.0)
    z = float(np.sign(excess) * size / np.sqrt(variance)) if variance > 0 else 0.0
    p_value = 2 * norm.sf(abs(z)) if alternative == "two-sided" else norm.sf(z)
    return TrendTest(
        statistic, expected, variance, z, min(1.0, float(p_value)), float("nan"), alternative
    )


def _variance(n: float, sizes: Numbers, ties: Numbers) -> float:
    def first(m: Numbers | float) -> float:
        return float(np.sum(m * (m - 1) * (2 * m + 5)))

    def second(m: Numbers) -> float:
        return float(np.sum(m * (m - 1) * (m - 2)))

    def third(m: Numbers) -> float:
        return float(np.sum(m * (m - 1)))

    variance = (first(n) - first(sizes) - first(ties)) / 72
    if n > 2:
        variance += second(sizes) * second(ties) / (36 * n * (n - 1) * (n - 2))
    return variance + third(sizes) * third(ties) / (8 * n * (n - 1))


def cliffs_delta(first: Numbers, second: Numbers) -> float:
    """Return the chance that *first* is higher, less the chance that it is lower.

    Returns
    -------
    float
        In ``[-1, 1]``; ``nan`` where either is empty.
    """
    if not len(first) or not len(second):
        return float("nan")
    return 2 * order_statistic([first, second]) / (len(first) * len(second)) - 1


def compare_stages(
    pseudotime: Numbers,
    outcome: Numbers,
    wells: Wells,
    config: TrendConfig,
    *,
    cut: Cut = "terciles",
    rng: np.random.Generator,
) -> Job[StageTest]:
    """Compare an outcome between three stages of pseudotime.

    Parameters
    ----------
    pseudotime, outcome
        One finite value per patch.
    wells
        Of the patches.
    config
        Draws, correction, and what the trend test looks for.
    cut
        How the stages are cut.
    rng
        Behind intervals and null.
    """
    if cut not in CUTS:
        raise ValueError(f"No cut {cut!r}; there are {list_choices(CUTS)}.")
    codes, edges = cut_stages(pseudotime, cut)
    draws = yield from _resample(codes, outcome, wells, config.n_bootstraps, rng)
    trend = yield from _test_trend(codes, outcome, wells, config, rng)
    summary = _summarize(codes, outcome, wells, draws)
    pairs = _compare_pairs(codes, outcome, wells, config, draws)
    return StageTest(cut, edges, codes, summary, trend, pairs, config.correction)


def _split(codes: Codes, outcome: Numbers) -> list[Numbers]:
    return [outcome[codes == stage] for stage in range(len(STAGES))]


def _resample(
    codes: Codes, outcome: Numbers, wells: Wells, n_draws: int, rng: np.random.Generator
) -> Job[Numbers]:
    """Return means of the three stages and deltas of the three pairs, once per draw of wells."""
    values = np.full((n_draws, 6), np.nan)
    for draw in range(n_draws):
        if draw % _EVERY == 0:
            yield Progress("Stages", draw, n_draws, "draws")
        rows = wells.resample(rng)
        groups = _split(codes[rows], outcome[rows])
        means = [group.mean() if len(group) else np.nan for group in groups]
        values[draw] = means + [cliffs_delta(a, b) for a, b in combinations(groups, 2)]
    return values if wells.n_wells > 1 else np.full_like(values, np.nan)


def _test_trend(
    codes: Codes, outcome: Numbers, wells: Wells, config: TrendConfig, rng: np.random.Generator
) -> Job[TrendTest]:
    observed = jonckheere(_split(codes, outcome), config.alternative)
    null = np.empty(config.n_permutations)
    for draw in range(len(null)):
        if draw % _EVERY == 0:
            yield Progress("Trend test", draw, len(null), "shuffles")
        null[draw] = order_statistic(_split(codes, wells.shuffle(outcome, rng)))
    if not len(null):
        return observed
    excess, shuffled = observed.statistic - observed.expected, null - observed.expected
    if config.alternative == "increasing":
        shuffled = -shuffled
    if config.alternative == "two-sided":
        excess, shuffled = abs(excess), np.abs(shuffled)
    p_wells = float((1 + (shuffled >= excess - 1e-9).sum()) / (1 + len(null)))
    fields: dict[str, Any] = {**vars(observed), "p_wells": p_wells}
    return TrendTest(**fields)


def _summarize(codes: Codes, outcome: Numbers, wells: Wells, draws: Numbers) -> pd.DataFrame:
    rows = []
    for stage, values in enumerate(_split(codes, outcome)):
        low, high = percentiles(draws[:, stage])
        rows.append(
            {
                "n_patches": len(values),
                "n_wells": len(np.unique(wells.codes[codes == stage])),
                "mean": values.mean() if len(values) else np.nan,
                "low": low,
                "high": high,
                "sem": values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(STAGES, name="stage"))


def _compare_pairs(
    codes: Codes, outcome: Numbers, wells: Wells, config: TrendConfig, draws: Numbers
) -> pd.DataFrame:
    groups = _split(codes, outcome)
    by_well = [_well_means(codes == stage, outcome, wells) for stage in range(len(STAGES))]
    p_patches = dunn(groups, config.correction)
    p_wells = dunn(by_well, config.correction)
    rows = []
    for place, (a, b) in enumerate(combinations(range(len(STAGES)), 2)):
        low, high = percentiles(draws[:, len(STAGES) + place])
        rows.append(
            {
                "first": STAGES[a],
                "second": STAGES[b],
                "cliffs_delta": cliffs_delta(groups[a], groups[b]),
                "low": low,
                "high": high,
                "p_wells": p_wells[a, b],
                "p_patches": p_patches[a, b],
            }
        )
    return pd.DataFrame(rows)


def _well_means(chosen: npt.NDArray[np.bool_], outcome: Numbers, wells: Wells) -> Numbers:
    counts = np.bincount(wells.codes[chosen], minlength=wells.n_wells)
    sums = np.bincount(wells.codes[chosen], outcome[chosen], minlength=wells.n_wells)
    means: Numbers = sums[counts > 0] / counts[counts > 0]
    return means


def dunn(groups: list[Numbers], correction: str) -> Numbers:
    """Return the corrected p-values of Dunn's test between all groups, ``(n, n)``.

    Where a group is empty or all values are the same, they are ``nan``.
    """
    if min(map(len, groups)) == 0 or np.ptp(np.concatenate(groups)) == 0:
        return np.full((len(groups), len(groups)), np.nan)
    import scikit_posthocs

    found = scikit_posthocs.posthoc_dunn([list(group) for group in groups], p_adjust=correction)
    return np.asarray(found, np.float64)
