"""Which technical batches scVI may remove without removing the genotype. No computing beyond it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.transcriptome.config import LatentConfig

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True, eq=False)
class Batch:
    """The batch of each cell, and why it is this one.

    Parameters
    ----------
    values
        One per cell; ``None`` where nothing is removed.
    columns
        Columns of obs that it is made of.
    note
        What the user should know.
    """

    values: "pd.Series[str] | None"
    columns: tuple[str, ...]
    note: str


def choose_batch(table: "anndata.AnnData", config: LatentConfig) -> Batch:
    """Return the batch whose effects scVI removes.

    ``technical`` joins the batch columns that exist; where every batch has one genotype only, which
    would ask scVI to remove the genotype, the last columns are left out until it does not.
    ``paper`` is genotype x subclone, as published (method specification, section 16.1).

    Raises
    ------
    TableError
        Where ``paper`` is asked for and a column is missing.
    """
    obs = table.obs
    if config.batch == "none":
        return Batch(None, (), "scVI removes no batch (--latent.batch none).")
    if config.batch == "paper":
        columns = (config.genotype_key, config.subclone_key)
        absent = [column for column in columns if column not in obs]
        if absent:
            raise TableError(
                f"--latent.batch paper needs the column {list_choices(absent)} in obs; there are "
                f"{list_choices(obs.columns)}. Give them with --samples TABLE.csv."
            )
        return Batch(
            _cross(obs, columns),
            columns,
            "The batch holds the genotype, as in the paper: scVI is asked to remove what label "
            "transfer looks for afterwards.",
        )
    return _choose_technical(obs, config)


def gives_away(batch: "pd.Series[str]", genotype: "pd.Series[str]") -> bool:
    """Whether every batch has cells of one genotype only, though there are several."""
    per_batch = genotype.groupby(batch.to_numpy()).nunique()
    return bool(genotype.nunique() > 1 and (per_batch <= 1).all())


def _choose_technical(obs: pd.DataFrame, config: LatentConfig) -> Batch:
    columns = [column for column in config.batch_columns if column in obs]
    left_out: list[str] = []
    genotype = obs[config.genotype_key].astype(str) if config.genotype_key in obs else None
    while columns:
        batch = _cross(obs, tuple(columns))
        if genotype is None or not gives_away(batch, genotype):
            break
        left_out.insert(0, columns.pop())
    note = ""
    if left_out:
        note = (
            f"Each {' x '.join([*columns, *left_out])} has one {config.genotype_key} only, so "
            f"{list_choices(left_out)} is not removed: it cannot be told from the genotype."
        )
    if not columns:
        return Batch(None, (), note or "There is no batch column, so scVI removes none.")
    return Batch(_cross(obs, tuple(columns)), tuple(columns), note)


def _cross(obs: pd.DataFrame, columns: tuple[str, ...]) -> "pd.Series[str]":
    joined = obs[columns[0]].astype(str)
    for column in columns[1:]:
        joined = joined + " x " + obs[column].astype(str)
    return joined
