"""Patches to pooled features of an encoder alone, as probes want them. No SAE, no training."""

import numpy as np
import torch

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.encoder import Encoder
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.training import Pixels
from napari_bio_superposition.models.training_config import NormalizationConfig

_VALUES_AT_ONCE = 1 << 26
"""Numbers in the largest feature map of a batch; bounds memory for any encoder."""


def pool_features(
    encoder: Encoder,
    pixels: Pixels,
    rows: IntArray,
    normalization: NormalizationConfig,
    *,
    tap: str = "refine_out",
) -> Job[FloatArray]:
    """Return the mean over the feature map of some patches, ``(row, width)``, not yet unit length.

    Parameters
    ----------
    encoder
        Its device is used; it may be in training, nothing of it is changed.
    pixels
        ``(n, channel, side, side)`` in ``[0, 1]``; may be memory-mapped.
    rows
        Which of them.
    normalization
        As in the training.
    tap
        Layer; probes of the encoder take the last one (method specification, 6.2).
    """
    side = pixels.shape[-1]
    size = max(1, min(64, _VALUES_AT_ONCE // (encoder.config.width * (side // 2) ** 2)))
    pooled = np.empty((len(rows), encoder.config.width), np.float32)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        pooled[start : start + size] = _pool(encoder, pixels, some, normalization, tap)
        yield Progress("Encoding patches", start + len(some), len(rows), "patches")
    return pooled


@torch.no_grad()
def _pool(
    encoder: Encoder, pixels: Pixels, rows: IntArray, config: NormalizationConfig, tap: str
) -> FloatArray:
    device = next(encoder.parameters()).device
    batch = np.asarray([pixels[int(row)] for row in rows], np.float32)
    patches = torch.from_numpy(batch).to(device)
    normal = normalize_instances(patches, mode=config.mode, std_floor=config.std_floor)
    maps = encoder(normal.contiguous(memory_format=torch.channels_last), tap)
    features: FloatArray = maps.float().mean((2, 3)).cpu().numpy()
    return features
