from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.segmentation.keras_weights import load_keras_weights
from napari_bio_superposition.segmentation.unet import StarDistNet

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.mark.parametrize("keras", [2, 3])
@pytest.mark.parametrize("first", [0, 9])
def test_both_layouts_load_in_the_order_of_the_numbers(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
    keras: int,
    first: int,
) -> None:
    # conv2d_9 comes before conv2d_10, which the alphabet would turn round.
    file = tmp_path / "weights_best.h5"
    write_h5(file, keras_arrays(first), keras)
    loaded = StarDistNet(small_net.config)
    load_keras_weights(loaded, file)
    for name, value in small_net.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)


def test_a_kernel_is_applied_as_keras_does(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
    rng: np.random.Generator,
) -> None:
    # Keras convolutions are correlations with kernels (y, x, input, output), padded by zeros.
    arrays = keras_arrays(0)
    kernel = rng.normal(size=(3, 3, 1, 4)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    write_h5(tmp_path / "w.h5", arrays | {"conv2d": (kernel, bias)}, keras=3)
    net = StarDistNet(small_net.config)
    load_keras_weights(net, tmp_path / "w.h5")
    image = rng.normal(size=(9, 12)).astype(np.float32)
    first = net.get_submodule("pre.0.0")
    result = first(torch.from_numpy(image)[None, None])[0, 2].detach().numpy()
    expected = correlate2d(image, kernel[:, :, 0, 2], mode="same") + bias[2]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_a_missing_layer_is_named(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
) -> None:
    arrays = keras_arrays(0)
    del arrays["middle_2"]
    write_h5(tmp_path / "w.h5", arrays, keras=2)
    with pytest.raises(ModelError, match="middle_2"):
        load_keras_weights(StarDistNet(small_net.config), tmp_path / "w.h5")


def test_another_width_is_refused(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
) -> None:
    arrays = keras_arrays(0)
    arrays["prob"] = (np.zeros((1, 1, 7, 1), np.float32), np.zeros(1, np.float32))
    write_h5(tmp_path / "w.h5", arrays, keras=2)
    with pytest.raises(ModelError, match=r"prob.weight.*Use the two files of one model"):
        load_keras_weights(StarDistNet(small_net.config), tmp_path / "w.h5")


def test_a_layer_without_bias_is_refused(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
) -> None:
    write_h5(tmp_path / "w.h5", keras_arrays(0), keras=2)
    with h5py.File(tmp_path / "w.h5", "a") as content:
        del content["features/features/bias:0"]
    with pytest.raises(ModelError, match=r"features.0.bias"):
        load_keras_weights(StarDistNet(small_net.config), tmp_path / "w.h5")


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 200])
def test_a_damaged_file_is_one_clear_error(
    tmp_path: Path, small_net: StarDistNet, content: bytes
) -> None:
    (tmp_path / "w.h5").write_bytes(content)
    with pytest.raises(ModelError, match="Fetch the model again"):
        load_keras_weights(StarDistNet(small_net.config), tmp_path / "w.h5")


def test_a_truncated_file_is_one_clear_error(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
) -> None:
    file = tmp_path / "w.h5"
    write_h5(file, keras_arrays(0), keras=3)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError):
        load_keras_weights(StarDistNet(small_net.config), file)


def test_links_to_other_files_are_not_followed(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
) -> None:
    write_h5(tmp_path / "other.h5", keras_arrays(0), keras=2)
    with h5py.File(tmp_path / "w.h5", "w") as content:
        content["prob"] = h5py.ExternalLink("other.h5", "/prob")
    with pytest.raises(ModelError, match="prob"):
        load_keras_weights(StarDistNet(small_net.config), tmp_path / "w.h5")


def test_kernels_of_integers_are_refused(
    tmp_path: Path,
    small_net: StarDistNet,
    keras_arrays: Callable[[int], Arrays],
    write_h5: Callable[..., None],
) -> None:
    arrays = keras_arrays(0)
    arrays["dist"] = (np.zeros((1, 1, 6, 8), np.int64), np.zeros(8, np.float32))
    write_h5(tmp_path / "w.h5", arrays, keras=2)
    with pytest.raises(ModelError, match="int64"):
        load_keras_weights(StarDistNet(small_net.config), tmp_path / "w.h5")
