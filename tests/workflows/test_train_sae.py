"""`train-sae`, `export-sae`, `import-sae`: from an encoder and patches to a model that is used."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.cli import main
from napari_bio_superposition.core.errors import ConfigError, ModelError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.patch_store import CLASS, StoreInfo, write_patch_store
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.inference import encode_patches
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.workflows.train_sae import train_sae_model
from napari_bio_superposition.workflows.train_sae_config import TrainSaeConfig

ROLES = ("mitochondria", "lysosomes", "nuclei")
QUICK = TrainSaeConfig(
    sae=SaeConfig(
        n_latents=24,
        target_l0=3,
        tokens_per_patch=32,
        buffer_tokens=256,
        batch_tokens=64,
        n_epochs=2,
        evaluation_tokens=512,
    ),
    device="cpu",
    save_minutes=0,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return 24 small patches of eight wells and two classes, on disk."""
    rng = np.random.default_rng(0)
    pixels = rng.random((24, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    wells = np.repeat([f"P1/A{n:02d}" for n in range(1, 9)], 3)
    obs = pd.DataFrame(
        {
            Keys.IMAGE: "field",
            Keys.GROUP: wells,
            CLASS: np.repeat(["control", "snca"], 12),
        },
        index=[f"patch{n}" for n in range(24)],
    )
    info = StoreInfo(
        key="test", channel_roles=ROLES, side_px=32, intensity_scaling="field_percentile"
    )
    return write_patch_store(tmp_path_factory.mktemp("store"), pixels, obs, info)


def test_a_model_is_trained_measured_on_held_out_wells_and_used(tiny_model_folder, store, tmp_path):
    reports = []
    job = train_sae_model(tiny_model_folder, store.folder, QUICK, tmp_path / "own")
    result = run(job, reports.append)
    model = load_model(tmp_path / "own")
    assert (model.card.name, model.card.sae_kind, model.card.n_latents) == ("own", "batch_topk", 24)
    assert model.card.measurements["held_out_wells"] == 2
    assert model.card.measurements["l0"] == pytest.approx(3, rel=0.2)
    assert model.card.training["sae"]["sae"]["target_l0"] == 3
    assert result.held_out
    assert len(result.curves["fvu"]) > 10
    assert any("on the evaluation set: L0" in report.notice for report in reports)
    encoded = run(encode_patches(model, store.batch(slice(0, 4))))
    assert encoded.activations.shape == (4, 24)
    assert (encoded.activations > 0).any()
    assert not (tmp_path / "own.training").exists()


def test_a_killed_run_goes_on(tiny_model_folder, store, tmp_path):
    whole = run(train_sae_model(tiny_model_folder, store.folder, QUICK, tmp_path / "whole"))
    job = train_sae_model(tiny_model_folder, store.folder, QUICK, tmp_path / "part")
    for progress in job:
        if progress.step == "Training the SAE" and progress.done == 15:
            break
    job.close()
    assert not (tmp_path / "part").exists()
    with pytest.raises(ConfigError, match="--resume"):
        run(train_sae_model(tiny_model_folder, store.folder, QUICK, tmp_path / "part"))
    other = dataclasses.replace(QUICK, seed=1)
    with pytest.raises(ConfigError, match="other settings"):
        run(train_sae_model(tiny_model_folder, store.folder, other, tmp_path / "part", resume=True))
    first = []
    job = train_sae_model(tiny_model_folder, store.folder, QUICK, tmp_path / "part", resume=True)
    resumed = run(job, lambda p: first.append(p.done) if p.step == "Training the SAE" else None)
    assert first[0] > 5  # not from the beginning
    assert resumed.curves == whole.curves
    with pytest.raises(ConfigError, match="already"):
        run(train_sae_model(tiny_model_folder, store.folder, QUICK, tmp_path / "part"))


def test_patches_of_another_scaling_are_refused(tiny_model_folder, store, tmp_path):
    info = dataclasses.replace(store.info, intensity_scaling="dtype")
    other = write_patch_store(tmp_path / "other", store.pixels, store.obs, info)
    with pytest.raises(ModelError, match="cut anew"):
        run(train_sae_model(tiny_model_folder, other.folder, QUICK, tmp_path / "own"))


def test_the_commands_train_export_and_import(tiny_model_folder, store, tmp_path, capsys):
    words = ["train-sae", str(tiny_model_folder), str(store.folder), "--out", str(tmp_path / "a")]
    words += ["--kind", "gated", "--n-latents", "20", "--target-l0", "4", "--n-epochs", "1"]
    words += ["--tokens-per-patch=32", "--batch-tokens", "64", "--device", "cpu", "--json"]
    assert main(words) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["kind"]) == ("result", "gated")
    assert main(["export-sae", str(tmp_path / "a"), "--out", str(tmp_path / "lens")]) == 0
    back = ["import-sae", str(tmp_path / "lens"), str(tiny_model_folder)]
    assert main([*back, "--out", str(tmp_path / "b")]) == 0
    models = [load_model(tmp_path / name) for name in "ab"]
    some = store.batch(slice(0, 3))
    features = [run(encode_patches(model, some)).activations for model in models]
    np.testing.assert_allclose(features[1], features[0], atol=1e-6)


def test_two_ways_of_sparsity_at_once_are_refused(tiny_model_folder, store, tmp_path, capsys):
    words = ["train-sae", str(tiny_model_folder), str(store.folder), "--out", str(tmp_path / "a")]
    words += ["--kind", "gated", "--sparsity", "0.1", "--paper-lambda", "800"]
    assert main(words) == 2
    assert "Give one of them" in capsys.readouterr().err
