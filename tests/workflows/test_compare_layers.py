"""One protocol on each layer: planted classes are found in all, noise explains no death."""

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.patch_store import CLASS, StoreInfo, write_patch_store
from napari_bio_superposition.workflows.compare_layers import compare_layers, describe_layers
from napari_bio_superposition.workflows.compare_layers_config import CompareLayersConfig

CONFIG = CompareLayersConfig(n_permutations=20, n_folds=3, device="cpu")


def write_store(folder, *, classes):
    """Write 48 patches of 12 wells, fine noise in half of them and coarse in the others."""
    rng = np.random.default_rng(0)
    fine = rng.random((24, 3, 32, 32))
    coarse = rng.random((24, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    obs = pd.DataFrame(
        {
            Keys.IMAGE: "field",
            Keys.PLATE: np.tile(["P1", "P2"], 24),
            Keys.GROUP: np.repeat([f"A{n:02d}" for n in range(12)], 4),
            CLASS: np.repeat(classes, 24),
        },
        index=[f"patch{n}" for n in range(48)],
    )
    roles = ("mitochondria", "lysosomes", "nuclei")
    info = StoreInfo(
        key="test", channel_roles=roles, side_px=32, intensity_scaling="field_percentile"
    )
    return write_patch_store(folder, np.concatenate([fine, coarse]), obs, info)


def test_each_layer_is_measured_alike(tiny_model_folder, tmp_path):
    store = write_store(tmp_path / "store", classes=["control", "snca"])
    noise = np.random.default_rng(1).random(48)
    rates = pd.Series(np.where(np.arange(48) < 24, 0.1, 0.5) + 0.02 * noise, store.obs.index)
    job = compare_layers(tiny_model_folder, store.folder, CONFIG, tmp_path / "out", death=rates)
    layers = run(job)
    assert list(layers.index) == ["stage5_mid", "stage5_out", "refine_out"]
    assert (layers["accuracy"] > 0.9).all()
    assert (layers["chance"] == 0.5).all()
    assert (layers["death_r2"] > 0.4).all()
    assert (layers["death_null"] < 0.2).all()
    assert (layers["n_wells"] == 12).all()
    stored = pd.read_csv(tmp_path / "out" / "layers.csv", index_col="tap")
    pd.testing.assert_frame_equal(stored, layers)
    assert "overlaps" in describe_layers(layers)[-1]


def test_nothing_to_compare_by_is_said(tiny_model_folder, tmp_path):
    store = write_store(tmp_path / "store", classes=["", ""])
    with pytest.raises(TableError, match="neither two classes"):
        run(compare_layers(tiny_model_folder, store.folder, CONFIG, tmp_path / "out"))
