"""Evaluation from a folder to files: every measure that the table promises, with its null."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.cli import main
from napari_bio_superposition.core.errors import ConfigError, ModelError, TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.patch_store import PatchStore
from napari_bio_superposition.imaging.simulate import (
    RnaConfig,
    SimulationConfig,
    simulate_study,
    write_study,
)
from napari_bio_superposition.workflows.evaluate_config import EvaluateConfig, SweepConfig
from napari_bio_superposition.workflows.evaluate_encoder import evaluate_encoder
from napari_bio_superposition.workflows.evaluate_sweep import list_settings, sweep_sae
from napari_bio_superposition.workflows.evaluation_data import load_evaluation_data, spatial_masks

QUICK = [
    *("--n-patches", "32", "--n-permutations", "5", "--n-probe-nulls", "1"),
    *("--n-seeds", "2", "--seed-tokens", "2048", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a simulated study of 8 wells with four patches each."""
    folder = tmp_path_factory.mktemp("evaluate") / "study"
    config = SimulationConfig(n_plates=1, side_px=256, rna=RnaConfig(n_cells=0))
    run(write_study(simulate_study(config, rng=np.random.default_rng(3)), folder))
    return folder


@pytest.fixture(scope="module")
def evaluated(study: Path, tiny_model_folder: Path) -> Path:
    """Return the folder of an SAE's evaluation on the study, run by the command."""
    out = study.parent / "out"
    command = ["evaluate", "sae", str(tiny_model_folder), str(study), "--out", str(out)]
    assert main([*command, *QUICK]) == 0
    return out


def test_every_measure_is_written(evaluated):
    result = json.loads((evaluated / "sae.json").read_text())
    assert result["data"]["simulated"]
    assert result["data"]["n_groups"] == 8
    sparsity = result["sparsity"]
    assert 0 < sparsity["l0"] < 12
    assert sparsity["random_l0"] == pytest.approx(sparsity["l0"], rel=0.2)
    assert len(sparsity["fvu_interval"]) == 2
    assert result["geometry"]["random_mean_abs_cosine"] > 0
    assert set(result["loss_recovered"]) == {"sae", "random_dictionary"}
    assert result["stability"]["n_seeds"] == 2
    assert -1 <= result["stability"]["matched_cosine_between_seeds"]["mean"] <= 1
    names = [row["name"] for row in result["representations"]]
    assert names[0] == "SAE"
    assert {"CNN channels", "PCA of CNN", "k-means words", "random dictionary"} <= set(names)
    for row in result["representations"]:
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        assert {"accuracy_null", "outcome_r2", "outcome_null", "erank_null"} <= set(row)
        assert row["erank_covariance_eigenvalues"] <= row["erank_singular_values"]
    assert {row["mask"] for row in result["spatial"]} >= {"nuclei", "nuclei, true"}
    assert {row["quantity"] for row in result["recovery"]} >= {"fragmentation", "progression"}
    assert len(result["similarity"]) == len(names) - 1
    assert result["skipped"] == {}
    assert result["provenance"]["models"].keys() == {"tiny"}


def test_tables_and_page_are_written(evaluated):
    for name in ("representations", "spatial", "similarity", "recovery"):
        assert len(pd.read_csv(evaluated / f"{name}.csv")) > 3
    page = (evaluated / "report.html").read_text()
    assert "Single features against planted factors" in page
    assert (evaluated / "figures" / "probe.png").exists()


def test_an_encoder_is_measured_layer_by_layer(evaluated, tiny_model_folder, tmp_path):
    config = EvaluateConfig(n_patches=32, n_permutations=5, n_probe_nulls=1, device="cpu")
    result = run(evaluate_encoder(tiny_model_folder, evaluated / "patches", config, tmp_path))
    names = [row["name"] for row in result.layers]
    assert names == ["stage5_mid", "stage5_out", "refine_out", "untrained encoder", "intensities"]
    assert "simulated study" in result.skipped["recovery"]
    assert "--outcome" in result.skipped["outcome"]
    written = json.loads((tmp_path / "encoder.json").read_text())
    assert written["layers"][0]["accuracy"] == result.layers[0]["accuracy"]
    assert len(written["similarity"]) == 4
    assert (tmp_path / "report.html").exists()


def test_a_sweep_has_a_row_for_each_sae(evaluated, tiny_model_folder, tmp_path):
    evaluation = EvaluateConfig(n_patches=32, device="cpu")
    config = SweepConfig(
        sizes=(8, 16),
        kinds=("batch_topk",),
        paper_lambdas=(1.0,),
        target_l0s=(3.0,),
        n_tokens=2048,
        n_epochs=2,
        n_seeds=2,
        evaluation=evaluation,
    )
    result = run(sweep_sae(tiny_model_folder, evaluated / "patches", config, tmp_path))
    table = pd.read_csv(tmp_path / "sweep.csv")
    first = ["CNN channels", "PCA of CNN", "CNN mean and SD", "CNN rectified"]
    saes = ["gated", "batch_topk"] * 2
    last = ["random dictionary"] * 2 + ["k-means words"] * 2
    assert table["kind"].tolist() == [*first, *saes, *last]
    assert table["asked"].tolist()[4:10] == [*(["lambda 1", "L0 3"] * 2), "L0 3", "L0 3"]
    assert table["n_latents"].tolist()[4:] == [8, 8, 16, 16, 8, 16, 8, 16]
    matched = table[table["asked"] == "L0 3"]
    assert matched["l0"].between(1.5, 6).all()
    assert table["accuracy"].notna().all()
    trained = table[table["kind"].isin(["gated", "batch_topk"])]
    for column in ("seed_cosine", "loss_recovered", "auroc", "auroc, nuclei", "welch_rms_cosine"):
        assert trained[column].notna().all()
    assert (trained["seed_cosine"] <= 1).all()
    assert len(result.as_lines()) == 13 + len(result.data["notes"])
    assert (tmp_path / "report.html").exists()


def test_a_target_that_a_short_training_missed_is_said(evaluated, tiny_model_folder, tmp_path):
    config = SweepConfig(
        sizes=(16,),
        kinds=("gated",),
        paper_lambdas=(),
        target_l0s=(3.0,),
        n_tokens=2048,
        n_epochs=1,
        n_seeds=1,
        evaluation=EvaluateConfig(n_patches=32, device="cpu"),
    )
    result = run(sweep_sae(tiny_model_folder, evaluated / "patches", config, tmp_path))
    row = next(row for row in result.sweep if row["kind"] == "gated")
    assert row["trained_l0"] > 3 * 1.15
    assert "did not reach its target L0 for gated with 16 latents" in result.data["notes"][-1]
    assert "seed_cosine" not in row


def test_outcomes_come_from_a_table(evaluated, tiny_model_folder, tmp_path):
    card = json.loads((tiny_model_folder / "card.json").read_text())
    card = type("Card", (), {**card, "channel_roles": tuple(card["channel_roles"])})
    store = PatchStore.open(evaluated / "patches")
    path = tmp_path / "death.csv"
    values = pd.DataFrame({"patch_id": store.obs.index, "dead_area_rate": np.arange(len(store))})
    values.to_csv(path, index=False)
    config = EvaluateConfig(n_patches=32, outcome=path)
    data = run(load_evaluation_data(store.folder, None, card, config, tmp_path))
    np.testing.assert_array_equal(data.outcome, data.rows)
    masks = run(spatial_masks(data, np.array([0, 5, 9])))
    assert set(masks) == {"mitochondria, bright", "lysosomes, bright", "nuclei"}
    assert {mask.shape for mask in masks.values()} == {(3, 4096)}
    config = EvaluateConfig(n_patches=32, outcome=path, outcome_column="age")
    with pytest.raises(TableError, match="no column 'age'"):
        run(load_evaluation_data(store.folder, None, card, config, tmp_path))
    config = EvaluateConfig(n_patches=32, outcome=path)
    values.assign(patch_id="x").to_csv(path, index=False)
    with pytest.raises(TableError, match="more than once"):
        run(load_evaluation_data(store.folder, None, card, config, tmp_path))
    values.assign(patch_id=np.arange(len(values))).to_csv(path, index=False)
    with pytest.raises(TableError, match="names none of the"):
        run(load_evaluation_data(store.folder, None, card, config, tmp_path))
    card.patch_side_px = 64
    with pytest.raises(ModelError, match="Give the folder of images"):
        run(load_evaluation_data(store.folder, None, card, config, tmp_path))


def test_errors_of_the_user_are_told(capsys):
    assert main(["evaluate", "scae"]) == 2
    assert "none of: sae, encoder, sweep" in capsys.readouterr().err
    assert main(["evaluate", "--help"]) == 0
    assert "sweep" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="No kind of SAE 'topk'"):
        list_settings(SweepConfig(kinds=("topk",)))
