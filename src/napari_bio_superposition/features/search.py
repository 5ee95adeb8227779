"""Find features by what is known of them: density, class, fold change, correlation, name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.features.notes import NoteBook
from napari_bio_superposition.features.rank_sum import FloatColumn, column_means
from napari_bio_superposition.features.similarity import correlate_columns


@dataclass(frozen=True, kw_only=True)
class FeatureFilter:
    """Which features are shown, and in what order; what is empty restricts nothing."""

    text: str = ""
    """Part of the name, the note or the number."""

    min_firing_rate: Annotated[float, Range(0, 1)] = 0.0
    """Smallest density: share of tokens on which a feature is active."""

    max_firing_rate: Annotated[float, Range(0, 1)] = 1.0
    """Largest density."""

    top_class: str = ""
    """The class in which the mean activation is highest."""

    min_log2_fold_change: Annotated[float, Range(0, 100)] = 0.0
    """Smallest absolute log2 fold change, where groups were compared."""

    max_q: Annotated[float, Range(0, 1)] = 1.0
    """Largest q-value (of wells), where groups were compared."""

    correlates_with: str = ""
    """Column of the list with a correlation: death, or any that was asked for."""

    min_correlation: Annotated[float, Range(0, 1)] = 0.0
    """Smallest absolute correlation with that column."""

    named_list: str = ""
    """Only the features of this list of the notes."""

    sort_by: str = "mean_activation"
    """Column that decides the order."""

    ascending: bool = False
    """Smallest first."""

    def __post_init__(self) -> None:
        check_fields(self)


def list_features(
    adata: AnnData,
    *,
    groupby: str = Keys.GENOTYPE,
    correlate: Sequence[str] = (Keys.DEATH,),
    differential: pd.DataFrame | None = None,
    notes: NoteBook | None = None,
) -> pd.DataFrame:
    """Return what is known of every feature, one row each, to be searched and sorted.

    Parameters
    ----------
    adata
        A feature table.
    groupby
        Column of ``obs`` with the classes; left out where it is absent.
    correlate
        Columns of ``obs`` with numbers (absent ones are left out).
    differential
        From `compare_groups`, to be joined.
    notes
        Names and notes.

    Returns
    -------
    pandas.DataFrame
        ``feature``, ``latent``, ``name``, ``note``, ``firing_rate``, ``mean_activation``,
        ``max_activation``, ``active_patches``, ``top_class``, ``correlation_<column>`` (Pearson
        over patches), and the columns of *differential*.
    """
    notes = notes or NoteBook()
    latents = [latent_of(name) for name in adata.var_names]
    table = pd.DataFrame({"feature": adata.var_names.to_numpy(), "latent": latents})
    table["name"] = [notes.names.get(k, "") for k in latents]
    table["note"] = [notes.notes.get(k, "") for k in latents]
    for key in (Keys.FIRING_RATE, Keys.MEAN_ACTIVATION, Keys.MAX_ACTIVATION):
        if key in adata.var:
            table[key] = adata.var[key].to_numpy()
    table["active_patches"] = column_means(adata.X > 0)
    if groupby in adata.obs:
        table["top_class"] = _top_classes(adata, groupby)
    for name in correlate:
        if name in adata.obs:
            table[f"correlation_{name}"] = correlate_columns(adata.X, _numbers(adata, name))
    if differential is not None:
        table = table.merge(differential.drop(columns="latent"), on="feature", how="left")
    return table


def filter_features(
    table: pd.DataFrame, wanted: FeatureFilter, notes: NoteBook | None = None
) -> pd.DataFrame:
    """Return the features that fit a filter, sorted.

    Parameters
    ----------
    table
        From `list_features`.
    wanted
        The filter.
    notes
        Holds the named lists.

    Raises
    ------
    TableError
        Where a column or a list is missing.
    """
    kept = np.ones(len(table), bool)
    if wanted.text:
        kept &= _contains(table, wanted.text)
    if Keys.FIRING_RATE in table:
        kept &= table[Keys.FIRING_RATE].between(wanted.min_firing_rate, wanted.max_firing_rate)
    if wanted.top_class:
        kept &= _need(table, "top_class") == wanted.top_class
    if wanted.min_log2_fold_change > 0:
        kept &= _need(table, "log2_fold_change").abs() >= wanted.min_log2_fold_change
    if wanted.max_q < 1:
        kept &= _need(table, "q_well") <= wanted.max_q
    if wanted.correlates_with:
        correlation = _need(table, f"correlation_{wanted.correlates_with}")
        kept &= correlation.abs() >= wanted.min_correlation
    if wanted.named_list:
        kept &= table["latent"].isin((notes or NoteBook()).latents_of(wanted.named_list))
    _need(table, wanted.sort_by)
    found = table[kept].sort_values(wanted.sort_by, ascending=wanted.ascending, kind="stable")
    return found.reset_index(drop=True)


def write_list(table: pd.DataFrame, path: Path) -> Path:
    """Write features as CSV, whole or not at all."""
    with replaced_file(path) as part:
        table.to_csv(part, index=False)
    return path


def _need(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        raise TableError(
            f"The list of features has no column {column!r}; it has {list_choices(table.columns)}. "
            "Compare two groups first, or choose one of these."
        )
    return table[column]


def _contains(table: pd.DataFrame, text: str) -> pd.Series:
    columns = [table[name].astype(str) for name in ("feature", "name", "note")]
    found = [column.str.contains(text, case=False, regex=False) for column in columns]
    return found[0] | found[1] | found[2]


def _top_classes(adata: AnnData, groupby: str) -> list[str]:
    """Return the class with the highest mean per feature; empty where it never fires."""
    classes = adata.obs[groupby].astype(str).to_numpy()
    names = np.unique(classes)
    means = np.stack([column_means(adata.X[np.flatnonzero(classes == name)]) for name in names])
    top = names[means.argmax(axis=0)]
    fires = means.max(axis=0) > 0
    return [str(name) for name in np.where(fires, top, "")]


def _numbers(adata: AnnData, name: str) -> FloatColumn:
    values: FloatColumn = pd.to_numeric(adata.obs[name], errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise TableError(
            f"The column {name!r} holds no numbers. Choose one such as {Keys.DEATH!r}."
        )
    return values
