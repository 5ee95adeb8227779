"""What there is to know of one feature of a table: density, classes, plates. No pictures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.features.rank_sum import FloatColumn
from napari_bio_superposition.features.similarity import (
    column_of,
    find_feature,
    nearest_by_activity,
)


@dataclass(frozen=True, eq=False)
class FeaturePage:
    """One feature over all patches of a table.

    Parameters
    ----------
    feature, latent
        Name of the column and number of the latent.
    firing_rate, max_activation
        Share of tokens on which it is active, and its largest activation; nan where unknown.
    active_patches
        Share of patches in which it is active at all.
    histogram, edges
        Patches per bin of the mean activation, those with none left out; and the bins' edges.
    classes
        Per class: ``class``, ``mean``, ``low``, ``high`` (95 % of bootstrap samples of wells; nan
        with a single well), ``n_wells``, ``n_patches``.
    plate_effect
        Share of the variance between wells that plates explain, by chance 0 on average (adjusted
        R squared); nan without two plates.
    together
        Features that are active in the same patches; see `nearest_by_activity`.
    """

    feature: str
    latent: int
    firing_rate: float
    max_activation: float
    active_patches: float
    histogram: npt.NDArray[np.int64]
    edges: FloatColumn
    classes: pd.DataFrame
    plate_effect: float
    together: pd.DataFrame


def describe_feature(
    adata: AnnData,
    feature: str,
    *,
    groupby: str = Keys.GENOTYPE,
    n_bins: int = 40,
    n_bootstrap: int = 1000,
    rng: np.random.Generator | None = None,
) -> FeaturePage:
    """Collect what there is to know of a feature.

    Parameters
    ----------
    adata
        A feature table.
    feature
        Name of a column.
    groupby
        Column of ``obs`` with the classes.
    n_bins
        Bins of the histogram.
    n_bootstrap
        Samples behind the intervals.
    rng
        Draws them; seed 0 where omitted.

    Raises
    ------
    TableError
        Where there is no such feature or column.
    """
    find_feature(adata, feature)
    values = column_of(adata, feature)
    active = values[values > 0]
    histogram, edges = np.histogram(active, bins=n_bins, range=(0, active.max(initial=1e-12)))
    rng = rng or np.random.default_rng(0)
    return FeaturePage(
        feature=feature,
        latent=latent_of(feature),
        firing_rate=_statistic(adata, feature, Keys.FIRING_RATE),
        max_activation=_statistic(adata, feature, Keys.MAX_ACTIVATION),
        active_patches=float((values > 0).mean()) if len(values) else float("nan"),
        histogram=histogram,
        edges=edges,
        classes=class_means(adata, values, groupby, n_bootstrap=n_bootstrap, rng=rng),
        plate_effect=plate_effect(adata, values),
        together=nearest_by_activity(adata, feature),
    )


def class_means(
    adata: AnnData,
    values: FloatColumn,
    groupby: str,
    *,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the mean per class with an interval over wells; columns as in `FeaturePage`.

    Wells are drawn with replacement, each with the mean of its patches: patches of one well are no
    independent observations.
    """
    for column in (groupby, Keys.GROUP):
        if column not in adata.obs:
            raise TableError(
                f"The table has no column {column!r}. Choose one of: {list_choices(adata.obs)}."
            )
    frame = pd.DataFrame(
        {
            "class": adata.obs[groupby].astype(str).to_numpy(),
            "well": adata.obs[Keys.GROUP].astype(str).to_numpy(),
            "value": values,
        }
    )
    rows: list[dict[str, Any]] = []
    for name, part in frame.groupby("class", sort=True):
        wells = part.groupby("well")["value"].mean().to_numpy()
        low, high = _interval(wells, n_bootstrap, rng)
        rows.append(
            {
                "class": name,
                "mean": float(wells.mean()),
                "low": low,
                "high": high,
                "n_wells": len(wells),
                "n_patches": len(part),
            }
        )
    return pd.DataFrame(rows)


def plate_effect(adata: AnnData, values: FloatColumn) -> float:
    """Return the share of the variance between wells that plates explain; nan without two plates.

    Adjusted for the number of plates, so that it is 0 on average (and may be a little below) where
    plates mean nothing.
    """
    if Keys.PLATE not in adata.obs or Keys.GROUP not in adata.obs:
        return float("nan")
    frame = pd.DataFrame(
        {
            "plate": adata.obs[Keys.PLATE].astype(str).to_numpy(),
            "well": adata.obs[Keys.GROUP].astype(str).to_numpy(),
            "value": values,
        }
    )
    wells = frame.groupby(["plate", "well"])["value"].mean().reset_index()
    n_plates, n_wells = wells["plate"].nunique(), len(wells)
    total = float(((wells["value"] - wells["value"].mean()) ** 2).sum())
    if n_plates < 2 or n_wells <= n_plates or total == 0:
        return float("nan")
    within = wells["value"] - wells.groupby("plate")["value"].transform("mean")
    return float(1 - (within**2).sum() / total * (n_wells - 1) / (n_wells - n_plates))


def _interval(
    wells: FloatColumn, n_bootstrap: int, rng: np.random.Generator
) -> tuple[float, float]:
    if len(wells) < 2 or n_bootstrap < 1:
        return float("nan"), float("nan")
    means = wells[rng.integers(0, len(wells), (n_bootstrap, len(wells)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _statistic(adata: AnnData, feature: str, key: str) -> float:
    return float(adata.var.loc[feature, key]) if key in adata.var else float("nan")
