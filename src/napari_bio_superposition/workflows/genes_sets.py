"""Gene sets of the user: which lists of genes they are tested on. No statistics, no figures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from napari_bio_superposition.alignment.genes_enrichment import (
    enrich,
    index_sets,
    number_genes,
    parse_gene_sets,
)
from napari_bio_superposition.alignment.genes_landscape import Landscape
from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.workflows.genes_result import find_genes, strictest

GeneSets = Mapping[str, frozenset[str]]
FOUND_IN, CLUSTER = "found in", "top cluster"
"""Kinds of lists: the genes found in a class, a cluster of the landscape's top genes."""


def read_gene_sets(path: str, genes: Sequence[str]) -> GeneSets | None:
    """Return the sets of a GMT file; ``None`` where no file is named.

    Raises
    ------
    TableError
        Where the file cannot be read, or no set has five of the tested *genes*.
    """
    if not path:
        return None
    file = Path(path)
    try:
        sets = parse_gene_sets(file.read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"The gene sets {file.name} cannot be read: {error}.") from error
    index_sets(sets, number_genes(genes))
    return sets


def enrich_lists(
    sets: GeneSets | None,
    table: pd.DataFrame,
    landscape: Landscape | None,
    *,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Test sets on the genes found in each class, and on each cluster of the top genes.

    Parameters
    ----------
    sets
        Name to genes.
    table
        One row per gene and class; see `GenesResult`.
    landscape
        Clusters of the top genes, by the finest resolution.
    rng
        Draws lists of like expression.

    Returns
    -------
    table
        One row per list and set: ``list`` and what `enrich` returns; ``None`` where there is no
        list.
    notes
        What the user should know.
    """
    if sets is None:
        return None, ()
    parts: list[pd.DataFrame] = []
    notes: tuple[str, ...] = ()
    column, words = strictest(table)
    groups = table.groupby("class")
    empty = [str(name) for name, rows in groups if not find_genes(rows, column)]
    if empty:
        notes = (f"No gene was found {words} in {list_choices(empty)}: no gene sets there.",)
    level = table.groupby("gene", sort=False)["log_mean"].mean()
    tested = level.index.astype(str).tolist()
    for name, genes in _lists(table, landscape):
        part = enrich(genes, tested, sets, level.to_dict(), rng=rng).reset_index()
        part.insert(0, "list", name)
        parts.append(part)
    return (pd.concat(parts, ignore_index=True) if parts else None), notes


def _lists(table: pd.DataFrame, landscape: Landscape | None) -> Iterator[tuple[str, list[str]]]:
    column, _ = strictest(table)
    for name, rows in table.groupby("class"):
        found = find_genes(rows, column)
        if found:
            yield f"{FOUND_IN} {name}", found
    if landscape is None:
        return
    finest = landscape.top[landscape.top.columns[-1]]
    for cluster in sorted(finest.unique()):
        yield f"{CLUSTER} {cluster}", finest.index[finest == cluster].astype(str).tolist()
