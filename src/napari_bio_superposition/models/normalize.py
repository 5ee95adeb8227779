"""Safe instance normalisation of patches before the encoder. Nothing after the encoder."""

from torch import Tensor

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.models.card import INSTANCE_NORMALIZATIONS


def normalize_instances(pixels: Tensor, *, mode: str = "clamp", std_floor: float = 0.01) -> Tensor:
    """Centre and scale each channel of each patch (method specification, section 4).

    Parameters
    ----------
    pixels
        ``(n, channel, side, side)`` in ``[0, 1]``.
    mode
        ``clamp`` divides a quiet channel by the floor, as the published code does; ``bypass``
        leaves it as it is, as the paper says.
    std_floor
        A channel whose standard deviation (with n - 1) is smaller counts as quiet.

    Returns
    -------
    Tensor
        Same shape; mean 0 and deviation 1 per channel that is not quiet.
    """
    mean = pixels.mean((2, 3), keepdim=True)
    std = pixels.std((2, 3), correction=1, keepdim=True)
    normalized = (pixels - mean) / std.clamp_min(std_floor)
    if mode == "clamp":
        return normalized
    if mode == "bypass":
        return pixels.where(std < std_floor, normalized)
    raise ModelError(
        f"No instance normalisation {mode!r}. "
        f"Choose one of: {list_choices(INSTANCE_NORMALIZATIONS)}."
    )
