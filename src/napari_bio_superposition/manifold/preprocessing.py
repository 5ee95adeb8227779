"""Features made ready for distances between patches: one function, for SAE and CNN alike."""

from typing import Any

import numpy as np
import numpy.typing as npt
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig


def preprocess(adata: AnnData, config: EmbeddingConfig | None = None) -> FloatArray:
    """Return the prepared features of all patches: alive, row-normalised, logarithm, standardised.

    Parameters
    ----------
    adata
        A feature table; it is not changed.
    config
        Which steps, and of which features.

    Returns
    -------
    FloatArray
        ``(n, n_alive)`` float32.

    Raises
    ------
    TableError
        Where no feature is alive, the table holds no CNN features and these are asked for, or there
        is no such column to standardise within.

    Notes
    -----
    Section 14 of the method specification. CNN features can be negative; there the logarithm keeps
    the sign. So both go the same way (science rule 3).
    """
    config = config or EmbeddingConfig()
    values = normalized_rows(adata, config)
    if config.log != "none":
        values = _take_log(values, scale=_typical(values) if config.log == "median" else 1.0)
    if not config.standardize:
        return values
    for rows in _groups(adata, config.standardize_within):
        values[rows] = _standardize(values[rows])
    return values


def _groups(adata: AnnData, column: str) -> list[IntArray]:
    """Return the rows of each group of patches that is standardised together."""
    if not column:
        return [np.arange(adata.n_obs)]
    if column not in adata.obs:
        raise TableError(
            f"The table has no column {column!r} to standardise within. "
            f"Choose one of: {list_choices(adata.obs)}."
        )
    labels = adata.obs[column].astype(str).to_numpy()
    return [np.flatnonzero(labels == name) for name in np.unique(labels)]


def normalized_rows(adata: AnnData, config: EmbeddingConfig) -> FloatArray:
    """Return the alive features, each patch scaled to unit length if the config says so."""
    values = _alive_values(adata, config)
    if not config.normalize_rows:
        return values
    length = np.linalg.norm(values, axis=1, keepdims=True)
    unit: FloatArray = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return unit


def alive_features(adata: AnnData, config: EmbeddingConfig) -> BoolArray:
    """Return which SAE features fire often enough, ``(n_features,)``.

    A table that was not made here knows no firing rates; there, a column is alive where any value
    is not zero.
    """
    if Keys.FIRING_RATE not in adata.var:
        return np.asarray((adata.X != 0).sum(axis=0) > 0).ravel()
    return np.asarray(adata.var[Keys.FIRING_RATE] >= config.min_firing_rate)


def _alive_values(adata: AnnData, config: EmbeddingConfig) -> FloatArray:
    if config.source == "cnn":
        if Keys.CNN not in adata.obsm:
            raise TableError(
                f"The table holds no CNN features (`obsm[{Keys.CNN!r}]`). "
                "Embed the SAE features, or analyse the images again."
            )
        return _dense(adata.obsm[Keys.CNN])
    alive = alive_features(adata, config)
    if not alive.any():
        raise TableError(
            f"None of {adata.n_vars} features fires on {config.min_firing_rate:g} of the tokens. "
            "Lower min_firing_rate, or check the model and the roles of the channels."
        )
    return _dense(adata.X[:, np.flatnonzero(alive)])


def _dense(values: Any) -> FloatArray:
    dense = values.toarray() if sparse.issparse(values) else values
    return np.array(dense, dtype=np.float32)


def _typical(values: FloatArray) -> float:
    """Return the median size of what is not zero; 1 where everything is."""
    size = np.abs(values[values != 0])
    return float(np.median(size)) if size.size else 1.0


def _take_log(values: FloatArray, scale: float) -> FloatArray:
    logarithm: npt.NDArray[Any] = np.sign(values) * np.log1p(np.abs(values) / scale)
    return logarithm.astype(np.float32, copy=False)


def _standardize(values: FloatArray) -> FloatArray:
    """Scale each column to mean 0 and variance 1 (ddof 0); constant columns become 0."""
    centred = values - values.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    varies = deviation > 1e-6 * np.abs(values).max(axis=0, initial=0.0)
    scaled: FloatArray = np.divide(centred, deviation, out=np.zeros_like(centred), where=varies)
    return scaled.astype(np.float32)
