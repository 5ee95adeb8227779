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
    threshold = threshold_otsu(smooth)  # type: ignore[no-untyped-call]
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
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    if foreground.all():
        return np.ones(foreground.shape, np.int32)
    # Beyond the image there is no background: a nucleus cut by the border keeps its width.
    distance = ndimage.distance_transform_edt(foreground).astype(np.float32)
    # With a depth of zero every ripple would be a maximum.
    maxima = h_maxima(distance, max(split_depth_px, 1e-3))  # type: ignore[no-untyped-call]
    seeds, _ = ndimage.label(maxima, structure=np.ones((3, 3)))
    labels: LabelImage = watershed(-distance, seeds, mask=foreground)  # type: ignore[no-untyped-call]
    return labels.astype(np.int32, copy=False)
