"""Writing multichannel images as OME-Zarr 0.5, whole or not at all. No reading."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import ChannelError
from napari_bio_superposition.core.files import replaced_folder

_CHUNK_PX: Final = 1024
_LEVEL: Final = "0"


def write_zarr_image(
    pixels: Any,
    path: str | Path,
    *,
    channel_names: Sequence[str],
    pixel_size_um: float | None = None,
) -> Path:
    """Write a multichannel image as an OME-Zarr 0.5 group of one resolution.

    Parameters
    ----------
    pixels
        ``(channel, height, width)``, numpy or dask, of any number type.
    path
        Folder to write, best named ``*.ome.zarr``; an existing one is replaced only by a complete
        one.
    channel_names
        One per channel.
    pixel_size_um
        Edge of a pixel in micrometre; pixels are the unit where it is not known.

    Raises
    ------
    ChannelError
        Where names and channels differ in number, or the array has other axes.
    """
    import zarr

    array = np.asarray(pixels)
    if array.ndim != 3 or len(channel_names) != len(array):
        raise ChannelError(
            f"{len(channel_names)} channel names for an array of the shape {array.shape}. "
            "Give (channel, height, width) and one name per channel."
        )
    with replaced_folder(Path(path)) as part:
        group = zarr.open_group(part, mode="w", zarr_format=3)
        group.create_array(
            _LEVEL,
            data=array,
            chunks=(1, min(_CHUNK_PX, array.shape[1]), min(_CHUNK_PX, array.shape[2])),
            dimension_names=("c", "y", "x"),
        )
        group.attrs["ome"] = _describe(Path(path).name.split(".")[0], channel_names, pixel_size_um)
    return Path(path)


def _describe(
    name: str, channel_names: Sequence[str], pixel_size_um: float | None
) -> dict[str, Any]:
    """Return the metadata of the OME-Zarr specification 0.5."""
    space = {"type": "space"} | ({"unit": "micrometer"} if pixel_size_um else {})
    size = pixel_size_um or 1.0
    scale = {"type": "scale", "scale": [1.0, size, size]}
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": "c", "type": "channel"}]
                + [{"name": axis, **space} for axis in "yx"],
                "datasets": [{"path": _LEVEL, "coordinateTransformations": [scale]}],
            }
        ],
        "omero": {"channels": [{"label": label} for label in channel_names]},
    }
