"""Is this a matrix of raw counts? One clear error for each way in which it is not. No files."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices

LOG_AT_MOST = 25.0
"""Log counts stay below this: exp(25) counts are in no cell."""
_SAMPLE_ROWS = 500


def take_counts(table: Any, layer: str, name: str) -> tuple[sparse.csr_matrix, tuple[str, ...]]:
    """Return the raw counts of an AnnData table as CSR of whole numbers, and notes.

    Parameters
    ----------
    table
        An `anndata.AnnData`.
    layer
        Layer with the counts; where empty ``counts`` if there is one, else ``X``.
    name
        Of the file, for messages.

    Raises
    ------
    TableError
        Where the table is empty, the layer is missing, or the values are no raw counts.
    """
    if table.n_obs == 0 or table.n_vars == 0:
        raise TableError(
            f"{name} is empty: {table.n_obs} cells x {table.n_vars} genes. Give a filtered count "
            "matrix with cells in it."
        )
    _check_names(table, name)
    matrix, source = _find(table, layer, name)
    counts = sparse.csr_matrix(matrix)
    _check_values(counts, name, table, source)
    return _as_whole(counts, name, table, source)


def _check_names(table: Any, name: str) -> None:
    for names, what in ((table.obs_names, "cell names"), (table.var_names, "gene names")):
        if names.has_duplicates:
            raise repeated_names(names, what, name)


def repeated_names(names: Any, what: str, file: str) -> TableError:
    """Return the error that says which names of a `pandas.Index` repeat."""
    repeated = names[names.duplicated()].unique()
    return TableError(
        f"{len(repeated)} {what} of {file} repeat, for instance {repeated[0]!r}. Sum or remove "
        "them, or make them unique (adata.obs_names_make_unique(), var_names_make_unique())."
    )


def _find(table: Any, layer: str, name: str) -> tuple[Any, str]:
    if layer and layer != "X":
        if layer not in table.layers:
            raise TableError(
                f"No layer {layer!r} in {name}; it has {list_choices(['X', *table.layers])}. "
                "Choose one of these with --counts.layer."
            )
        return table.layers[layer], f"layer {layer}"
    if not layer and "counts" in table.layers:
        return table.layers["counts"], "layer counts"
    if table.X is None:
        raise TableError(
            f"{name} has no X. Choose a layer with --counts.layer; there are "
            f"{list_choices(table.layers)}."
        )
    return table.X, "X"


def _check_values(counts: sparse.csr_matrix, name: str, table: Any, source: str) -> None:
    values = counts.data
    if values.dtype.kind not in "fiub":
        raise TableError(f"{source} of {name} holds {values.dtype}; counts are numbers.")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise TableError(f"{source} of {name} holds {bad} NaN or infinite values; give raw counts.")
    negative = int((values < 0).sum())
    if negative:
        raise TableError(
            f"{source} of {name} holds {negative} negative values (down to {values.min():g}), so "
            f"it is scaled or corrected, not counted. {_say_choices(table)}"
        )
    if not values.any():
        raise TableError(f"{source} of {name} holds no count at all. {_say_choices(table)}")


def _as_whole(
    counts: sparse.csr_matrix, name: str, table: Any, source: str
) -> tuple[sparse.csr_matrix, tuple[str, ...]]:
    whole = np.round(counts.data)
    if np.array_equal(whole, counts.data):
        return counts.astype(np.float32), ()
    if looks_normalized(counts):
        raise TableError(
            f"{source} of {name} looks as if it had been normalised already (the values of every "
            f"cell add up to the same {counts.sum(axis=1).max():.4g}). {_say_choices(table)}"
        )
    if looks_logged(counts):
        raise TableError(
            f"{source} of {name} looks as if logarithms had been taken already, or as if it had "
            f"been scaled (largest value {counts.data.max():.3g}, hardly any whole number). "
            f"{_say_choices(table)}"
        )
    counts = counts.astype(np.float32)
    counts.data = whole.astype(np.float32)
    counts.eliminate_zeros()
    note = f"{source} of {name} is not whole (corrected for ambient RNA?) and was rounded."
    return counts, (note,)


def looks_logged(counts: sparse.csr_matrix) -> bool:
    """Whether non-whole values are logarithms: small, or of one total after ``expm1``."""
    if float(counts.data.max()) >= LOG_AT_MOST:
        return False
    return _have_one_total(_some_rows(counts).expm1()) or _smallest_share_below_one(counts.data)


def looks_normalized(counts: sparse.csr_matrix) -> bool:
    """Whether the values of every cell have one total, as after normalisation without logarithm."""
    return _have_one_total(_some_rows(counts))


def _have_one_total(rows: sparse.csr_matrix) -> bool:
    """Whether two or more rows have the same sum, to within a hundredth."""
    totals = np.asarray(rows.sum(axis=1)).ravel()
    positive = totals[totals > 0]
    return bool(len(positive) > 1 and positive.std() < 0.01 * positive.mean())


def _some_rows(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    return counts[:: max(1, counts.shape[0] // _SAMPLE_ROWS)].astype(np.float64)


def _smallest_share_below_one(values: npt.NDArray[Any]) -> bool:
    """Whether fractions are the rule: rounded corrections of counts keep many whole numbers."""
    return bool(np.mean(values != np.round(values)) > 0.9)


def _say_choices(table: Any) -> str:
    layers = list_choices([*table.layers]) if len(table.layers) else "(none)"
    raw = " The table has .raw: --counts.layer raw." if table.raw is not None else ""
    return f"Give raw counts: choose a layer with --counts.layer (there are: {layers}).{raw}"
