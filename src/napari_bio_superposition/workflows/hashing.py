"""The identity of an image's content, the same for a file, a layer and an array."""

import hashlib

import numpy as np

from napari_bio_superposition.core.types import MultichannelImage


def hash_image(image: MultichannelImage) -> str:
    """Return the SHA-256 of the pixels, channel by channel, so that memory holds one at a time.

    Names and roles do not count: they are part of the settings.
    """
    digest = hashlib.sha256()
    for name in image.channel_names:
        channel = np.ascontiguousarray(image.channel(name))
        digest.update(f"{channel.dtype.str}{channel.shape}".encode())
        digest.update(channel.data)
    return digest.hexdigest()
