"""From the nuclear channel to labels, by either method: checks, method, cleaning. No files."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, LabelImage
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.segmentation.model_folder import load_stardist
from napari_bio_superposition.segmentation.normalize import normalize_percentiles
from napari_bio_superposition.segmentation.stardist import (
    StarDistModel,
    find_candidates,
    render_labels,
    suppress,
)
from napari_bio_superposition.segmentation.watershed import watershed_nuclei

__all__ = ["clean_labels", "network_scale", "segment_nuclei"]

_FINEST_PIXEL_UM = 0.4
"""Nuclei of 5 to 35 um are then 12 to 90 px across, as in the images the networks have seen."""


def segment_nuclei(
    plane: npt.NDArray[Any],
    config: SegmentationConfig | None = None,
    *,
    pixel_size_um: float | None = None,
    model: StarDistModel | None = None,
    device: str | torch.device = "cpu",
) -> Job[LabelImage]:
    """Find the nuclei of one field.

    Parameters
    ----------
    plane
        Nuclear channel, any unit, ``(height, width)``; finite.
    config
        Method and thresholds; the defaults where not given.
    pixel_size_um
        Edge of a pixel, where known; see `network_scale`.
    model
        Weights that are loaded already (`load_stardist`), so that many images share them; they
        are used in place of ``config.weights``. Ignored by the watershed.
    device
        Where to run weights that are loaded here.

    Returns
    -------
    Job[LabelImage]
        Nuclei 1 to n, ``(height, width)``; all zeros where there is none, as in a constant image.
        Progress counts tiles.

    Raises
    ------
    ImageReadError
        Where the plane is not a finite, real 2D image.
    ModelError
        Where the weights cannot be loaded.
    """
    config = config or SegmentationConfig()
    plane = _checked(plane)
    if plane.min() == plane.max():
        yield Progress("Segmenting nuclei", 1, 1, "tiles", "the nuclear channel is constant")
        return np.zeros(plane.shape, np.int32)
    if config.method == "watershed":
        yield Progress("Segmenting nuclei", 0, 1, "tiles")
        labels = watershed_nuclei(
            plane.astype(np.float32),
            smoothing_px=config.smoothing_px,
            split_depth_px=config.split_depth_px,
        )
        yield Progress("Segmenting nuclei", 1, 1, "tiles")
    else:
        model = model or load_stardist(config.weights, device=device)
        labels = yield from _stardist_labels(
            plane, config, model, scale=network_scale(config, pixel_size_um)
        )
    return clean_labels(
        labels, min_area_px=config.min_area_px, exclude_border=config.exclude_border
    )


def _checked(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    plane = np.asarray(plane)
    if plane.ndim != 2 or plane.size == 0:
        raise ImageReadError(
            f"Nuclei are found in one 2D plane; this image has the shape {plane.shape}. Choose "
            "one channel and project it over z."
        )
    if plane.dtype.kind not in "biuf":
        raise ImageReadError(
            f"The nuclear channel has the type {plane.dtype}; it has to hold real numbers."
        )
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        n_bad = int(plane.size - np.isfinite(plane).sum())
        raise ImageReadError(
            f"The nuclear channel has {n_bad} pixels that are NaN or infinite. Replace them "
            "before the analysis."
        )
    return plane.astype(np.uint8) if plane.dtype.kind == "b" else plane


def _stardist_labels(
    plane: npt.NDArray[Any], config: SegmentationConfig, model: StarDistModel, *, scale: float
) -> Job[LabelImage]:
    shape = (plane.shape[0], plane.shape[1])
    normalized = _rescaled(normalize_percentiles(plane), scale)
    candidates = yield from find_candidates(
        model,
        normalized,
        prob_threshold=_first_set(config.prob_threshold, model.prob_threshold),
        tile_px=config.tile_px,
    )
    nms_threshold = _first_set(config.nms_threshold, model.nms_threshold)
    kept = yield from suppress(candidates, nms_threshold=nms_threshold)
    return render_labels(kept, shape, scale=scale)


def network_scale(config: SegmentationConfig, pixel_size_um: float | None) -> float:
    """Return the factor by which an image is resized before the network.

    Parameters
    ----------
    config
        Its ``scale`` decides where it is set.
    pixel_size_um
        Edge of a pixel in the image; ``None`` where not known.

    Returns
    -------
    float
        1 for pixels of 0.4 um and more, and where the pixel size is not known.
    """
    if config.scale is not None:
        return config.scale
    if pixel_size_um is None or not pixel_size_um > 0:
        return 1.0
    return min(1.0, pixel_size_um / _FINEST_PIXEL_UM)


def _first_set(chosen: float | None, default: float) -> float:
    return default if chosen is None else chosen


def _rescaled(plane: FloatArray, scale: float) -> FloatArray:
    if scale == 1:
        return plane
    from skimage.transform import resize

    shape = tuple(max(1, round(size * scale)) for size in plane.shape)
    resized: FloatArray = resize(plane, shape, order=1, anti_aliasing=scale < 1)
    return resized.astype(np.float32, copy=False)


def clean_labels(
    labels: LabelImage, *, min_area_px: int = 0, exclude_border: bool = False
) -> LabelImage:
    """Drop small objects, and those at the border if asked, and number the others 1 to n.

    Parameters
    ----------
    labels
        Objects, ``(height, width)``; ids need not be consecutive.
    min_area_px
        Objects of fewer pixels are dropped.
    exclude_border
        Drop objects that touch the border of the image.

    Returns
    -------
    LabelImage
        Same shape; order of the ids is kept.
    """
    areas = np.bincount(labels.ravel())
    keep = areas >= max(1, min_area_px)
    if exclude_border:
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            keep[edge] = False
    keep[0] = False
    new_ids = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    cleaned: LabelImage = new_ids[labels]
    return cleaned
