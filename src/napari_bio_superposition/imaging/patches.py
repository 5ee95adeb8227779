"""Cutting a field into the square patches that the model sees. No quality rules, no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import ChannelError, ImageReadError, list_choices
from napari_bio_superposition.core.types import FloatArray, MultichannelImage, PatchSet
from napari_bio_superposition.imaging.grid import cut_windows, list_origins
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.quality import assess_patches


def extract_patches(
    image: MultichannelImage, roles: Sequence[str], config: PatchConfig | None = None
) -> PatchSet:
    """Cut the channels of the wanted roles into patches and judge each of them.

    Channels are loaded one after the other; beside the patches, one copy of the wanted channels
    in their own data type is held.

    Parameters
    ----------
    image
        One field; its pixels may be lazy.
    roles
        Roles (or channel names) in the order that the model expects.
    config
        Grid, scaling and quality rules.

    Returns
    -------
    PatchSet
        All patches of the grid, row by row from the top left, scaled to ``[0, 1]``, with the
        verdict of the quality control.

    Raises
    ------
    ImageReadError
        Where the image is smaller than a patch or holds values that are not finite.
    ChannelError
        Where no role is asked for, or the image has no such channel.

    Notes
    -----
    Sections 2.3 and 2.4 of the method specification.
    """
    config = config or PatchConfig()
    if not roles:
        raise ChannelError(
            f"No channel is asked for. Name at least one role of image {image.id}; "
            f"it has {list_choices(image.roles)}."
        )
    origins = list_origins(image.shape, config, image_id=image.id)
    planes = [_load_plane(image, role) for role in roles]
    pixels = np.empty((len(origins), len(planes), config.side_px, config.side_px), np.float32)
    for channel, plane in enumerate(planes):
        low, high = _intensity_range(plane, image.full_scale, config)
        for patch, window in zip(pixels, cut_windows(plane, origins, config.side_px), strict=True):
            patch[channel] = _scale_intensity(window, low, high)
    verdict = assess_patches(planes, origins, config, full_scale=image.full_scale)
    return PatchSet(
        image=image,
        pixels=pixels,
        channel_roles=tuple(roles),
        origins=origins,
        accepted=verdict.accepted,
        reasons=verdict.reasons,
        quality=verdict.quality,
    )


def check_pixel_size(
    image: MultichannelImage, card_pixel_size_um: float | None, *, tolerance: float = 0.1
) -> str | None:
    """Return a warning where a patch does not span what the model was trained on.

    Parameters
    ----------
    image
        Its pixel size is compared.
    card_pixel_size_um
        Edge of a pixel that the model was trained with; ``None`` where its card does not say.
    tolerance
        Relative difference that is let pass.

    Returns
    -------
    str or None
        One sentence for the user, or nothing to say.
    """
    if card_pixel_size_um is None:
        return None
    if image.pixel_size_um is None:
        return (
            f"The pixel size of image {image.id} is unknown and the model expects "
            f"{card_pixel_size_um:g} um; set the pixel size to have it checked."
        )
    ratio = image.pixel_size_um / card_pixel_size_um
    if abs(ratio - 1.0) <= tolerance:
        return None
    return (
        f"Image {image.id} has pixels of {image.pixel_size_um:g} um, the model was trained with "
        f"{card_pixel_size_um:g} um: cells appear {1 / ratio:.2g} times as large as the model "
        "knows them. Rescale the image, or take a model trained at this pixel size."
    )


def _load_plane(image: MultichannelImage, role: str) -> npt.NDArray[Any]:
    plane = image.channel(role)
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        raise ImageReadError(
            f"The channel {role!r} of image {image.id} holds values that are not finite. "
            "Replace them, for instance by zero, before analysing the image."
        )
    return plane


def _intensity_range(
    plane: npt.NDArray[Any], full_scale: float, config: PatchConfig
) -> tuple[float, float]:
    """Return the counts that become 0 and 1."""
    if config.intensity_scaling == "dtype":
        return 0.0, float(full_scale)
    low, high = np.percentile(plane, (config.low_percentile, config.high_percentile))
    if high <= low:  # signal on fewer pixels than the percentile leaves out
        high = plane.max()
    return float(low), float(high)


def _scale_intensity(window: npt.NDArray[Any], low: float, high: float) -> FloatArray:
    if high <= low:  # a constant channel says nothing
        return np.zeros(window.shape, np.float32)
    scaled = (window.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0, out=scaled)
