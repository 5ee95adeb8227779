"""Batch runs: plan, run, collect; in this process, in others, killed and gone on with."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_bio_superposition.core.errors import BioSuperpositionError, ConfigError, TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze_files import analyze_files
from napari_bio_superposition.workflows.batch import (
    collect_batch,
    compare_runs,
    describe_progress,
    read_status,
    rerun_batch,
    run_batch,
    run_plan,
    with_resources,
)
from napari_bio_superposition.workflows.batch_config import BatchConfig, ResourceConfig
from napari_bio_superposition.workflows.batch_executors import threads_of_children
from napari_bio_superposition.workflows.batch_plan import plan_batch, read_plan

CHANNELS = ["MitoTDR", "Lyso", "H33342", "Sytox"]
SIDE = 160


def make_field(seed: int) -> np.ndarray:
    """Return four channels with eight nuclei, half of them with death dye."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = rng.normal(300, 20, (4, SIDE, SIDE))
    for number in range(8):
        centre = rng.uniform(20, SIDE - 20, 2)
        disc = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 7**2))
        pixels[2] += 3000 * disc
        pixels[3] += 2500 * disc * (number % 2)
        pixels[0] += 1500 * np.roll(disc, 9, axis=1) * (rng.random((SIDE, SIDE)) < 0.6)
        pixels[1] += 2000 * np.roll(disc, -9, axis=0) * (rng.random((SIDE, SIDE)) < 0.2)
    return pixels.clip(0, 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six fields in three wells of two plates."""
    folder = tmp_path_factory.mktemp("study")
    names = ["P1_A01_s1", "P1_A01_s2", "P1_B02_s1", "P1_B02_s2", "P2_A01_s1", "P2_B02_s1"]
    for seed, name in enumerate(names):
        tifffile.imwrite(
            folder / f"{name}.ome.tif",
            make_field(seed),
            metadata={"axes": "CYX", "Channel": {"Name": CHANNELS}, "PhysicalSizeX": 0.6,
                      "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.6, "PhysicalSizeYUnit": "µm"},
        )  # fmt: skip
    rows = [f"{n}.ome.tif,{'drug' if 'B02' in n else 'DMSO'}" for n in names]
    (folder / "table.csv").write_text("\n".join(["image,treatment", *rows]))
    return folder


@pytest.fixture(scope="module")
def config(tiny_model_folder: Path) -> BatchConfig:
    """Return settings that are quick: watershed and a random tiny model."""
    analysis = AnalyzeConfig(
        model=str(tiny_model_folder), segmentation=SegmentationConfig(method="watershed")
    )
    return BatchConfig(analysis=analysis)


@pytest.fixture(scope="module")
def finished(study: Path, config: BatchConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an uninterrupted run in one process."""
    out = tmp_path_factory.mktemp("finished") / "run"
    summary = run(run_batch(study, config, out, metadata=study / "table.csv"))
    assert not summary.failures
    assert len(summary.images) == 6
    return out


def digests(folder: Path) -> dict[str, dict[str, str]]:
    """Return the hashes of all files of all fields."""
    done = read_status(read_plan(folder)).done
    return {name: dict(result.values["files"]) for name, result in done.items()}


def test_the_table_is_that_of_analyze(
    study: Path, config: BatchConfig, finished: Path, tmp_path: Path
) -> None:
    files = sorted(study.glob("*.tif"))
    run(analyze_files(files, config.analysis, tmp_path, metadata=study / "table.csv"))
    ours, theirs = (anndata.read_h5ad(p / "patches.h5ad") for p in (finished, tmp_path))
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    np.testing.assert_array_equal(np.asarray(ours.X), np.asarray(theirs.X))
    pd.testing.assert_frame_equal(ours.var, theirs.var)
    assert set(ours.obs["treatment"]) == {"drug", "DMSO"}


def test_a_plan_is_read_back_as_it_was_made(
    study: Path, config: BatchConfig, tmp_path: Path
) -> None:
    plan = run(plan_batch(study, config, tmp_path, metadata=study / "table.csv"))
    again = read_plan(tmp_path)
    assert again.units == plan.units
    assert [again.key(unit) for unit in again.units] == [plan.key(unit) for unit in plan.units]
    assert plan.not_images == {"table.csv": "is no image"}
    assert {unit.acquisition.plate for unit in plan.units} == {"P1", "P2"}
    assert len({unit.sha256 for unit in plan.units}) == 6


def test_shards_part_the_plan(study: Path, config: BatchConfig, tmp_path: Path) -> None:
    plan = run(plan_batch(study, config, tmp_path))
    parts = [plan.select(f"{n}/4") for n in (1, 2, 3, 4)]
    assert sorted(unit.id for part in parts for unit in part) == [u.id for u in plan.units]
    for wrong in ("0/4", "5/4", "1", "a/b", "1/0"):
        with pytest.raises(TableError, match="number/total"):
            plan.select(wrong)


def test_a_shard_does_its_part_and_collect_refuses_until_all_are_there(
    study: Path, config: BatchConfig, finished: Path, tmp_path: Path
) -> None:
    plan = run(plan_batch(study, config, tmp_path, metadata=study / "table.csv"))
    assert len(run(run_plan(plan, shard="1/2"))) == 3
    with pytest.raises(TableError, match="3 of 6 fields are not done: P1_A01_s2"):
        run(collect_batch(plan))
    part = run(collect_batch(plan, allow_missing=True))
    assert (len(part.images), len(part.failures)) == (3, 3)
    assert len(run(run_plan(plan, shard="2/2"))) == 3
    assert run(run_plan(plan)) == ()
    run(collect_batch(plan))
    assert digests(tmp_path) == digests(finished)
    assert (tmp_path / "patches.h5ad").read_bytes() == (finished / "patches.h5ad").read_bytes()


def test_progress_is_that_of_the_run(study: Path, config: BatchConfig, tmp_path: Path) -> None:
    plan = run(plan_batch(study, config, tmp_path))
    reports = list(run_plan(plan, shard="1/3"))
    assert {each.step for each in reports} == {"Looking for what is done", "Analysing fields"}
    counts = [each.done for each in reports if each.step == "Analysing fields"]
    assert counts == sorted(counts)
    assert (set(counts), reports[-1].total) == ({0, 1, 2}, 2)


def test_two_processes_give_the_same_bytes(
    study: Path, config: BatchConfig, finished: Path, tmp_path: Path
) -> None:
    two = dataclasses.replace(config, resources=ResourceConfig(processes=2))
    seen = []
    job = run_batch(study, two, tmp_path, metadata=study / "table.csv", on_outcome=seen.append)
    summary = run(job)
    assert not summary.failures
    assert {outcome.id for outcome in seen} == set(digests(finished))
    assert digests(tmp_path) == digests(finished)


def test_damage_is_noticed_and_mended(study: Path, config: BatchConfig, tmp_path: Path) -> None:
    run(run_batch(study, config, tmp_path))
    plan = read_plan(tmp_path)
    flipped, cut, emptied, unparsed = (plan.shard(unit) for unit in plan.units[:4])
    table = bytearray((flipped / "patches.h5ad").read_bytes())
    table[len(table) // 2] ^= 1
    (flipped / "patches.h5ad").write_bytes(table)
    (cut / "manifest.csv").write_bytes((cut / "manifest.csv").read_bytes()[:-7])
    shutil.rmtree(emptied)
    (unparsed / "result.json").write_text("{")
    status = read_status(plan)
    assert status.missing == tuple(unit.id for unit in plan.units[:4])
    outcomes = run(run_plan(plan))
    assert {outcome.id for outcome in outcomes} == set(status.missing)
    assert read_status(plan).missing == ()


def test_unreadable_files_fail_alone_and_are_named(
    study: Path, config: BatchConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(study, folder)
    (folder / "P1_A01_s2.ome.tif").write_bytes(b"II*\0")
    (folder / "notes.txt").write_text("x")
    out = tmp_path / "run"
    summary = run(run_batch(folder, config, out))
    assert list(summary.failures) == ["P1_A01_s2"]
    assert set(summary.not_images) == {"table.csv", "notes.txt"}
    failed = pd.read_csv(out / "failures.csv")
    assert failed["id"].tolist() == ["P1_A01_s2"]
    assert "P1_A01_s2.ome.tif" in failed["reason"][0]
    assert describe_progress(out)["failed"] == 1
    events = [line.split(" ", 3)[3] for line in (out / "log.txt").read_text().splitlines()]
    assert events[:2] == ["planned 6 fields", "running 6 of 6 fields"]
    assert {event.split()[0] for event in events[2:8]} == {unit.id for unit in read_plan(out).units}
    assert "P1_A01_s2 failed: " in "\n".join(events)
    assert events[-1] == "collected 5 fields, 1 failed or missing"
    shutil.copy(study / "P1_A01_s2.ome.tif", folder)  # mended: a new plan does what is missing
    seen = []
    assert not run(run_batch(folder, config, out, on_outcome=seen.append)).failures
    assert [outcome.id for outcome in seen] == ["P1_A01_s2"]
    assert not list((out / "failures").iterdir())


def test_a_file_that_changes_after_planning_is_refused(
    study: Path, config: BatchConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(study, folder)
    plan = run(plan_batch(folder, config, tmp_path / "run"))
    shutil.copy(folder / "P1_A01_s1.ome.tif", folder / "P1_A01_s2.ome.tif")
    outcomes = {outcome.id: outcome.failure for outcome in run(run_plan(plan))}
    assert "have changed since the plan" in outcomes["P1_A01_s2"]
    assert outcomes["P1_A01_s1"] == ""


def test_a_worker_that_dies_costs_an_attempt_and_no_field(
    study: Path, config: BatchConfig, finished: Path, tmp_path: Path
) -> None:
    plan = run(plan_batch(study, config, tmp_path, metadata=study / "table.csv"))
    plan = with_resources(plan, ResourceConfig(processes=2))
    job = run_plan(plan)
    next(p for p in job if p.step == "Analysing fields" and p.done == 1)
    workers = _children()
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    outcomes = run(job)
    assert sorted(outcome.id for outcome in outcomes) == sorted(unit.id for unit in plan.units)
    assert not any(outcome.failure for outcome in outcomes)
    assert digests(tmp_path) == digests(finished)
    assert "lost its worker, attempt 1 of 3" in (tmp_path / "log.txt").read_text()


def test_workers_share_the_threads_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    with threads_of_children(2):
        assert [os.environ[name] for name in names] == ["2", "1", "2"]
    assert [os.environ.get(name) for name in names] == ["8", "1", None]


def test_what_killed_runs_were_writing_is_cleared_up(
    study: Path, config: BatchConfig, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    plan = run(plan_batch(study, config, tmp_path / "run", metadata=study / "table.csv"))
    lost = plan.shard(plan.units[0])
    part = lost.with_name(f".12345678.part.{lost.name}")
    lost.rename(part)
    (plan.folder / ".12345678.part.patches.h5ad").write_bytes(b"half a table")
    run(run_plan(plan))
    run(collect_batch(plan))
    assert not list(plan.folder.rglob(".*.part.*"))
    assert digests(plan.folder) == digests(finished)


def test_cancelling_ends_the_workers(study: Path, config: BatchConfig, tmp_path: Path) -> None:
    plan = run(plan_batch(study, config, tmp_path))
    job = run_plan(with_resources(plan, ResourceConfig(processes=2)))
    next(p for p in job if p.step == "Analysing fields" and p.done == 1)
    job.close()
    assert _children() == []
    assert not list((tmp_path / "images").glob(".*.part.*"))
    done = read_status(plan).done
    assert 1 <= len(done) <= 3


def _children() -> list[int]:
    import psutil

    return [
        child.pid
        for child in psutil.Process().children()
        if "resource_tracker" not in " ".join(child.cmdline())
    ]


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_an_uninterrupted_one(
    study: Path, config: BatchConfig, finished: Path, tmp_path: Path
) -> None:
    from napari_bio_superposition.workflows.config_files import write_config

    write_config(config, tmp_path / "settings.toml")
    out = tmp_path / "run"
    command = [sys.executable, "-c", "from napari_bio_superposition.cli import main; main()"]
    arguments = ["batch", str(study), "--table", str(study / "table.csv"), "--out", str(out)]
    arguments += ["--config", str(tmp_path / "settings.toml")]
    rng = np.random.default_rng(0)
    for _ in range(2):
        process = subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL)
        wanted = len(list((out / "images").glob("*"))) + int(rng.integers(1, 3))
        while process.poll() is None and len(list((out / "images").glob("[!.]*"))) < wanted:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
    subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
    assert digests(out) == digests(finished)
    assert (out / "patches.h5ad").read_bytes() == (finished / "patches.h5ad").read_bytes()


def test_a_rerun_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    summary = run(rerun_batch(finished, tmp_path / "again"))
    assert not summary.failures
    assert compare_runs(finished, tmp_path / "again") == {"fields": 6, "differing": []}
    with pytest.raises(TableError, match="another folder"):
        run(rerun_batch(finished, finished))


def test_other_models_are_refused(
    study: Path, config: BatchConfig, tiny_model_folder: Path, tmp_path: Path
) -> None:
    plan = run(plan_batch(study, config, tmp_path))
    values = json.loads((tmp_path / "plan.json").read_text())
    values["models"] = dict.fromkeys(values["models"], "0" * 64)
    (tmp_path / "plan.json").write_text(json.dumps(values))
    with pytest.raises(BioSuperpositionError, match="models have changed"):
        run(run_plan(read_plan(plan.folder)))


def test_images_on_request(study: Path, config: BatchConfig, tmp_path: Path) -> None:
    wanted = dataclasses.replace(
        config, overlays=(2, 5), write_labels=True, image_format="ome-zarr", table_format="zarr"
    )
    summary = run(run_batch(study / "P1_A01_s1.ome.tif", wanted, tmp_path))
    assert summary.outputs["table"] == "patches.zarr"
    assert anndata.read_zarr(tmp_path / "patches.zarr").n_obs == 1
    import zarr

    folder = tmp_path / "images" / "P1_A01_s1"
    overlays = zarr.open_group(folder / "overlays.ome.zarr", mode="r")
    assert overlays["0"].shape == (2, SIDE, SIDE)
    assert overlays.attrs["ome"]["version"] == "0.5"
    labels = zarr.open_group(folder / "nuclei.ome.zarr", mode="r")["0"][0]
    np.testing.assert_array_equal(labels, tifffile.imread(folder / "nuclei.tif"))


def test_wells_and_controls(study: Path, config: BatchConfig, tmp_path: Path) -> None:
    named = dataclasses.replace(config, positive="treatment=drug", negative="treatment=DMSO")
    summary = run(run_batch(study, named, tmp_path, metadata=study / "table.csv"))
    wells = pd.read_csv(tmp_path / "wells.csv", index_col="group")
    assert list(wells.index) == ["P1/A01", "P1/B02", "P2/A01", "P2/B02"]
    images = {image["id"]: image for image in summary.images}
    nuclei = images["P1_A01_s1"]["n_nuclei"] + images["P1_A01_s2"]["n_nuclei"]
    assert wells.loc["P1/A01", "n_nuclei"] == nuclei
    table = anndata.read_h5ad(tmp_path / "patches.h5ad")
    means = anndata.read_h5ad(tmp_path / "wells.h5ad")
    rows = (table.obs["group"] == "P1/A01").to_numpy()
    expected = np.asarray(table.X[rows].mean(axis=0)).ravel()
    np.testing.assert_allclose(np.asarray(means["P1/A01"].X).ravel(), expected, rtol=1e-5)
    assert "controls" in summary.outputs
    assert any("need two wells of each" in warning for warning in summary.warnings)
    page = (tmp_path / "report.html").read_text()
    assert "P1/B02" in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchConfig(overlays=(-1,)), "negative number"),
        (lambda: BatchConfig(positive="DMSO"), "column=value"),
        (lambda: ResourceConfig(processes=2, scheduler="tcp://x:1"), "not both"),
    ],
)
def test_bad_settings(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_latent_that_is_not_there(study: Path, config: BatchConfig, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no latent 12 in the model tiny"):
        run(plan_batch(study, dataclasses.replace(config, overlays=(12,)), tmp_path))


def test_a_folder_without_a_plan(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no plan that can be read"):
        read_plan(tmp_path)
