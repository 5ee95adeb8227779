"""Which features differ between two groups of patches, in wells and in patches. No plots."""

import math
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import Job, Progress, run
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.features.differential_config import DifferentialConfig, Level
from napari_bio_superposition.features.rank_sum import (
    FloatColumn,
    adjust_p,
    column_means,
    rank_sum_p,
    rank_sums,
    unit_means,
)

_DISPLAY_CAP: Final = 50.0
_COLUMNS_AT_ONCE: Final = 64
"""Between two reports of a comparison: of 100,000 patches, a second or two."""


@dataclass(frozen=True, eq=False)
class GroupPair:
    """Two disjoint groups of patches, and the well of each patch."""

    first: BoolArray
    second: BoolArray
    unit: npt.NDArray[Any]

    @property
    def wells(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Names of the wells of the two groups."""
        return np.unique(self.unit[self.first]), np.unique(self.unit[self.second])

    def warning(self) -> str:
        """Return what to keep in mind, in words; empty where nothing."""
        in_first, in_second = self.wells
        if min(len(in_first), len(in_second)) < 2:
            return (
                f"{len(in_first)} and {len(in_second)} wells: without a second well a "
                "difference between classes cannot be told from one between wells."
            )
        words = []
        smallest = 2 / math.comb(len(in_first) + len(in_second), len(in_first))
        if smallest > 0.01:
            words.append(
                f"With {len(in_first)} and {len(in_second)} wells no p-value can be below "
                f"{smallest:.2g}."
            )
        if np.intersect1d(in_first, in_second).size:
            words.append(
                "Some wells hold both classes; the test takes their halves as independent."
            )
        return " ".join(words)


def compare_groups(
    adata: AnnData,
    first: BoolArray,
    second: BoolArray | None = None,
    config: DifferentialConfig | None = None,
) -> pd.DataFrame:
    """Compare every feature between two groups of patches: genotypes, ROIs, selections.

    Parameters
    ----------
    adata
        A feature table.
    first, second
        Rows of the groups, ``(n,)``; all rows outside of the first where *second* is ``None``.
    config
        Settings; the defaults where omitted.

    Returns
    -------
    pandas.DataFrame
        Largest effect first: ``feature``, ``latent`` (number of the CNN channel for ``cnn``);
        ``auroc`` (chance that a patch of the first group is above one of the second, ties half;
        0.5 is none); ``log2_fold_change`` of the means; ``mean_first``, ``mean_second``;
        ``p_well``, ``q_well`` (two-sided rank-sum test of the means per well, exact for few wells,
        nan with a single one); ``p_patch``, ``q_patch`` (the same over patches, which takes them
        as independent); ``significant``; ``n_wells``, ``n_wells_second``, ``n_patches``,
        ``n_patches_second``; ``warning``. q-values are Benjamini-Hochberg over features.

    Raises
    ------
    TableError
        Where a group is empty, the groups overlap, or the table lacks a column.

    Notes
    -----
    Section 10 of the method specification, with its choices [Y].
    """
    return run(follow_comparison(adata, first, second, config))


def follow_comparison(
    adata: AnnData,
    first: BoolArray,
    second: BoolArray | None = None,
    config: DifferentialConfig | None = None,
) -> Job[pd.DataFrame]:
    """Do what `compare_groups` does as a job, with progress by features."""
    config = config or DifferentialConfig()
    pair = _check_groups(adata, first, second, config.unit)
    values, names = _choose_values(adata, config)
    table = yield from _compare_columns(values, pair, config.pseudocount)
    table.insert(0, "feature", names)
    table.insert(1, "latent", _numbers(names))
    q_value, fold = table[f"q_{config.level}"], table["log2_fold_change"].abs()
    table["significant"] = (q_value <= config.max_q) & (fold >= config.min_log2_fold_change)
    order = np.argsort(-(table["auroc"] - 0.5).abs(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def compare_values(values: Any, pair: GroupPair, pseudocount: float | None) -> pd.DataFrame:
    """Compare the columns of a matrix between two groups of its rows.

    Returns
    -------
    pandas.DataFrame
        One row per column, in their order; the columns of `compare_groups` from ``auroc`` on,
        without ``significant``.
    """
    return run(_compare_columns(values, pair, pseudocount))


def _compare_columns(values: Any, pair: GroupPair, pseudocount: float | None) -> Job[pd.DataFrame]:
    if pseudocount is None:
        pseudocount = choose_pseudocount(values)
    parts, n_columns = [], values.shape[1]
    for start in range(0, n_columns, _COLUMNS_AT_ONCE):
        yield Progress("Comparing features", start, n_columns, "features")
        parts.append(_measure(values[:, start : start + _COLUMNS_AT_ONCE], pair, pseudocount))
    table = pd.concat(parts, ignore_index=True) if parts else _measure(values, pair, pseudocount)
    for level in get_args(Level):
        place = int(table.columns.get_indexer([f"p_{level}"])[0]) + 1
        table.insert(place, f"q_{level}", adjust_p(table[f"p_{level}"].to_numpy()))
    in_first, in_second = pair.wells
    return table.assign(
        n_wells=len(in_first),
        n_wells_second=len(in_second),
        n_patches=int(pair.first.sum()),
        n_patches_second=int(pair.second.sum()),
        warning=pair.warning(),
    )


def _measure(values: Any, pair: GroupPair, pseudocount: float) -> pd.DataFrame:
    """Return effects and p-values of some columns."""
    compared = np.flatnonzero(pair.first | pair.second)
    ranked = rank_sums(values[compared], pair.first[compared])
    means = [column_means(values[np.flatnonzero(group)]) for group in (pair.first, pair.second)]
    p_well = rank_sum_p(
        unit_means(values, pair.unit, pair.first), unit_means(values, pair.unit, pair.second)
    )
    return pd.DataFrame(
        {
            "auroc": ranked.auroc,
            "log2_fold_change": np.log2((means[0] + pseudocount) / (means[1] + pseudocount)),
            "mean_first": means[0],
            "mean_second": means[1],
            "p_well": p_well,
            "p_patch": ranked.p_value,
        }
    )


def choose_pseudocount(values: Any) -> float:
    """Return a tenth of the median mean of all columns that are not silent; 1 without any."""
    means = column_means(values)
    positive = means[means > 0]
    return 0.1 * float(np.median(positive)) if positive.size else 1.0


def volcano(differential: pd.DataFrame, level: Level = "well") -> pd.DataFrame:
    """Return what a volcano plot of a comparison shows.

    Parameters
    ----------
    differential
        From `compare_groups`.
    level
        Whose p-values are the height.

    Returns
    -------
    pandas.DataFrame
        ``feature``, ``latent``, ``x`` (log2 fold change), ``y`` (-log10 p, at most 50; 0 where
        there is no p-value) and ``significant``.
    """
    if level not in get_args(Level):
        raise TableError(f"No level {level!r}. Choose one of: {list_choices(get_args(Level))}.")
    p_value = differential[f"p_{level}"].fillna(1.0).to_numpy(float)
    height = -np.log10(np.maximum(p_value, 10.0**-_DISPLAY_CAP))
    return pd.DataFrame(
        {
            "feature": differential["feature"],
            "latent": differential["latent"],
            "x": differential["log2_fold_change"],
            "y": np.abs(height),  # no minus zero
            "significant": differential["significant"],
        }
    )


def _check_groups(
    adata: AnnData, first: BoolArray, second: BoolArray | None, unit: str
) -> GroupPair:
    first = np.asarray(first, dtype=bool)
    second = ~first if second is None else np.asarray(second, dtype=bool)
    if unit not in adata.obs:
        raise TableError(
            f"The table has no column {unit!r}. Choose one of: {list_choices(adata.obs)}."
        )
    if first.shape != (adata.n_obs,) or second.shape != (adata.n_obs,):
        raise TableError(
            f"The groups have {first.shape} and {second.shape} entries, the table has "
            f"{adata.n_obs} patches. Make the groups from this table."
        )
    for group, name in ((first, "first"), (second, "second")):
        if not group.any():
            raise TableError(
                f"The {name} group holds no patch of the table. Select some patches, or choose "
                "another class."
            )
    if n_both := int((first & second).sum()):
        raise TableError(
            f"{n_both} patches are in both groups. Take them out of one of the groups."
        )
    return GroupPair(first, second, adata.obs[unit].astype(str).to_numpy())


def _choose_values(adata: AnnData, config: DifferentialConfig) -> tuple[Any, list[str]]:
    if config.values == "sae":
        alive = (adata.var[Keys.FIRING_RATE] >= config.min_firing_rate).to_numpy()
        return adata.X[:, np.flatnonzero(alive)], adata.var_names[alive].tolist()
    if Keys.CNN not in adata.obsm:
        raise TableError(
            f"The table holds no CNN channels (obsm[{Keys.CNN!r}]). Compare the SAE features, or "
            "analyse the images with this version."
        )
    cnn: FloatColumn = np.abs(np.asarray(adata.obsm[Keys.CNN]))
    return cnn, [f"channel_{k:05d}" for k in range(cnn.shape[1])]


def _numbers(names: list[str]) -> list[int]:
    return [latent_of(name.replace("channel_", "latent_")) for name in names]
