"""Read the HDF5 weight files of StarDist (Keras 2 and 3) for the torch network. Nothing is run."""

import re
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.segmentation.unet import StarDistNet, UNetConfig

__all__ = ["load_keras_weights"]

_UNNAMED = re.compile(r"conv2d(?:_(\d+))?")
"""Name that Keras invents for a convolution; the number counts all made in that session."""


def load_keras_weights(net: StarDistNet, file: Path) -> None:
    """Copy the weights of a StarDist model into the network.

    Parameters
    ----------
    net
        Network of the architecture in the model's ``config.json``.
    file
        HDF5 as ``model.save_weights`` writes it: datasets ``<layer>/kernel`` (Keras 3) or
        ``<layer>/kernel:0`` (Keras 2), kernels ``(y, x, input, output)``.

    Raises
    ------
    ModelError
        Where the file cannot be read, or its layers are not those of the network.
    """
    arrays = _read_arrays(file)
    layers = _torch_names(net.config, sorted({name for name, _ in arrays}), file)
    state = {
        f"{ours}.{'weight' if kind == 'kernel' else 'bias'}": _as_torch(arrays[theirs, kind])
        for theirs, ours in layers.items()
        for kind in ("kernel", "bias")
        if (theirs, kind) in arrays
    }
    _check_shapes(net, state, file)
    net.load_state_dict(state)


def _read_arrays(file: Path) -> dict[tuple[str, str], FloatArray]:
    """Return arrays by (layer, "kernel" or "bias")."""
    arrays: dict[tuple[str, str], FloatArray] = {}

    def collect(path: str, item: object) -> None:
        *parents, last = path.split("/")
        kind = last.removesuffix(":0")
        if not isinstance(item, h5py.Dataset) or kind not in ("kernel", "bias") or not parents:
            return
        if item.dtype.kind != "f" or item.ndim not in (1, 4) or item.external:
            raise ModelError(
                f"{path} in {file.name} has the type {item.dtype} and shape {item.shape}; weights "
                "of a 2D network are floating-point kernels. Choose a StarDist 2D model."
            )
        arrays[parents[-1], kind] = np.asarray(item, dtype=np.float32)

    try:
        with h5py.File(file, "r") as content:
            # Visits what lies inside the file only: links to other files are not followed.
            content.visititems(collect)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(
            f"The weights {file} cannot be read as HDF5 ({error}). Fetch the model again."
        ) from None
    return arrays


def _torch_names(config: UNetConfig, found: list[str], file: Path) -> dict[str, str]:
    """Return our module name by Keras layer name."""
    names = _named_layers(config)
    n_pre = config.n_convs * len(list(config.pre_pools()))
    unnamed = sorted(filter(_UNNAMED.fullmatch, found), key=_number)
    missing = [name for name in names if name not in found]
    if missing or len(unnamed) != n_pre:
        raise ModelError(
            f"{file.name} does not hold the layers that config.json describes: "
            f"{n_pre} unnamed convolutions, of which it has {len(unnamed)}, and missing: "
            f"{list_choices(missing)}. It has: {list_choices(found)}. Use the two files of one "
            "model."
        )
    pre = {
        name: f"pre.{i // config.n_convs}.{i % config.n_convs}" for i, name in enumerate(unnamed)
    }
    return pre | names


def _number(layer: str) -> int:
    # Numerical, not alphabetical: conv2d, conv2d_2, conv2d_10.
    match = _UNNAMED.fullmatch(layer)
    return int(match[1] or 0) if match else -1


def _named_layers(config: UNetConfig) -> dict[str, str]:
    """Return our module name by the name that csbdeep's U-Net gives its layers."""
    # The last convolution of a block is counted after a gap: 0, ..., n - 2, n.
    numbers = [*range(config.n_convs - 1), config.n_convs]
    names = {"prob": "prob", "dist": "dist"}
    for level in range(config.depth):
        for i in range(config.n_convs):
            names[f"down_level_{level}_no_{i}"] = f"down.{level}.{i}"
        for i, number in enumerate(numbers):
            names[f"up_level_{level}_no_{number}"] = f"up.{level}.{i}"
    for i, number in enumerate(numbers):
        names[f"middle_{number}"] = f"middle.{i}"
    if config.n_features:
        names["features"] = "features.0"
    return names


def _as_torch(array: FloatArray) -> Tensor:
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))


def _check_shapes(net: StarDistNet, state: dict[str, Tensor], file: Path) -> None:
    for name, expected in net.state_dict().items():
        shape = tuple(state[name].shape) if name in state else None
        if shape != tuple(expected.shape):
            raise ModelError(
                f"{file.name} has the shape {shape} for {name}, where config.json asks for "
                f"{tuple(expected.shape)}. Use the two files of one model."
            )
