"""Which numbers of a table are coupled: a stored representation, or one made from X. No files."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices

Matrix = npt.NDArray[np.float64]
_AS_IS_UP_TO = 100
_COMPONENTS = 30
RNA = "RNA"
"""What the RNA is called in messages; its values are counts or logarithms, never activations."""


@dataclass(frozen=True, eq=False)
class Representation:
    """The numbers that are coupled.

    Parameters
    ----------
    values
        ``(n, d)`` float64.
    source
        Where they come from, for instance ``obsm X_pca`` or ``X``.
    steps
        What was done to them, in order.
    """

    values: Matrix
    source: str
    steps: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return source, number of columns and steps as a person reads them."""
        return ", ".join([f"{self.source} ({self.values.shape[1]} columns)", *self.steps])


def choose_representation(
    table: Any, key: str, *, preferred: tuple[str, ...], name: str, rng: np.random.Generator
) -> Representation:
    """Return the representation *key* of an AnnData table, or a sensible one where it is empty.

    Parameters
    ----------
    table
        An `anndata.AnnData`.
    key
        ``X``, a key of ``obsm``, a layer, or empty.
    preferred
        Keys of ``obsm`` to look for, in order, where *key* is empty.
    name
        What the modality is called in messages.
    rng
        Seeds the randomised decomposition of large tables.

    Raises
    ------
    TableError
        Where there is no such representation; it lists those there are.
    """
    if key and key != "X":
        return look_up_representation(table, key, name)
    if not key:
        stored = next((found for found in preferred if found in table.obsm), None)
        if stored is not None:
            return Representation(_dense(table.obsm[stored]), f"obsm {stored}")
    if table.X is None:
        raise TableError(
            f"The {name} table has no X. Choose one of its representations: "
            f"{list_choices([*table.obsm, *table.layers])}."
        )
    values = _dense(table.X)
    if key or values.shape[1] <= _AS_IS_UP_TO:
        return Representation(values, "X")
    return _reduce(values, rng, is_rna=name == RNA)


def look_up_representation(table: Any, key: str, name: str) -> Representation:
    """Return ``obsm[key]`` or ``layers[key]``.

    Raises
    ------
    TableError
        Where there is none; it lists those there are.
    """
    if key in table.obsm:
        return Representation(_dense(table.obsm[key]), f"obsm {key}")
    if key in table.layers:
        return Representation(_dense(table.layers[key]), f"layer {key}")
    choices = list_choices(["X", *table.obsm, *table.layers])
    raise TableError(
        f"No representation {key!r} in the {name} table; it has {choices}. Choose one of these."
    )


def _reduce(values: Matrix, rng: np.random.Generator, *, is_rna: bool) -> Representation:
    """Take logarithms of counts or activations, then the leading principal components.

    RNA that is not whole is taken for logarithms already. Tables that hold NaN go through
    unchanged, for the check of the features to refuse them.
    """
    from sklearn.decomposition import PCA

    if not np.isfinite(values).all():
        return Representation(values, "X")
    steps = []
    if is_rna and not _is_whole(values):
        steps.append("taken for logarithms or scaled values already")
    elif (values >= 0).all():
        values, step = _take_logarithm(values)
        steps.append(step)
    n_components = min(_COMPONENTS, min(values.shape) - 1)
    pca = PCA(n_components, random_state=int(rng.integers(2**31 - 1)))
    steps.append(f"{n_components} principal components")
    return Representation(pca.fit_transform(values), "X", tuple(steps))


def _take_logarithm(values: Matrix) -> tuple[Matrix, str]:
    """Log counts per 10,000 where values are counts; else log of multiples of the median."""
    if _is_whole(values) and values.max() > 1:
        total = np.maximum(values.sum(axis=1, keepdims=True), 1.0)
        return np.log1p(values / total * 1e4), "log1p of counts per 10,000"
    positive = values > 0
    scale = float(np.median(values[positive])) if positive.any() else 1.0
    return np.log1p(values / scale), "log1p of multiples of the median positive value"


def _is_whole(values: Matrix) -> bool:
    return bool(np.array_equal(values, np.round(values)))


def _dense(values: Any) -> Matrix:
    if sparse.issparse(values):
        values = values.toarray()
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        return array  # refused by the check of the features, which can say more
    return array.astype(np.float64)
