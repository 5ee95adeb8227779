"""Over-representation of gene sets, offline, against the tested genes and matched random sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom

from napari_bio_superposition.core.errors import TableError, list_choices

Vector = npt.NDArray[Any]
_N_BINS = 20
_N_MATCHED = 500
_MIN_SIZE = 5
"""Tested genes that a set needs."""


def parse_gene_sets(text: str, name: str = "the GMT file") -> dict[str, frozenset[str]]:
    """Return the gene sets of a GMT text: per line a name, a description, and genes, by tabs.

    Raises
    ------
    TableError
        Where a line has no genes, a name repeats, or there is no set at all.
    """
    sets: dict[str, frozenset[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        title, *rest = line.rstrip("\n").split("\t")
        genes = frozenset(gene.strip() for gene in rest[1:] if gene.strip())
        if not genes:
            raise TableError(
                f"Line {number} of {name} holds no genes. A line of a GMT file is: name, "
                "description, genes, separated by tabs."
            )
        if title in sets:
            raise TableError(f"The set {title!r} is in {name} more than once. Keep one.")
        sets[title] = genes
    if not sets:
        raise TableError(f"{name} holds no gene set.")
    return sets


def enrich(
    genes: Sequence[str],
    background: Sequence[str],
    sets: Mapping[str, frozenset[str]],
    level: Mapping[str, float] | None = None,
    *,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Test which sets hold more of *genes* than chance, and than genes of like expression.

    Parameters
    ----------
    genes
        For instance a cluster, or those of q < 0.05; all of them tested genes.
    background
        All tested genes: what could have been found.
    sets
        Name to genes; upper and lower case count alike.
    level
        Gene to mean expression; makes the matched null.
    rng
        Draws the matched lists: 500, with as many genes of each of twenty levels of expression.

    Returns
    -------
    pandas.DataFrame
        One row per set by p: ``overlap``, ``size`` (of the set, among tested genes), ``expected``,
        ``odds``, ``p`` (one-sided Fisher), ``q`` (BH), ``p_matched``, ``genes``.

    Raises
    ------
    TableError
        Where a gene was not tested, or no set has enough tested genes.
    """
    spelled = {gene.upper(): gene for gene in reversed(background)}
    tested = number_genes(background)
    chosen = _mark(genes, tested)
    background = [spelled[name] for name in tested]
    names, members = index_sets(sets, tested)
    counted = members.astype(np.int64)  # booleans would be joined by `or`, not added
    overlap = counted @ chosen
    size, n_chosen, n_all = members.sum(axis=1), int(chosen.sum()), len(tested)
    p = hypergeom.sf(overlap - 1, n_all, size, n_chosen)
    result = pd.DataFrame(
        {
            "overlap": overlap,
            "size": size,
            "expected": size * n_chosen / n_all,
            "odds": _odds(overlap, size, n_chosen, n_all),
            "p": p,
            "q": false_discovery_control(p),
            "p_matched": np.nan,
            "genes": [_list_genes(row & chosen, background) for row in members],
        },
        index=pd.Index(names, name="set"),
    )
    if level is not None:
        values = np.array([level[gene] for gene in background])
        result["p_matched"] = _match(counted, chosen, values, rng)
    return result.sort_values("p")


def _mark(genes: Sequence[str], tested: Mapping[str, int]) -> npt.NDArray[np.bool_]:
    unknown = sorted({gene.upper() for gene in genes} - set(tested))
    if unknown:
        raise TableError(f"{list_choices(unknown[:5])} were not tested. Give tested genes only.")
    chosen = np.zeros(len(tested), dtype=bool)
    chosen[[tested[gene.upper()] for gene in genes]] = True
    return chosen


def _match(
    members: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_],
    level: Vector,
    rng: np.random.Generator,
) -> Vector:
    """Return the share of lists of like expression that hold as many genes of each set."""
    drawn = draw_matched(chosen, level, _N_MATCHED, rng=rng)
    reached = (members @ drawn.T >= (members @ chosen)[:, None]).sum(axis=1)
    return np.asarray((1 + reached) / (_N_MATCHED + 1))


def draw_matched(
    chosen: npt.NDArray[np.bool_], level: Vector, number: int, *, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return random gene lists with as many genes of every level as *chosen*, ``(number, n)``."""
    edges = np.quantile(level, np.linspace(0, 1, _N_BINS + 1)[1:-1])
    bins = np.digitize(level, edges)
    drawn = np.zeros((number, len(level)), dtype=bool)
    for value in np.unique(bins[chosen]):
        members = np.flatnonzero(bins == value)
        wanted = int(chosen[members].sum())
        for row in drawn:
            row[rng.choice(members, wanted, replace=False)] = True
    return drawn


def number_genes(genes: Sequence[str]) -> dict[str, int]:
    """Return each gene in upper case and its position among them; upper and lower case are one."""
    return {name: place for place, name in enumerate(dict.fromkeys(map(str.upper, genes)))}


def index_sets(
    sets: Mapping[str, frozenset[str]], tested: Mapping[str, int]
) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Return the sets with enough tested genes, and their members, ``(n_sets, n_tested)``.

    Parameters
    ----------
    sets
        Name to genes.
    tested
        From `number_genes`.

    Raises
    ------
    TableError
        Where no set has five tested genes.
    """
    names, rows = [], []
    for name, genes in sets.items():
        found = list({tested[gene.upper()] for gene in genes if gene.upper() in tested})
        if len(found) < _MIN_SIZE:
            continue
        row = np.zeros(len(tested), dtype=bool)
        row[found] = True
        names.append(name)
        rows.append(row)
    if not rows:
        raise TableError(
            f"None of {len(sets)} gene sets has {_MIN_SIZE} tested genes. Are its names of the "
            "same kind (symbols) and species as those of the RNA?"
        )
    return names, np.stack(rows)


def _odds(overlap: Vector, size: Vector, n_chosen: int, n_all: int) -> Vector:
    """Return odds ratios with half a gene added to each cell, finite everywhere."""
    a, b, c = overlap, n_chosen - overlap, size - overlap
    d = n_all - n_chosen - c
    return np.asarray((a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5)))


def _list_genes(members: npt.NDArray[np.bool_], background: Sequence[str]) -> str:
    return ", ".join(background[position] for position in np.flatnonzero(members).tolist())
