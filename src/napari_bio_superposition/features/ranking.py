"""Which features are strong, and which tell classes apart, counted in wells. No plots."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse, stats

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.types import BoolArray

ALIVE: Final = 1e-5
"""Firing rate from which a feature counts as alive (section 7.4 of the method specification)."""
_MAX_ARRANGEMENTS: Final = 20_000
"""Up to here all ways to deal out wells to classes are tried; beyond, a normal law serves."""
_CHUNK: Final = 512
_FloatColumn = npt.NDArray[np.float64]


def rank_by_activation(
    adata: AnnData, chosen: BoolArray | None = None, *, n_top: int | None = None
) -> pd.DataFrame:
    """Rank features by their mean activation, over all patches or some of them.

    Parameters
    ----------
    adata
        A feature table.
    chosen
        Which patches count, ``(n,)``; all where ``None``.
    n_top
        How many features are returned; all where ``None``.

    Returns
    -------
    pandas.DataFrame
        Strongest first: ``feature``, ``latent``, ``mean_activation`` over the chosen patches,
        ``active_patches`` (the share of them where it is active at all), and ``enrichment``, the
        mean over the chosen patches divided by that over all (nan where it never fires).
    """
    values = adata.X if chosen is None else adata.X[np.flatnonzero(chosen)]
    mean, overall = _column_means(values), _column_means(adata.X)
    active = _column_means(values > 0)
    enrichment = np.divide(mean, overall, out=np.full(len(mean), np.nan), where=overall > 0)
    order = np.argsort(-mean, kind="stable")[:n_top]
    return pd.DataFrame(
        {
            "feature": adata.var_names[order],
            "latent": [latent_of(name) for name in adata.var_names[order]],
            "mean_activation": mean[order],
            "active_patches": active[order],
            "enrichment": enrichment[order],
        }
    )


def top_patches(adata: AnnData, feature: str, *, n_top: int = 20) -> pd.DataFrame:
    """Return the patches where a feature is strongest, over all classes.

    Returns
    -------
    pandas.DataFrame
        Strongest first, index the patch id: the identity of the patch and ``activation``.
    """
    if feature not in adata.var_names:
        raise TableError(
            f"There is no feature {feature!r} among {adata.n_vars}. Choose one such as "
            f"{list_choices(adata.var_names[:3])}."
        )
    column = adata.X[:, adata.var_names.get_loc(feature)]
    activation = np.asarray(column.todense() if sparse.issparse(column) else column).ravel()
    order = np.argsort(-activation, kind="stable")[:n_top]
    shown = [Keys.IMAGE, Keys.GROUP, Keys.Y, Keys.X]
    return adata.obs.iloc[order][shown].assign(activation=activation[order])


def rank_class_features(
    adata: AnnData,
    groupby: str = Keys.GENOTYPE,
    reference: str | None = None,
    *,
    unit: str = Keys.GROUP,
    min_firing_rate: float = ALIVE,
    pseudocount: float | None = None,
) -> pd.DataFrame:
    """Rank features by how well they tell each class from a reference.

    The test counts wells, not patches: a thousand patches of one well are one observation. The
    effect size counts patches and is no test.

    Parameters
    ----------
    adata
        A feature table.
    groupby
        Column of ``obs`` with the classes; patches where it is empty are left out.
    reference
        The class to compare with; all other patches where ``None``.
    unit
        Column of ``obs`` with the unit of inference.
    min_firing_rate
        Features that fire less often are left out.
    pseudocount
        Added to both means before their ratio; a tenth of the median mean activation of all
        features where ``None``, so that features that are next to silent in both classes do not
        top the list.

    Returns
    -------
    pandas.DataFrame
        Per class the features with the largest effect first: ``class``, ``reference``,
        ``feature``, ``latent``; ``auroc`` (chance that a patch of the class is above one of the
        reference, ties half; 0.5 is none); ``log2_fold_change`` of the means; ``mean_class``,
        ``mean_reference``; ``p_value`` (two-sided rank-sum test of the means per well, exact for
        few wells, nan with a single well); ``q_value`` (Benjamini-Hochberg over features);
        ``n_wells``, ``n_wells_reference``, ``n_patches``, ``n_patches_reference``; ``warning``,
        what to keep in mind of this comparison.

    Raises
    ------
    TableError
        Where a column or the reference is missing, or there is only one class.

    Notes
    -----
    Section 10 of the method specification, with its choices [Y].
    """
    classes = _read_classes(adata, groupby, reference, unit)
    alive = adata[:, (adata.var[Keys.FIRING_RATE] >= min_firing_rate).to_numpy()]
    means = _column_means(alive.X)
    if pseudocount is None:
        positive = means[means > 0]
        pseudocount = 0.1 * float(np.median(positive)) if positive.size else 1.0
    unit_names = adata.obs[unit].astype(str).to_numpy()
    parts = []
    for name in _list_classes(classes):
        if name == reference:
            continue
        is_class = classes == name
        is_reference = (classes != "") & ~is_class if reference is None else classes == reference
        part = _compare(alive, _Comparison(is_class, is_reference, unit_names), pseudocount)
        part.insert(0, "class", name)
        part.insert(1, "reference", reference or "rest")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _read_classes(
    adata: AnnData, groupby: str, reference: str | None, unit: str
) -> npt.NDArray[np.str_]:
    """Return the class of each patch, empty where it is not known."""
    for column in (groupby, unit):
        if column not in adata.obs:
            raise TableError(
                f"The table has no column {column!r}. Choose one of: {list_choices(adata.obs)}."
            )
    column = adata.obs[groupby].astype(object)
    classes: npt.NDArray[np.str_] = column.where(column.notna(), "").map(str).to_numpy(dtype=str)
    names = _list_classes(classes)
    if len(names) < 2:
        raise TableError(
            f"The column {groupby!r} holds {list_choices(names)}: there are no two classes to "
            "compare. Choose another column, or analyse images of several classes."
        )
    if reference is not None and reference not in names:
        raise TableError(
            f"There is no class {reference!r} in {groupby!r}. Choose one of: {list_choices(names)}."
        )
    return classes


def _list_classes(classes: npt.NDArray[np.str_]) -> list[str]:
    return [name for name in np.unique(classes).tolist() if name]


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Which patches are compared, and the well of each."""

    is_class: BoolArray
    is_reference: BoolArray
    unit: npt.NDArray[Any]

    @property
    def wells(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Names of the wells of the class and of the reference."""
        return np.unique(self.unit[self.is_class]), np.unique(self.unit[self.is_reference])

    def warning(self) -> str:
        """Return what to keep in mind, in words; empty where nothing."""
        in_class, in_reference = self.wells
        if min(len(in_class), len(in_reference)) < 2:
            return (
                f"{len(in_class)} and {len(in_reference)} wells: without a second well a "
                "difference between classes cannot be told from one between wells."
            )
        words = []
        smallest = 2 / math.comb(len(in_class) + len(in_reference), len(in_class))
        if smallest > 0.01:
            words.append(
                f"With {len(in_class)} and {len(in_reference)} wells no p-value can be below "
                f"{smallest:.2g}."
            )
        if np.intersect1d(in_class, in_reference).size:
            words.append(
                "Some wells hold both classes; the test takes their halves as independent."
            )
        return " ".join(words)


def _compare(adata: AnnData, groups: _Comparison, pseudocount: float) -> pd.DataFrame:
    in_class, in_reference = groups.wells
    well_means = [
        _well_means(adata.X, groups.unit, chosen)
        for chosen in (groups.is_class, groups.is_reference)
    ]
    mean_class = _column_means(adata.X[np.flatnonzero(groups.is_class)])
    mean_reference = _column_means(adata.X[np.flatnonzero(groups.is_reference)])
    p_value = rank_sum_p(*well_means)
    table = pd.DataFrame(
        {
            "feature": adata.var_names.to_numpy(),
            "latent": [latent_of(name) for name in adata.var_names],
            "auroc": _auroc(adata.X, groups),
            "log2_fold_change": np.log2(
                (mean_class + pseudocount) / (mean_reference + pseudocount)
            ),
            "mean_class": mean_class,
            "mean_reference": mean_reference,
            "p_value": p_value,
            "q_value": _adjust(p_value),
        }
    ).assign(
        n_wells=len(in_class),
        n_wells_reference=len(in_reference),
        n_patches=int(groups.is_class.sum()),
        n_patches_reference=int(groups.is_reference.sum()),
        warning=groups.warning(),
    )
    order = np.argsort(-(table["auroc"] - 0.5).abs(), kind="stable")
    return table.iloc[order]


def _auroc(values: Any, groups: _Comparison) -> _FloatColumn:
    """Return per feature the chance that a patch of the class is above one of the reference."""
    compared = np.flatnonzero(groups.is_class | groups.is_reference)
    is_class = groups.is_class[compared]
    n_class, n_reference = int(is_class.sum()), int((~is_class).sum())
    auroc = np.empty(values.shape[1])
    for start in range(0, values.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        ranks = stats.rankdata(_dense(values[compared, chunk]), axis=0)
        above = ranks[is_class].sum(axis=0) - n_class * (n_class + 1) / 2
        auroc[chunk] = above / (n_class * n_reference)
    return auroc


def _well_means(values: Any, unit: npt.NDArray[Any], chosen: BoolArray) -> _FloatColumn:
    """Return the mean activation per well, ``(n_wells, n_features)``."""
    rows = np.flatnonzero(chosen)
    _, well = np.unique(unit[rows], return_inverse=True)
    share = 1 / np.bincount(well)
    average = sparse.csr_matrix((share[well], (well, np.arange(len(rows)))))
    return np.asarray(_dense(average @ values[rows]), dtype=np.float64)


def rank_sum_p(first: _FloatColumn, second: _FloatColumn) -> _FloatColumn:
    """Return the two-sided p-value of the rank-sum test, column by column.

    Exact, ties included, as long as all arrangements of the rows can be tried; otherwise by the
    normal approximation with correction for ties and continuity.

    Parameters
    ----------
    first, second
        One row per well, ``(n_1, n_features)`` and ``(n_2, n_features)``.

    Returns
    -------
    numpy.ndarray
        ``(n_features,)``; nan where a class has a single well; 1 where nothing varies.
    """
    n_first, n_second = len(first), len(second)
    if min(n_first, n_second) < 2:
        return np.full(first.shape[1], np.nan)
    n_arrangements = math.comb(n_first + n_second, n_first)
    both = np.concatenate([first, second])
    if n_arrangements > _MAX_ARRANGEMENTS:
        p_value = stats.mannwhitneyu(first, second, axis=0, method="asymptotic").pvalue
        return np.where(np.ptp(both, axis=0) == 0, 1.0, p_value)
    # Doubled mid-ranks are whole numbers, so that sums can be compared without rounding.
    ranks = np.rint(2 * stats.rankdata(both, axis=0))
    expected = n_first * (len(both) + 1)
    observed = np.abs(ranks[:n_first].sum(axis=0) - expected)
    arrangements = np.zeros((n_arrangements, len(both)))
    for row, members in enumerate(itertools.combinations(range(len(both)), n_first)):
        arrangements[row, list(members)] = 1
    p_value = np.empty(first.shape[1])
    for start in range(0, len(p_value), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        possible = np.abs(arrangements @ ranks[:, chunk] - expected)
        p_value[chunk] = (possible >= observed[chunk]).mean(axis=0)
    return p_value


def _adjust(p_value: _FloatColumn) -> _FloatColumn:
    """Return q-values by Benjamini and Hochberg; nan stays nan."""
    q_value = np.full(len(p_value), np.nan)
    known = ~np.isnan(p_value)
    if known.any():
        q_value[known] = stats.false_discovery_control(p_value[known])
    return q_value


def _column_means(values: Any) -> _FloatColumn:
    if values.shape[0] == 0:
        return np.zeros(values.shape[1])
    return np.asarray(values.mean(axis=0, dtype=np.float64)).ravel()


def _dense(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.toarray() if sparse.issparse(values) else values)
