"""Features along pseudotime: binned, smoothed, clustered, ready for a heat map. No plots."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scipy.ndimage import gaussian_filter1d

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.manifold.curves import TrendCurve, fit_curve
from napari_bio_superposition.manifold.resampling import Wells
from napari_bio_superposition.manifold.trajectory import quiet
from napari_bio_superposition.manifold.trajectory_config import DynamicsConfig

Numbers = npt.NDArray[np.float64]
_PLACES: Final = {"early": 0.0, "middle": 0.5, "late": 1.0}
_PATCHES_PER_BIN: Final = 3
_COLUMNS_AT_ONCE: Final = 512


@dataclass(frozen=True, eq=False)
class FeatureDynamics:
    """Features (rows) over bins of pseudotime (columns), in the order of the heat map.

    Parameters
    ----------
    profiles
        ``(n_features, n_bins)``: mean of each bin, standardised over bins, smoothed. A symmetric
        colour scale from -2 to 2 suits.
    features
        Names of the rows.
    clusters
        Cluster of each row, 0 for the one that peaks first.
    peaks
        Bin of the highest value of each row.
    pseudotime
        Mean of each bin, ``(n_bins,)``.
    bins
        The patches of each bin: row numbers of the table that was given, early first.
    flat
        Features that do not vary over bins and are left out.
    """

    profiles: FloatArray
    features: tuple[str, ...]
    clusters: IntArray
    peaks: IntArray
    pseudotime: Numbers
    bins: tuple[IntArray, ...]
    flat: tuple[str, ...]

    def patches(self, place: str, n: int = 6) -> IntArray:
        """Return patches that are early, middle or late: rows of the table, at most *n*.

        Raises
        ------
        TableError
            Where there is no such place.
        """
        if place not in _PLACES:
            raise TableError(f"No place {place!r}; choose one of: {list_choices(_PLACES)}.")
        order = np.concatenate(self.bins)
        start = round(_PLACES[place] * (len(order) - min(n, len(order))))
        return order[start : start + n]

    def as_table(self) -> pd.DataFrame:
        """Return the rows with their clusters and peaks, and one column per bin."""
        table = pd.DataFrame(self.profiles, index=pd.Index(self.features, name="feature"))
        table.columns = [f"bin_{place:03d}" for place in range(table.shape[1])]
        table.insert(0, "cluster", self.clusters)
        table.insert(1, "peak", self.pseudotime[self.peaks])
        return table


def follow_features(
    adata: AnnData,
    pseudotime: Numbers,
    config: DynamicsConfig | None = None,
    *,
    rows: BoolArray | None = None,
    seed: int = 0,
) -> Job[FeatureDynamics]:
    """Follow all features of a table along pseudotime.

    Parameters
    ----------
    adata
        Columns are features.
    pseudotime
        One value per row; rows where it is not finite are left out.
    config
        Bins, smoothing, clusters.
    rows
        Which patches; all where omitted.
    seed
        Of the clusters.

    Raises
    ------
    TableError
        Where fewer than nine patches have a pseudotime, or no feature varies.

    Notes
    -----
    Section 14 of the method specification, "Feature heat-map": equal-count bins, the remainder in
    the last.
    """
    config = config or DynamicsConfig()
    chosen = np.isfinite(pseudotime) & (True if rows is None else rows)
    order = np.flatnonzero(chosen)[np.argsort(pseudotime[chosen], kind="stable")]
    n_bins = min(config.n_bins, len(order) // _PATCHES_PER_BIN)
    if n_bins < len(_PLACES):
        raise TableError(
            f"{len(order)} patches have a pseudotime; {len(_PLACES) * _PATCHES_PER_BIN} are needed "
            "to follow features. Analyse more images."
        )
    size = len(order) // n_bins
    ends = np.arange(1, n_bins) * size
    bins = tuple(np.split(order, ends))
    yield Progress("Features along pseudotime", 0, 2, "steps")
    means = _bin_means(adata.X, bins)
    deviation = means.std(axis=0)
    varies = deviation > 1e-6 * np.abs(means).max(axis=0, initial=0.0)
    if not varies.any():
        raise TableError("No feature varies along pseudotime. Check the table and the root.")
    scaled = ((means - means.mean(axis=0))[:, varies] / deviation[varies]).T
    smooth = gaussian_filter1d(scaled, config.smoothing, axis=1) if config.smoothing else scaled
    yield Progress("Clusters of features", 1, 2, "steps")
    clusters = _cluster(smooth, config, seed)
    place, clusters = _order(smooth, clusters)
    names = adata.var_names.to_numpy(dtype=str)
    yield Progress("Clusters of features", 2, 2, "steps")
    return FeatureDynamics(
        profiles=smooth[place].astype(np.float32),
        features=tuple(names[varies][place]),
        clusters=clusters,
        peaks=smooth[place].argmax(axis=1),
        pseudotime=np.array([pseudotime[rows_of].mean() for rows_of in bins]),
        bins=bins,
        flat=tuple(names[~varies]),
    )


def _bin_means(values: Any, bins: tuple[IntArray, ...]) -> Numbers:
    """Return the mean of each column in each bin, ``(n_bins, n_features)``."""
    row = np.concatenate([np.full(len(rows), place) for place, rows in enumerate(bins)])
    weight = np.concatenate([np.full(len(rows), 1 / len(rows)) for rows in bins])
    average = sparse.csr_matrix(
        (weight, (row, np.concatenate(bins))), shape=(len(bins), values.shape[0])
    )
    if sparse.issparse(values):
        return np.asarray((average @ values).todense(), np.float64)
    means = np.empty((len(bins), values.shape[1]))
    for start in range(0, values.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        means[:, columns] = average @ np.asarray(values[:, columns], np.float64)
    return means


def _cluster(profiles: Numbers, config: DynamicsConfig, seed: int) -> IntArray:
    """Return the Leiden cluster of each profile; one cluster where there are few."""
    if len(profiles) <= config.n_neighbors:
        return np.zeros(len(profiles), np.int64)
    work = AnnData(np.zeros((len(profiles), 1), np.float32), obsm={"profiles": profiles})
    with quiet():
        import scanpy

        scanpy.pp.neighbors(work, config.n_neighbors, use_rep="profiles", random_state=seed)
        scanpy.tl.leiden(
            work,
            resolution=config.resolution,
            flavor="igraph",
            n_iterations=2,
            directed=False,
            random_state=seed,
        )
    clusters: IntArray = work.obs["leiden"].astype(int).to_numpy(np.int64)
    return clusters


def _order(profiles: Numbers, clusters: IntArray) -> tuple[IntArray, IntArray]:
    """Order clusters by the peak of their mean, rows inside by their own; number them so."""
    names = np.unique(clusters)
    peak_of = [int(profiles[clusters == name].mean(axis=0).argmax()) for name in names]
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(peak_of, kind="stable")] = np.arange(len(names))
    numbers = rank[np.searchsorted(names, clusters)]
    place = np.lexsort((profiles.argmax(axis=1), numbers))
    return place, numbers[place]


def follow_one(
    adata: AnnData,
    feature: str,
    pseudotime: Numbers,
    wells: npt.NDArray[np.str_],
    *,
    n_draws: int = 60,
    rng: np.random.Generator,
) -> Job[TrendCurve]:
    """Fit the trend of one feature along pseudotime.

    Parameters
    ----------
    adata
        Columns are features.
    feature
        Name of the column.
    pseudotime
        One value per row; rows where it is not finite are left out.
    wells
        Of each row.
    n_draws
        Draws of wells behind the band.
    rng
        Behind the band.

    Raises
    ------
    TableError
        Where there is no such feature.

    Notes
    -----
    Central 1-99 % of pseudotime, ten cubic splines (section 14 of the method specification).
    """
    if feature not in adata.var_names:
        raise TableError(f"The table has no feature {feature!r}. Choose one of its columns.")
    known = np.isfinite(pseudotime)
    values = adata[:, feature].X
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return (
        yield from fit_curve(
            pseudotime[known],
            dense.ravel()[known].astype(np.float64),
            Wells(wells[known]),
            n_splines=10,
            n_draws=n_draws,
            trim=(0.01, 0.99),
            rng=rng,
        )
    )
