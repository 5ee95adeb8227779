"""Which features are strong, and which tell classes apart, counted in wells. No plots."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.features.differential import (
    GroupPair,
    choose_pseudocount,
    compare_values,
)
from napari_bio_superposition.features.differential_config import ALIVE
from napari_bio_superposition.features.rank_sum import column_means, dense


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
    mean, overall = column_means(values), column_means(adata.X)
    active = column_means(values > 0)
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
    activation = dense(adata.X[:, [adata.var_names.get_loc(feature)]]).ravel()
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
    pseudocount = choose_pseudocount(alive.X) if pseudocount is None else pseudocount
    unit_names = adata.obs[unit].astype(str).to_numpy()
    parts = []
    for name in _list_classes(classes):
        if name == reference:
            continue
        is_class = classes == name
        is_reference = (classes != "") & ~is_class if reference is None else classes == reference
        part = _compare(alive, GroupPair(is_class, is_reference, unit_names), pseudocount)
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


def _compare(adata: AnnData, groups: GroupPair, pseudocount: float) -> pd.DataFrame:
    """Return the comparison of a class in the columns that `rank_class_features` promises."""
    table = compare_values(adata.X, groups, pseudocount)
    table = table.drop(columns=["p_patch", "q_patch"]).rename(
        columns={
            "mean_first": "mean_class",
            "mean_second": "mean_reference",
            "p_well": "p_value",
            "q_well": "q_value",
            "n_wells_second": "n_wells_reference",
            "n_patches_second": "n_patches_reference",
        }
    )
    table.insert(0, "feature", adata.var_names.to_numpy())
    table.insert(1, "latent", [latent_of(name) for name in adata.var_names])
    order = np.argsort(-(table["auroc"] - 0.5).abs(), kind="stable")
    return table.iloc[order]
