import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from napari_bio_superposition.core.errors import BioSuperpositionError, ModelError
from napari_bio_superposition.segmentation.model_folder import load_stardist, read_model_folder
from napari_bio_superposition.segmentation.unet import StarDistNet


def test_reads_what_tensorflow_stardist_leaves(model_folder: Path, small_net: StarDistNet) -> None:
    model = load_stardist(str(model_folder))
    assert (model.prob_threshold, model.nms_threshold) == (0.6, 0.25)
    assert model.device.type == "cpu"
    assert not model.net.training
    assert len(model.sha256) == 64
    pixels = torch.rand(1, 1, 16, 24)
    for ours, theirs in zip(model.net(pixels), small_net(pixels), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_half_precision_is_computed_in_single(model_folder: Path, small_net: StarDistNet) -> None:
    (model_folder / "weights_best.h5").unlink()
    state = {name: value.half() for name, value in small_net.state_dict().items()}
    safetensors.torch.save_file(state, model_folder / "any.safetensors")
    model = read_model_folder(model_folder, name="mine")
    assert model.name == "mine"
    assert next(model.net.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, (0.5, 0.4)),
        ("{}", (0.5, 0.4)),
        ('{"prob": 1.5, "nms": 0.3}', (0.5, 0.3)),
        ('{"prob": null, "nms": "x"}', (0.5, 0.4)),
    ],
)
def test_thresholds_fall_back_on_those_of_stardist(
    model_folder: Path, content: str | None, expected: tuple[float, float]
) -> None:
    (model_folder / "thresholds.json").unlink()
    if content is not None:
        (model_folder / "thresholds.json").write_text(content)
    model = read_model_folder(model_folder, name="m")
    assert (model.prob_threshold, model.nms_threshold) == expected
    assert model.border_cells == 2


def test_our_own_models_may_narrow_the_border(model_folder: Path) -> None:
    (model_folder / "thresholds.json").write_text('{"prob": 0.5, "nms": 0.3, "border_cells": 0}')
    assert read_model_folder(model_folder, name="m").border_cells == 0


def test_the_best_epoch_is_preferred(model_folder: Path) -> None:
    (model_folder / "weights_a_last.h5").write_bytes(b"not read")
    read_model_folder(model_folder, name="m")


@pytest.mark.parametrize("missing", ["config.json", "weights_best.h5"])
def test_a_missing_file_is_named(model_folder: Path, missing: str) -> None:
    (model_folder / missing).unlink()
    with pytest.raises(ModelError, match=r"weights_best\.h5"):
        read_model_folder(model_folder, name="m")


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00", '{"n_rays": -1}'])
def test_a_damaged_config_is_one_clear_error(model_folder: Path, content: str) -> None:
    (model_folder / "config.json").write_text(content)
    with pytest.raises(BioSuperpositionError):
        read_model_folder(model_folder, name="m")


def test_a_model_for_coloured_images_is_refused(
    model_folder: Path, stardist_json: dict[str, object]
) -> None:
    (model_folder / "config.json").write_text(json.dumps({**stardist_json, "n_channel_in": 3}))
    with pytest.raises(ModelError, match="3 channels"):
        read_model_folder(model_folder, name="m")


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"x" * 64])
def test_damaged_safetensors_are_one_clear_error(model_folder: Path, content: bytes) -> None:
    (model_folder / "weights_best.h5").unlink()
    (model_folder / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        read_model_folder(model_folder, name="m")


def test_the_bundled_model_is_complete_and_small() -> None:
    from napari_bio_superposition.segmentation.sources import find_model_folder

    folder = find_model_folder("bundled")
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert sum(files.values()) < 4 * 2**20
    card = json.loads((folder / "model_card.json").read_text())
    assert card["training_data"]["licence"] == "CC0-1.0"
    assert card["accuracy"]["stardist"]["mean_over_images"] >= 0.85  # the bar of the project
    assert card["split"]["n_held_out"] == len(card["split"]["held_out"]) == 82
