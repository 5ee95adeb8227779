"""Correlation of pseudotime with an outcome: interval over wells, and its null. No plots."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.manifold.resampling import Wells

Numbers = npt.NDArray[np.float64]
_EVERY: Final = 20
_FEW_WELLS: Final = 5
_LEAST_PATCHES: Final = 10


@dataclass(frozen=True)
class Correlation:
    """One correlation coefficient with its interval and its null.

    Parameters
    ----------
    kind
        ``"spearman"`` or ``"pearson"``.
    value
        Over patches.
    low, high
        95 % interval: percentiles over draws of whole wells; ``nan`` with one well.
    null_low, null_high
        Where 95 % of the values lie when outcomes change places between wells of a plate.
    p_value
        Two-sided, from that null, ``(1 + as extreme) / (1 + shuffles)``; ``nan`` without shuffles.
    p_patches
        The same with single patches shuffled within plates: as published, and too small wherever
        patches of one well are alike. Shown beside, never instead.
    n_patches, n_wells
        What it rests on.
    """

    kind: Literal["spearman", "pearson"]
    value: float
    low: float
    high: float
    null_low: float
    null_high: float
    p_value: float
    p_patches: float
    n_patches: int
    n_wells: int

    def as_plain(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


def spearman(x: Numbers, y: Numbers) -> float:
    """Return the rank correlation; ``nan`` where either is constant."""
    return pearson(rankdata(x), rankdata(y))


def pearson(x: Numbers, y: Numbers) -> float:
    """Return the linear correlation; ``nan`` where either is constant."""
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


_KINDS: Final[dict[Literal["spearman", "pearson"], Callable[[Numbers, Numbers], float]]] = {
    "spearman": spearman,
    "pearson": pearson,
}


def correlate(
    pseudotime: Numbers,
    outcome: Numbers,
    wells: npt.NDArray[np.str_],
    plates: npt.NDArray[np.str_] | None = None,
    *,
    draws: tuple[int, int] = (500, 500),
    rng: np.random.Generator,
) -> Job[dict[str, Correlation]]:
    """Correlate pseudotime with an outcome over patches, with wells as the unit of inference.

    Parameters
    ----------
    pseudotime, outcome
        One finite value per patch.
    wells, plates
        Of each patch; without plates, any two wells can change places.
    draws
        Bootstraps and shuffles.
    rng
        Behind both.

    Returns
    -------
    dict
        ``"spearman"`` and ``"pearson"``.

    Raises
    ------
    TableError
        Where there are fewer than ten patches.
    """
    if len(outcome) < _LEAST_PATCHES:
        raise TableError(
            f"{len(outcome)} patches have both pseudotime and outcome; a correlation needs "
            f"{_LEAST_PATCHES}. Choose another outcome, or analyse more images."
        )
    by_well = Wells(wells, plates)
    alone = Wells(np.arange(len(outcome)).astype(str), plates)
    boot = yield from _repeat("Intervals over wells", draws[0], by_well, pseudotime, outcome, rng)
    null = yield from _repeat("Null", draws[1], by_well, pseudotime, outcome, rng, shuffle=True)
    free = yield from _repeat("Null", draws[1], alone, pseudotime, outcome, rng, shuffle=True)
    found = {}
    for place, (kind, measure) in enumerate(_KINDS.items()):
        value = measure(pseudotime, outcome)
        low, high = percentiles(boot[:, place]) if by_well.n_wells > 1 else (np.nan, np.nan)
        found[str(kind)] = Correlation(
            kind,
            value,
            low,
            high,
            *percentiles(null[:, place]),
            p_value=two_sided(value, null[:, place]),
            p_patches=two_sided(value, free[:, place]),
            n_patches=len(outcome),
            n_wells=by_well.n_wells,
        )
    return found


def _repeat(  # noqa: PLR0913 (one loop behind bootstrap and null)
    step: str,
    n_draws: int,
    wells: Wells,
    x: Numbers,
    y: Numbers,
    rng: np.random.Generator,
    *,
    shuffle: bool = False,
) -> Job[Numbers]:
    values = np.full((n_draws, len(_KINDS)), np.nan)
    for draw in range(n_draws):
        if draw % _EVERY == 0:
            yield Progress(step, draw, n_draws, "draws")
        if shuffle:
            first, second = x, wells.shuffle(y, rng)
        else:
            rows = wells.resample(rng)
            first, second = x[rows], y[rows]
        values[draw] = [measure(first, second) for measure in _KINDS.values()]
    return values


def percentiles(draws: Numbers, level: float = 0.95) -> tuple[float, float]:
    """Return the range that holds a share of the draws; ``nan`` without any."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def two_sided(value: float, null: Numbers) -> float:
    """Return how often a null value lies as far from 0, the observed one counted in."""
    known = null[np.isfinite(null)]
    if not len(known) or not np.isfinite(value):
        return float("nan")
    return float((1 + (np.abs(known) >= abs(value) - 1e-12).sum()) / (1 + len(known)))


def warn_of_few(wells: Wells) -> list[str]:
    """Return what a reader must know where there are few wells, in sentences."""
    found = []
    if wells.n_wells < _FEW_WELLS:
        found.append(
            f"Only {wells.n_wells} wells: the intervals over wells are narrower than they should "
            "be, and say little."
        )
    if wells.smallest_block == 1 and wells.n_wells > 1:
        found.append(
            "On at least one plate there is a single well; its outcomes could only be shuffled "
            "inside it, which makes p-values too small."
        )
    return found
