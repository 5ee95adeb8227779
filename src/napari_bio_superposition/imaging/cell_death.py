"""The cell-death label: death dye inside nuclei, one threshold, three rates. No segmentation."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import (
    DEATH,
    BoolArray,
    FloatArray,
    IntArray,
    LabelImage,
    MultichannelImage,
    PatchSet,
)
from napari_bio_superposition.imaging.background import roll_ball
from napari_bio_superposition.imaging.cell_death_config import CellDeathConfig
from napari_bio_superposition.imaging.dye_measurement import (
    DyeMeasurement,
    DyePool,
    DyeShare,
    count_values,
    pool_measurements,
)
from napari_bio_superposition.imaging.grid import cut_windows

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DyeMeasurement",
    "DyePool",
    "DyeShare",
    "choose_threshold",
    "explain_threshold",
    "measure_death_dye",
    "prepare_dye",
    "score_cell_death",
]


def measure_death_dye(
    image: MultichannelImage,
    labels: LabelImage,
    patches: PatchSet,
    config: CellDeathConfig | None = None,
) -> DyeMeasurement:
    """Measure the death dye inside the nuclei of one field.

    Parameters
    ----------
    image
        A field with a channel for the role ``death``.
    labels
        Its nuclei, ``(height, width)``; 0 is background.
    patches
        Its patches, rejected ones included.
    config
        Smoothing, background, and the rule for edges.

    Returns
    -------
    DyeMeasurement
        Enough to rate every patch at any threshold.

    Raises
    ------
    ChannelError
        Where no channel shows the death dye.
    ImageReadError
        Where nuclei and image differ in size.

    Notes
    -----
    Section 3 of the method specification, with the background taken off the full field, so that a
    patch has no edges of its own.
    """
    config = config or CellDeathConfig()
    if labels.shape != image.shape:
        raise ImageReadError(
            f"The nuclei have {labels.shape[0]}x{labels.shape[1]} px and image {image.id} "
            f"{image.shape[0]}x{image.shape[1]} px. Segment this very image."
        )
    dye = prepare_dye(image.channel(DEATH), config)
    nuclear = labels > 0
    inside = [
        dye_window[nuclear_window]
        for dye_window, nuclear_window in zip(
            cut_windows(dye, patches.origins, patches.side),
            cut_windows(nuclear, patches.origins, patches.side),
            strict=True,
        )
    ]
    area = np.array([len(values) for values in inside], dtype=np.int64)
    outside = dye[~nuclear]
    return DyeMeasurement(
        image_id=image.id,
        plate=image.acquisition.plate,
        full_scale=float(image.full_scale),
        patch_ids=patches.ids,
        patch_area_px=patches.side**2,
        n_nuclei=_count_nuclei(labels, patches),
        nuclear_area_px=area,
        at_edge=_find_edge_patches(labels, patches, config),
        values=np.concatenate([np.empty(0, np.float32), *inside]),
        starts=np.concatenate([[0], np.cumsum(area)]),
        histogram=count_values(dye[nuclear], image.full_scale),
        background_level=float(np.percentile(outside, 99)) if outside.size else float("nan"),
    )


def prepare_dye(plane: npt.NDArray[Any], config: CellDeathConfig) -> FloatArray:
    """Smooth the dye of a whole field and take its background off.

    Parameters
    ----------
    plane
        Counts, ``(height, width)``.
    config
        Smoothing and background.

    Returns
    -------
    FloatArray
        Counts above the background, nowhere negative.
    """
    dye: FloatArray = plane.astype(np.float32)
    if config.smoothing_px > 0:
        dye = ndimage.gaussian_filter(dye, config.smoothing_px)
    if config.background != "none":
        dye = dye - roll_ball(dye, config.ball_radius_px, method=config.background)
    return np.maximum(dye, 0.0)


def _count_nuclei(labels: LabelImage, patches: PatchSet) -> IntArray:
    """Return how many nuclei have their centroid in each patch, ``(n,)``."""
    rows, columns = np.nonzero(labels)
    owner = labels[rows, columns]
    area = np.bincount(owner)
    present = area > 0
    y, x = (np.bincount(owner, weights=axis)[present] / area[present] for axis in (rows, columns))
    inside = [
        (y >= top) & (y < top + patches.side) & (x >= left) & (x < left + patches.side)
        for top, left in patches.origins.tolist()
    ]
    return np.array([int(chosen.sum()) for chosen in inside], dtype=np.int64)


def _find_edge_patches(labels: LabelImage, patches: PatchSet, config: CellDeathConfig) -> BoolArray:
    """Return which patches the rule for edges flags, ``(n,)``."""
    n = len(patches)
    if config.edges == "keep" or n == 0:
        return np.zeros(n, dtype=bool)
    if config.edges == "skip_outer_ring":
        on_ring = (patches.origins == patches.origins.min(axis=0)) | (
            patches.origins == patches.origins.max(axis=0)
        )
        return np.asarray(on_ring.any(axis=1))
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    touching = np.isin(labels, np.setdiff1d(border, [0]))
    windows = cut_windows(touching, patches.origins, patches.side)
    return np.array([bool(window.any()) for window in windows])


def choose_threshold(
    measurements: DyePool | Iterable[DyeMeasurement], config: CellDeathConfig | None = None
) -> float:
    """Return the dye above which a nuclear pixel is dead: the uppermost multi-Otsu threshold.

    Parameters
    ----------
    measurements
        All fields that share the threshold, or their pool: of one plate, or of all. Plates that
        are stained differently should not share one.
    config
        Number of classes and bins.

    Returns
    -------
    float
        Counts above background; nan where the pooled histogram holds fewer values than classes
        (no nuclei, or a constant dye), see `explain_threshold`.

    Raises
    ------
    TableError
        Where there is no measurement, or the cameras have different full scales.
    """
    config = config or CellDeathConfig()
    pool = measurements if isinstance(measurements, DyePool) else pool_measurements(measurements)
    counts, centres = _rebin(pool.histogram, pool.bin_width, config)
    n_values = int(np.count_nonzero(counts))
    if n_values < config.n_classes:
        return float("nan")
    from skimage import filters

    multiotsu: Callable[..., npt.NDArray[np.float64]] = filters.threshold_multiotsu
    return float(multiotsu(classes=config.n_classes, hist=(counts, centres))[-1])


def _rebin(
    histogram: IntArray, bin_width: float, config: CellDeathConfig
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Return counts and centres of the bins that multi-Otsu sees, between the extreme values."""
    occupied = np.flatnonzero(histogram)
    if len(occupied) < 2:
        return histogram[occupied], (occupied * bin_width).astype(np.float64)
    cumulative = np.cumsum(histogram)
    top = int(np.searchsorted(cumulative, config.top_quantile * cumulative[-1]))
    top = max(top, int(occupied[1]))
    clipped = np.minimum(occupied, top) * bin_width
    counts, edges = np.histogram(clipped, bins=config.n_bins, weights=histogram[occupied])
    return counts.astype(np.int64), ((edges[:-1] + edges[1:]) / 2).astype(np.float64)


def explain_threshold(
    measurements: DyePool | Iterable[DyeMeasurement],
    threshold: float,
    config: CellDeathConfig | None = None,
) -> str | None:
    """Return what a user should know about a threshold, in one sentence, or nothing to say.

    Multi-Otsu parts any histogram, also one without a single dead cell; a threshold that lies
    within the background is the sign of it.
    """
    config = config or CellDeathConfig()
    pool = measurements if isinstance(measurements, DyePool) else pool_measurements(measurements)
    if not pool.histogram.any():
        return "Cell death has no threshold: no nucleus was found."
    if np.isnan(threshold):
        return (
            "Cell death has no threshold: the death dye takes fewer than "
            f"{config.n_classes} distinct values inside nuclei."
        )
    level = float(np.median(pool.background_levels)) if pool.background_levels else 0.0
    if threshold < config.min_rise_over_background * level:
        return (
            f"The threshold of cell death, {threshold:.4g} counts, lies within the background "
            f"outside nuclei (99th percentile {level:.4g} counts): there may be no dead cell at "
            "all, or too little dye to tell."
        )
    return None


def score_cell_death(
    measurement: DyeMeasurement, threshold: float, config: CellDeathConfig | None = None
) -> "pd.DataFrame":
    """Rate cell death in each patch of one field.

    Parameters
    ----------
    measurement
        What `measure_death_dye` returned.
    threshold
        Dye in counts; a nuclear pixel of at least this is dead. nan gives no rates.
    config
        Which patches are eligible.

    Returns
    -------
    pandas.DataFrame
        One row per patch, index the patch id, columns as in `Keys`: number of nuclei and nuclear
        area; whether the area suffices; over the nuclear pixels with dye ``v``, the area rate
        ``#{v >= t} / #``, the intensity rate ``sum{v >= t} v / sum v`` and the intensity per
        pixel ``sum{v >= t} v / #`` (nan where the patch is not eligible or has no nucleus); and
        the threshold.

    Notes
    -----
    Section 3 of the method specification. The area rate is the label (the paper's definition);
    the published scripts use the intensity rate by accident.
    """
    import pandas as pd

    config = config or CellDeathConfig()
    area = measurement.nuclear_area_px
    enough = area >= config.min_nuclear_fraction * measurement.patch_area_px
    eligible = enough & (area > 0) & ~measurement.at_edge
    rated = (area > 0) if config.rate_ineligible else eligible
    rates = np.full((len(measurement), 3), np.nan)
    for patch in np.flatnonzero(rated):
        rates[patch] = rate_pixels(measurement.values_of(int(patch)), threshold)
    columns = {
        Keys.N_NUCLEI: measurement.n_nuclei,
        Keys.NUCLEAR_AREA: area,
        Keys.DEATH_ELIGIBLE: eligible,
        Keys.DEATH: rates[:, 0],
        Keys.DEATH_INTENSITY: rates[:, 1],
        Keys.DEATH_PER_PIXEL: rates[:, 2],
        Keys.DEATH_THRESHOLD: np.full(len(measurement), float(threshold)),
    }
    return pd.DataFrame(columns, index=pd.Index(measurement.patch_ids, name="patch_id"))


def rate_pixels(values: FloatArray, threshold: float) -> tuple[float, float, float]:
    """Return area rate, intensity rate and intensity per pixel of nuclear pixels.

    All are nan without a pixel or a threshold; the intensity rate also where there is no dye.
    """
    if values.size == 0 or np.isnan(threshold):
        return (float("nan"),) * 3
    dead = values[values >= threshold].astype(np.float64)
    total = float(values.sum(dtype=np.float64))
    bright = float(dead.sum())
    share = bright / total if total > 0 else float("nan")
    return len(dead) / len(values), share, bright / len(values)
