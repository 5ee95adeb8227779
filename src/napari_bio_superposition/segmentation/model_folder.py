"""Load a StarDist model from its folder: config.json, thresholds.json, weights. No downloads."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.segmentation.keras_weights import load_keras_weights
from napari_bio_superposition.segmentation.sources import find_model_folder
from napari_bio_superposition.segmentation.stardist import StarDistModel
from napari_bio_superposition.segmentation.unet import StarDistNet, UNetConfig

__all__ = ["load_stardist", "read_model_folder"]

_DEFAULT_THRESHOLDS = {"prob": 0.5, "nms": 0.4, "border_cells": 2}
"""What StarDist uses where a model has no tuned thresholds; only ours name ``border_cells``."""


def load_stardist(weights: str = "bundled", *, device: str | torch.device = "cpu") -> StarDistModel:
    """Load StarDist weights, once for many images.

    Parameters
    ----------
    weights
        ``"bundled"``, ``"2D_versatile_fluo"`` or a folder; see `SegmentationConfig.weights`.
    device
        Where the network will run.

    Raises
    ------
    ModelError
        Where the weights are not found, cannot be downloaded, or are damaged.
    """
    return read_model_folder(find_model_folder(weights), name=weights, device=device)


def read_model_folder(
    folder: Path, *, name: str, device: str | torch.device = "cpu"
) -> StarDistModel:
    """Read a model from a folder as StarDist writes it.

    Parameters
    ----------
    folder
        Holds ``config.json``, perhaps ``thresholds.json``, and either StarDist's weights (``.h5``;
        ``weights_best.h5`` first) or ours (``.safetensors``, names of the torch network).
    name
        What the user calls the model.
    device
        Where the network will run.

    Raises
    ------
    ModelError
        Naming the file that is missing or damaged.
    """
    config = UNetConfig.from_stardist(_read_json(folder / "config.json"))
    if config.n_channels != 1:
        raise ModelError(
            f"The model in {folder} reads {config.n_channels} channels; nuclei are found in one. "
            "Choose a model for fluorescence images."
        )
    thresholds = _read_thresholds(folder / "thresholds.json")
    file = _weight_file(folder)
    net = StarDistNet(config)
    if file.suffix == ".safetensors":
        _load_safetensors(net, file)
    else:
        load_keras_weights(net, file)
    net = net.eval().requires_grad_(False)
    return StarDistModel(
        # Fastest layout of convolutions on CPU and GPU alike.
        net=net.to(device=torch.device(device), memory_format=torch.channels_last),  # type: ignore[call-overload]
        prob_threshold=thresholds["prob"],
        nms_threshold=thresholds["nms"],
        border_cells=int(thresholds["border_cells"]),
        name=name,
        sha256=hash_file(file),
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"There is no {file.name} in {file.parent}. A StarDist model folder holds config.json, "
            "thresholds.json and weights_best.h5 (or a .safetensors file)."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}). Fetch it again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object. Fetch the model again.")
    return content


def _read_thresholds(file: Path) -> dict[str, float]:
    thresholds: dict[str, float] = dict(_DEFAULT_THRESHOLDS)
    content = _read_json(file) if file.exists() else {}
    for key in ("prob", "nms"):
        value = content.get(key)
        # StarDist ignores values outside (0, 1) too, and falls back on its default.
        if isinstance(value, (int, float)) and 0 < value < 1:
            thresholds[key] = float(value)
    if content.get("border_cells") in (0, 1, 2):
        thresholds["border_cells"] = content["border_cells"]
    return thresholds


def _weight_file(folder: Path) -> Path:
    files = sorted(p for p in folder.iterdir() if p.suffix in (".h5", ".hdf5", ".safetensors"))
    if not files:
        raise ModelError(
            f"There are no weights in {folder}: it needs weights_best.h5 or a .safetensors file."
        )
    # As StarDist does: the weights of the best epoch, not those of the last one.
    best = [file for file in files if "best" in file.name]
    return (best or files)[0]


def _load_safetensors(net: StarDistNet, file: Path) -> None:
    try:
        state = safetensors.torch.load_file(file)
        # Half precision on disk, single precision in the computation.
        net.load_state_dict({name: value.float() for name, value in state.items()})
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"The weights {file} do not fit config.json or are damaged ({error}). Use the files "
            "of one model."
        ) from None
