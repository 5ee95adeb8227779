"""Choice of the device, and what importing this room costs."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.errors import DeviceError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models import device as devices
from napari_bio_superposition.models.inference import encode_patches


def test_the_processor_is_always_there():
    assert devices.list_devices()[-1] == "cpu"
    assert devices.choose_device("cpu") == "cpu"


def test_auto_takes_the_best_device():
    assert devices.choose_device("auto") == devices.list_devices()[0]


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "CPU"])
def test_an_absent_device_lists_those_there_are(name):
    with pytest.raises(DeviceError, match=r"auto, .*cpu"):
        devices.choose_device(name)


def test_names_configs_and_cards_come_without_torch():
    code = (
        "import sys, napari_bio_superposition.models as models;"
        "models.list_models(); models.find_model('small'); models.read_card;"
        "models.ModelCard, models.SaeConfig, models.ContrastiveConfig, models.choose_device;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists():
    import napari_bio_superposition.models as models

    assert all(getattr(models, name) is not None for name in dir(models))
    with pytest.raises(AttributeError, match="nothing"):
        _ = models.nothing


@pytest.mark.gpu
def test_a_gpu_gives_the_same_features(make_model, tiny_patches):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    expected = run(encode_patches(make_model(), tiny_patches))
    found = run(encode_patches(make_model().to("cuda:0"), tiny_patches, keep_tokens=True))
    scale = expected.activations.max()
    np.testing.assert_allclose(found.activations, expected.activations, atol=1e-2 * scale)
