"""Networks and images that the tests of segmentation share."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_bio_superposition.segmentation.stardist import StarDistModel
from napari_bio_superposition.segmentation.unet import StarDistNet, UNetConfig

SMALL = UNetConfig(n_rays=8, n_filters=4, depth=2, n_features=6)


@pytest.fixture
def small_net() -> StarDistNet:
    """Return a small network with weights that differ everywhere."""
    torch.manual_seed(0)
    return StarDistNet(SMALL).eval().requires_grad_(False)


@pytest.fixture
def small_model(small_net: StarDistNet) -> StarDistModel:
    return StarDistModel(
        net=small_net, prob_threshold=0.5, nms_threshold=0.4, name="small", sha256="0"
    )


@pytest.fixture
def stardist_json() -> dict[str, object]:
    """Return a config.json, as StarDist writes it, of the small network."""
    return {
        "n_dim": 2,
        "axes": "YXC",
        "n_channel_in": 1,
        "n_rays": 8,
        "grid": [2, 2],
        "backbone": "unet",
        "n_classes": None,
        "unet_n_depth": 2,
        "unet_kernel_size": [3, 3],
        "unet_n_filter_base": 4,
        "unet_n_conv_per_depth": 2,
        "unet_pool": [2, 2],
        "unet_activation": "relu",
        "unet_last_activation": "relu",
        "unet_batch_norm": False,
        "net_conv_after_unet": 6,
        "train_patch_size": [256, 256],
    }


Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def keras_arrays(small_net: StarDistNet) -> Callable[[int], Arrays]:
    """Return a function giving (kernel, bias) by the names Keras has for the small network.

    Its argument is the number of the first unnamed convolution.
    """
    return lambda first: _keras_arrays(small_net, first)


def _keras_arrays(net: StarDistNet, first: int) -> Arrays:
    # Spelled out, so that the rule in the source is checked against the names StarDist wrote.
    names = {
        "down_level_0_no_0": "down.0.0",
        "down_level_0_no_1": "down.0.1",
        "down_level_1_no_0": "down.1.0",
        "down_level_1_no_1": "down.1.1",
        "middle_0": "middle.0",
        "middle_2": "middle.1",
        "up_level_1_no_0": "up.1.0",
        "up_level_1_no_2": "up.1.1",
        "up_level_0_no_0": "up.0.0",
        "up_level_0_no_2": "up.0.1",
        "features": "features.0",
        "prob": "prob",
        "dist": "dist",
        f"conv2d_{first}" if first else "conv2d": "pre.0.0",
        f"conv2d_{first + 1}": "pre.0.1",
    }
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    return {
        theirs: (state[f"{ours}.weight"].transpose(2, 3, 1, 0), state[f"{ours}.bias"])
        for theirs, ours in names.items()
    }


@pytest.fixture
def write_h5() -> Callable[..., None]:
    """Return a function that writes weights as Keras 2 or 3 lays them out."""

    def write(file: Path, arrays: Arrays, keras: int) -> None:
        suffix = ":0" if keras == 2 else ""
        with h5py.File(file, "w") as content:
            for name, (kernel, bias) in arrays.items():
                group = content.create_group(f"{name}/{name}")
                group[f"kernel{suffix}"] = kernel
                group[f"bias{suffix}"] = bias
            content.create_group("max_0")
            content.create_group("top_level_model_weights")

    return write


@pytest.fixture
def model_folder(
    tmp_path: Path,
    keras_arrays: Callable[[int], Arrays],
    stardist_json: dict[str, object],
    write_h5: Callable[..., None],
) -> Path:
    """Return a folder as TensorFlow StarDist leaves it."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(stardist_json))
    (folder / "thresholds.json").write_text('{"prob": 0.6, "nms": 0.25}')
    write_h5(folder / "weights_best.h5", keras_arrays(0), keras=2)
    return folder


Disc = tuple[float, float, float]


@pytest.fixture
def draw_discs() -> Callable[[tuple[int, int], list[Disc]], tuple[np.ndarray, np.ndarray]]:
    """Return a function giving a blurred image, and the labels, of discs (y, x, radius)."""

    def draw(shape: tuple[int, int], discs: list[Disc]) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.indices(shape)
        labels = np.zeros(shape, np.int32)
        for number, (cy, cx, radius) in enumerate(discs, start=1):
            labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
        return ndimage.gaussian_filter((labels > 0).astype(np.float32), 1.0), labels

    return draw
