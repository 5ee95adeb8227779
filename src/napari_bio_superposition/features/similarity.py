"""Which features are alike: by the direction that they write, by where they are active."""

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import feature_name, latent_of
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.features.rank_sum import FloatColumn, column_means, dense

CoActivation = Literal["pearson", "phi", "jaccard"]


def nearest_by_direction(directions: FloatArray, latent: int, *, n_top: int = 10) -> pd.DataFrame:
    """Return the latents whose decoder directions are nearest to that of one latent.

    Parameters
    ----------
    directions
        Decoder, ``(n_latents, width)``; rows need no unit length.
    latent
        Whose neighbours are wanted.
    n_top
        How many are returned.

    Returns
    -------
    pandas.DataFrame
        Nearest first: ``feature``, ``latent``, ``cosine`` (1 the same, 0 at right angles; random
        directions have about ``1 / sqrt(width)``).
    """
    if not 0 <= latent < len(directions):
        raise TableError(f"No latent {latent}; choose one from 0 to {len(directions) - 1}.")
    lengths = np.maximum(np.linalg.norm(directions, axis=1), 1e-12)
    cosine = directions @ directions[latent] / (lengths * lengths[latent])
    return _list_nearest(cosine, latent, n_top, "cosine")


def nearest_by_activity(
    adata: AnnData, feature: str, *, measure: CoActivation = "pearson", n_top: int = 10
) -> pd.DataFrame:
    """Return the features that are active in the same patches.

    Parameters
    ----------
    adata
        A feature table.
    feature
        Whose neighbours are wanted.
    measure
        ``pearson`` correlates mean activations over patches; ``phi`` correlates whether a feature
        is active in a patch at all; ``jaccard`` divides the patches with both by those with either.
    n_top
        How many are returned.

    Returns
    -------
    pandas.DataFrame
        Nearest first: ``feature``, ``latent``, and the measure (0 where nothing varies).
    """
    position = find_feature(adata, feature)
    if measure not in get_args(CoActivation):
        raise TableError(
            f"No measure {measure!r}. Choose one of: {list_choices(get_args(CoActivation))}."
        )
    if measure == "jaccard":
        similarity = _jaccard(adata.X, position)
    else:
        similarity = correlate_columns(
            adata.X if measure == "pearson" else adata.X > 0, column_of(adata, feature, measure)
        )
    return _list_nearest(similarity, position, n_top, measure, adata.var_names.to_numpy())


def column_of(adata: AnnData, feature: str, measure: CoActivation = "pearson") -> FloatColumn:
    """Return one feature over all patches, ``(n,)``; 0 and 1 for the measures of activity."""
    values = dense(adata.X[:, [find_feature(adata, feature)]]).ravel().astype(np.float64)
    return values if measure == "pearson" else (values > 0).astype(np.float64)


def correlate_columns(values: Any, target: FloatColumn) -> FloatColumn:
    """Return the Pearson correlation of each column with a target, over rows where it is known.

    Parameters
    ----------
    values
        ``(n, n_columns)``, dense or sparse.
    target
        ``(n,)``; rows where it is nan are left out.

    Returns
    -------
    numpy.ndarray
        ``(n_columns,)``; 0 where a column or the target does not vary.
    """
    known = np.isfinite(target)
    if not known.all():
        values, target = values[np.flatnonzero(known)], target[known]
    if len(target) < 2:
        return np.zeros(values.shape[1])
    centred = target - target.mean()
    products = np.asarray(values.T @ centred).ravel().astype(np.float64)
    spread = np.sqrt(np.maximum(_squares(values) - column_means(values) ** 2, 0))
    scale = spread * centred.std() * len(target)
    correlation: FloatColumn = np.divide(
        products, scale, out=np.zeros(len(products)), where=scale > 1e-12
    )
    return np.clip(correlation, -1, 1)


def find_feature(adata: AnnData, feature: str) -> int:
    """Return the position of a feature among the columns of a table.

    Raises
    ------
    TableError
        Where there is no such feature.
    """
    if feature not in adata.var_names:
        raise TableError(
            f"There is no feature {feature!r} among {adata.n_vars}. Choose one such as "
            f"{list_choices(adata.var_names[:3])}."
        )
    return int(adata.var_names.get_loc(feature))


def _squares(values: Any) -> FloatColumn:
    if sparse.issparse(values):
        return column_means(values.astype(np.float64).power(2))
    return column_means(np.square(values, dtype=np.float64))


def _jaccard(values: Any, position: int) -> FloatColumn:
    active = values > 0
    own = dense(active[:, [position]]).ravel().astype(np.float64)
    both = np.asarray(active.T @ own).ravel().astype(np.float64)
    either = np.asarray(active.sum(axis=0)).ravel() + own.sum() - both
    share: FloatColumn = np.divide(both, either, out=np.zeros(len(both)), where=either > 0)
    return share


def _list_nearest(
    similarity: Any, own: int, n_top: int, name: str, names: Any = None
) -> pd.DataFrame:
    order = np.argsort(-similarity, kind="stable")
    order = order[order != own][:n_top]
    features = [feature_name(k) for k in order] if names is None else names[order].tolist()
    return pd.DataFrame(
        {
            "feature": features,
            "latent": [latent_of(feature) for feature in features],
            name: np.asarray(similarity)[order],
        }
    )
