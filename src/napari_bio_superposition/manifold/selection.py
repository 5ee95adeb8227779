"""Features chosen on half of the wells, so that the other half can judge. No embedding."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray

_WELLS_NEEDED: Final = 2


@dataclass(frozen=True, eq=False)
class HalvedSelection:
    """Chosen features, and which patches took part in choosing.

    Parameters
    ----------
    features
        Columns, best first.
    choosing
        Patches whose wells the features were chosen on; all others judge.
    wells
        Names of the wells that chose, and of those that judge.
    """

    features: IntArray
    choosing: BoolArray
    wells: tuple[tuple[str, ...], tuple[str, ...]]


def select_on_half(
    values: FloatArray,
    groups: npt.NDArray[np.str_],
    wells: npt.NDArray[np.str_],
    *,
    n_features: int,
    rng: np.random.Generator,
) -> HalvedSelection:
    """Choose the features that differ most between groups, looking at half of the wells only.

    Parameters
    ----------
    values
        Prepared features, ``(n, n_features)``.
    groups, wells
        Of each patch. Half of the wells of each group, drawn, choose.
    n_features
        How many are chosen, at most.
    rng
        Draws the wells.

    Raises
    ------
    TableError
        Where a group has a single well, or there is one group only.

    Notes
    -----
    The paper states a 50:50 split that its code never makes (section 14 of the method
    specification). Features are ranked by the variance between groups of the means of wells over
    that within groups.
    """
    names = np.unique(groups)
    if len(names) < _WELLS_NEEDED:
        raise TableError("Features can only be chosen between two or more groups.")
    chosen: list[str] = []
    judging: list[str] = []
    for name in names:
        own = rng.permutation(np.unique(wells[groups == name]))
        if len(own) < _WELLS_NEEDED:
            raise TableError(
                f"Group {str(name)!r} has one well, which cannot both choose features and judge "
                "them. Leave out the selection of features, or give more wells."
            )
        chosen += list(own[: len(own) // 2])
        judging += list(own[len(own) // 2 :])
    choosing = np.isin(wells, chosen)
    score = _separation(values[choosing], groups[choosing], wells[choosing])
    best = np.argsort(-score, kind="stable")[:n_features]
    return HalvedSelection(best, choosing, (tuple(sorted(chosen)), tuple(sorted(judging))))


def _separation(
    values: FloatArray, groups: npt.NDArray[np.str_], wells: npt.NDArray[np.str_]
) -> npt.NDArray[np.float64]:
    """Return between over within variance of well means; within of patches where wells are few."""
    means, group_of = [], []
    for well in np.unique(wells):
        means.append(values[wells == well].mean(axis=0))
        group_of.append(groups[wells == well][0])
    table, labels = np.array(means, np.float64), np.array(group_of)
    centres = np.array([table[labels == name].mean(axis=0) for name in np.unique(labels)])
    spread = values.std(axis=0, dtype=np.float64)
    within = table - centres[np.searchsorted(np.unique(labels), labels)]
    noise = np.sqrt((within**2).mean(axis=0)) + 0.1 * spread  # two wells can agree by chance
    score: npt.NDArray[np.float64] = np.divide(
        centres.std(axis=0), noise, out=np.zeros(values.shape[1]), where=noise > 0
    )
    return score
