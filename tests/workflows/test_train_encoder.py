"""From a folder of images to an encoder with a report; stopped, resumed, and read back."""

import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.cli import main
from napari_bio_superposition.core.errors import BioSuperpositionError, ConfigError
from napari_bio_superposition.core.progress import Progress, run
from napari_bio_superposition.evaluation.splits import Split
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.models.encoder_checkpoint import load_encoder
from napari_bio_superposition.models.encoder_config import NetworkConfig
from napari_bio_superposition.models.training_config import ContrastiveConfig
from napari_bio_superposition.workflows.config_files import write_config
from napari_bio_superposition.workflows.train_encoder import STATE, train_encoder_model
from napari_bio_superposition.workflows.train_encoder_config import (
    TrainEncoderConfig,
    training_preset,
)
from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig
from napari_bio_superposition.workflows.training_report import read_report

CONFIG = TrainEncoderConfig(
    network=NetworkConfig(width=8, blocks=(1, 1, 1, 1)),
    contrastive=ContrastiveConfig(
        n_epochs=3,
        batch_size=8,
        warmup_epochs=0,
        optimizer="adamw",
        learning_rate=3e-3,
        temperature=0.2,
        queue_size=32,
        key_momentum=0.9,
        epoch_end="all_seen",
        centre_first=True,
        centre_pooled=True,
    ),
    data=TrainingDataConfig(
        channel_roles=("nuclei", "mitochondria"),
        patches=PatchConfig(side_px=16, quality="none", intensity_scaling="field_percentile"),
    ),
    device="cpu",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with fine noise in wells of one genotype and coarse noise in the others."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        fine = number % 2
        side = 48 if fine else 12
        counts = rng.integers(100, 60_000, (2, side, side)).astype(np.uint16)
        if not fine:
            counts = counts.repeat(4, 1).repeat(4, 2)
        name = f"field{number}"
        write_image(
            counts, _made(folder / "images") / f"{name}.ome.tif", channel_names=("DAPI", "TMRM"),
            pixel_size_um=0.6,
        )  # fmt: skip
        rows.append((name, "P1", f"A{number + 1:02d}", ("Control", "SNCA")[fine]))
    table = pd.DataFrame(rows, columns=["image", "plate", "well", "genotype"])
    table.to_csv(folder / "table.csv", index=False)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def trained(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    run(train_encoder_model(study / "images", study / "table.csv", CONFIG, out))
    return out


def test_planted_classes_are_found_on_held_out_wells(trained: Path) -> None:
    report = read_report(trained)
    assert report.class_names == ["Control", "SNCA"]
    assert report.accuracy is not None
    assert report.accuracy > 0.8
    assert report.chance == 0.5
    assert report.split_unit == "group"
    assert not report.leaking
    assert np.sum(report.confusion) == report.n_patches["test"]


def test_the_folder_holds_everything_that_was_promised(trained: Path) -> None:
    loaded = load_encoder(trained)
    assert loaded.card.channel_roles == ("nuclei", "mitochondria")
    assert loaded.card.classes == ("Control", "SNCA")
    assert loaded.card.pixel_size_um == 0.6
    assert loaded.card.measurements["accuracy"] == read_report(trained).accuracy
    curve = pd.read_csv(trained / "curve.csv")
    report = read_report(trained)
    assert curve["step"].tolist() == list(range(1, report.n_steps + 1))
    assert curve["loss"].iloc[0] == report.first_loss
    validation = pd.read_csv(trained / "validation.csv")
    assert validation["epoch"].tolist() == [1, 2, 3]
    assert validation["macro_f1"].between(0, 1).all()
    confusion = pd.read_csv(trained / "confusion.csv", index_col="true")
    assert confusion.columns.tolist() == ["Control", "SNCA"]
    split = Split.from_json((trained / "split.json").read_text())
    assert not set(split.train) & set(split.test)
    assert not (trained / STATE).exists()


def test_the_events_are_valid_records(trained: Path) -> None:
    content = next(trained.glob("events.out.tfevents.*")).read_bytes()
    n_events, position = 0, 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        position += 16 + length
        n_events += 1
    assert position == len(content)
    assert n_events == 1 + read_report(trained).n_steps + 3 * 3  # version, losses, three measures


@pytest.mark.parametrize("epochs", [1.5, 2.0], ids=["within an epoch", "before its probe"])
def test_a_stopped_training_goes_on_with_the_very_same_curves(
    study: Path, trained: Path, tmp_path: Path, epochs: float
) -> None:
    arguments = (study / "images", study / "table.csv", CONFIG, tmp_path / "model")
    stop = int(epochs * read_report(trained).n_steps / CONFIG.contrastive.n_epochs)
    job = train_encoder_model(*arguments)
    while "loss" not in (progress := next(job)).values or progress.done < stop:
        pass
    job.close()
    assert (tmp_path / "model" / STATE).exists()
    with pytest.raises(ConfigError, match="holds a training already"):
        run(train_encoder_model(*arguments))
    seen: list[Progress] = []
    run(train_encoder_model(*arguments, resume=True), seen.append)
    assert next(p.done for p in seen if "loss" in p.values) == stop + 1
    for name in ("curve.csv", "validation.csv"):
        whole, resumed = (pd.read_csv(f / name) for f in (trained, tmp_path / "model"))
        pd.testing.assert_frame_equal(whole, resumed)
    again = run(train_encoder_model(*arguments, resume=True))
    assert again.accuracy == read_report(trained).accuracy


def test_other_settings_do_not_go_on_with_a_training(study: Path, trained: Path) -> None:
    config = replace(CONFIG, seed=5)
    job = train_encoder_model(study / "images", study / "table.csv", config, trained, resume=True)
    with pytest.raises(ConfigError, match="other settings of seed"):
        run(job)


def test_the_patch_level_split_is_there_and_labelled_as_leaking(
    study: Path, tmp_path: Path
) -> None:
    contrastive = replace(CONFIG.contrastive, n_epochs=1)
    config = replace(CONFIG, split_unit="patch", contrastive=contrastive)
    report = run(
        train_encoder_model(study / "images", study / "table.csv", config, tmp_path / "leaky")
    )
    assert report.leaking
    assert any("leaks" in note for note in report.notes)
    assert any("LEAKING" in line for line in report.as_lines())


def test_without_a_table_it_trains_without_classes_and_says_so(study: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, contrastive=replace(CONFIG.contrastive, n_epochs=1))
    notices: list[str] = []
    job = train_encoder_model(study / "images", None, config, tmp_path / "moco")
    report = run(job, lambda progress: notices.append(progress.notice))
    assert any("without classes" in notice for notice in notices)
    assert report.accuracy is None
    assert load_encoder(tmp_path / "moco").card.classes == ()


def test_too_few_wells_for_a_grouped_split_are_explained(study: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, split_unit="plate")
    with pytest.raises(BioSuperpositionError, match="too few plates"):
        run(train_encoder_model(study / "images", study / "table.csv", config, tmp_path / "x"))


def test_presets_and_flags(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert training_preset("paper").contrastive == ContrastiveConfig()
    assert training_preset("small").contrastive.centre_pooled
    write_config(CONFIG, tmp_path / "tiny.toml")
    argv = ["train-encoder", str(study / "images"), "--table", str(study / "table.csv")]
    argv += ["--out", str(tmp_path / "model"), "--preset", "small", "--json"]
    argv += ["--config", str(tmp_path / "tiny.toml"), "--contrastive.n-epochs", "1"]
    assert main(argv) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["event"] == "result"
    assert result["n_steps"] == pd.read_csv(tmp_path / "model" / "curve.csv")["step"].max()
    with pytest.raises(ConfigError, match="paper, small"):
        training_preset("large")


_COMMAND = "import sys; from napari_bio_superposition.cli import main; sys.exit(main())"
_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_two_processes_learn_together(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning.fabric")
    # Without centring over the batch the parts of a batch are independent: the curves agree.
    contrastive = replace(CONFIG.contrastive, n_epochs=1, centre_pooled=False)
    config = replace(CONFIG, contrastive=contrastive)
    run(train_encoder_model(study / "images", study / "table.csv", config, tmp_path / "one"))
    write_config(config, tmp_path / "tiny.toml")
    argv = ["train-encoder", str(study / "images"), "--table", str(study / "table.csv")]
    argv += ["--out", str(tmp_path / "two"), "--config", str(tmp_path / "tiny.toml")]
    script = tmp_path / "command.py"  # the second process is started with the same command line
    script.write_text(_COMMAND)
    command = [sys.executable, str(script), *argv, "--n-devices", "2"]
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr.decode()
    one, two = (pd.read_csv(tmp_path / name / "curve.csv")["loss"] for name in ("one", "two"))
    np.testing.assert_allclose(one, two, rtol=2e-3)


def test_a_run_killed_without_warning_is_gone_on_with(
    study: Path, trained: Path, tmp_path: Path
) -> None:
    write_config(replace(CONFIG, save_minutes=0.0), tmp_path / "tiny.toml")
    argv = ["train-encoder", str(study / "images"), "--table", str(study / "table.csv"), "--json"]
    argv += ["--out", str(tmp_path / "model"), "--config", str(tmp_path / "tiny.toml")]
    command = [sys.executable, "-c", _COMMAND, *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT)
    assert process.stdout is not None
    stop = int(np.random.default_rng().integers(2, 11))  # at any step
    for line in process.stdout:
        values = json.loads(line)
        if "loss" in values.get("values", {}) and values["done"] >= stop:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert (tmp_path / "model" / STATE).exists()
    assert main([*argv, "--resume"]) == 0
    curves = [pd.read_csv(folder / "curve.csv") for folder in (trained, tmp_path / "model")]
    pd.testing.assert_frame_equal(*curves)
