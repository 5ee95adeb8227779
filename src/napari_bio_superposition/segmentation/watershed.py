"""Nuclei by Otsu threshold and distance-transform watershed. No learned weights."""

import numpy as np
from scipy import ndimage

from napari_bio_superposition.core.types import BoolArray, FloatArray, LabelImage

__all__ = ["split_touching", "watershed_nuclei"]


def watershed_nuclei(
    plane: FloatArray, *, smoothing_px: float, split_depth_px: float
) -> LabelImage:
    """Find bright objects and divide those that touch.

    Parameters
    ----------
    plane
        Intensity, ``(height, width)``, finite.
    smoothing_px
        Standard deviation of the Gaussian filter before the threshold, pixels.
    split_depth_px
        See `split_touching`.

    Returns
    -------
    LabelImage
        All zeros where the plane is constant.
    """
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(plane, smoothing_px) if smoothing_px else plane
    if smooth.min() == smooth.max():
        return np.zeros(plane.shape, np.int32)
    threshold = threshold_otsu(smooth)
    foreground = ndimage.binary_fill_holes(smooth > threshold)
    return split_touching(foreground, split_depth_px=split_depth_px)


def split_touching(foreground: BoolArray, *, split_depth_px: float) -> LabelImage:
    """Divide a mask at its necks by a watershed on the distance to the background.

    Parameters
    ----------
    foreground
        Mask, ``(height, width)``.
    split_depth_px
        Two parts become two objects where the inscribed circle at the neck between them has a
        radius smaller by at least this many pixels than that of the lesser part.

    Returns
    -------
    LabelImage
        One label per part.
    """
    from skimage.segmentation import watershed

    if foreground.all():
        return np.ones(foreground.shape, np.int32)
    # Beyond the image there is no background: a nucleus cut by the border keeps its width.
    distance = ndimage.distance_transform_edt(foreground).astype(np.float32)
    seeds = _deep_maxima(distance, depth=split_depth_px)
    labels: LabelImage = watershed(-distance, seeds, mask=foreground)
    return labels.astype(np.int32, copy=False)


def _deep_maxima(distance: FloatArray, *, depth: float) -> LabelImage:
    """Return one label per maximum that rises by the depth above its pass to a higher one.

    Every object has at least one, however small. (`skimage.morphology.h_maxima` gives two for equal
    peaks above a shallow pass, and none for an object lower than the depth.)
    """
    from skimage.morphology import local_maxima, reconstruction

    lowered = np.where(distance > 0, np.maximum(distance - depth, 1e-3), 0)
    filled = reconstruction(lowered, distance)
    maxima = local_maxima(filled)
    labels, _ = ndimage.label(maxima, structure=np.ones((3, 3)))
    seeds: LabelImage = labels
    return seeds
