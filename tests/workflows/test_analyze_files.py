"""Many files: a bad one costs nothing else, an interruption costs one image, nothing is redone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_bio_superposition.cli import main
from napari_bio_superposition.core.errors import ConfigError, ImageReadError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Progress, run
from napari_bio_superposition.features.table import read_table
from napari_bio_superposition.imaging.simulate import (
    RnaConfig,
    SimulationConfig,
    simulate_study,
    write_study,
)
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze_files import analyze_files
from napari_bio_superposition.workflows.segment import segment_files
from napari_bio_superposition.workflows.segment_config import SegmentConfig


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    config = SimulationConfig(n_plates=1, wells_per_class=1, side_px=256, rna=RnaConfig(n_cells=0))
    run(write_study(simulate_study(config, rng=np.random.default_rng(1)), folder))
    return folder


@pytest.fixture(scope="module")
def config(tiny_model_folder: Path) -> AnalyzeConfig:
    return AnalyzeConfig(
        model=str(tiny_model_folder),
        device="cpu",
        segmentation=SegmentationConfig(method="watershed"),
    )


@pytest.fixture(scope="module")
def images(study: Path) -> list[Path]:
    return sorted((study / "images").glob("*.tif"))


def test_one_table_of_all_images_with_genotypes_and_one_threshold_a_plate(
    study: Path, images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    job = analyze_files([study / "images"], config, tmp_path, metadata=study / "table.csv")
    summary = run(job)
    table = read_table(tmp_path / "patches.h5ad")
    assert len(summary.images) == len(images) == 4
    assert not summary.failures
    assert table.obs[Keys.IMAGE].nunique() == 4
    assert set(table.obs[Keys.GENOTYPE]) == {"Control", "GBA", "LRRK2", "SNCA"}
    assert table.obs[Keys.DEATH_THRESHOLD].nunique() == 1
    manifest = pd.read_csv(tmp_path / "manifest.csv")
    assert len(manifest) == sum(image["patches"]["total"] for image in summary.images) == 16
    assert manifest[Keys.DEATH_THRESHOLD].nunique() == 1
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(summary.as_plain()))
    assert {"seconds", "peak_memory_mb", "warnings", "death"} <= set(written["images"][0])


def test_a_bad_file_is_listed_and_the_others_are_done(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(images[0].read_bytes()[:5000])
    summary = run(analyze_files([images[0], bad, images[1]], config, tmp_path / "out"))
    assert list(summary.failures) == ["bad"]
    assert len(summary.images) == 2
    assert read_table(tmp_path / "out" / "patches.h5ad").obs[Keys.IMAGE].nunique() == 2


def test_an_interrupted_run_resumes_and_equals_an_uninterrupted_one(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == "Analysing images" and progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(analyze_files(images[:2], config, tmp_path / "a"), interrupt)
    done = list((tmp_path / "a" / "images").iterdir())
    assert len(done) == 1
    stamp = (done[0] / "result.json").stat().st_mtime_ns
    run(analyze_files(images[:2], config, tmp_path / "a"))
    run(analyze_files(images[:2], config, tmp_path / "b"))
    assert (done[0] / "result.json").stat().st_mtime_ns == stamp
    resumed, whole = (read_table(tmp_path / name / "patches.h5ad") for name in "ab")
    _assert_same(resumed, whole)


def test_another_setting_or_genotype_is_not_taken_from_the_old_result(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    run(analyze_files(images[:1], config, tmp_path))
    table = tmp_path / "table.csv"
    table.write_text(f"image,genotype\n{images[0].name},NEW\n", encoding="utf-8")
    run(analyze_files(images[:1], config, tmp_path, metadata=table))
    assert set(read_table(tmp_path / "patches.h5ad").obs[Keys.GENOTYPE]) == {"NEW"}


def test_the_command_gives_the_numbers_of_the_call(
    images: list[Path],
    config: AnalyzeConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(analyze_files(images[:1], config, tmp_path / "call"))
    arguments = [str(images[0]), "--out", str(tmp_path / "command"), "--model", config.model]
    options = ["--segmentation.method", "watershed", "--device", "cpu", "--json"]
    assert main(["analyze", *arguments, *options]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "result"
    assert {event["event"] for event in events[:-1]} == {"progress"}
    called, commanded = (
        read_table(tmp_path / name / "patches.h5ad") for name in ("call", "command")
    )
    _assert_same(called, commanded)


def test_no_input_and_missing_input_are_told(config: AnalyzeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No input"):
        run(analyze_files([], config, tmp_path))
    with pytest.raises(ImageReadError, match="absent"):
        run(analyze_files([tmp_path / "absent.tif"], config, tmp_path))


def test_segment_writes_one_label_image_per_input(images: list[Path], tmp_path: Path) -> None:
    import tifffile

    summary = run(segment_files(images[:2], SegmentConfig(method="watershed"), tmp_path))
    for row, path in zip(summary.images, images, strict=False):
        stem = path.name.removesuffix(".ome.tif")
        labels = tifffile.imread(tmp_path / f"{stem}_nuclei.tif")
        assert labels.dtype == np.int32
        assert labels.shape == (256, 256)
        assert labels.max() == row["n_nuclei"] > 5


def _assert_same(first: AnnData, second: AnnData) -> None:
    pd.testing.assert_frame_equal(first.obs, second.obs)
    pd.testing.assert_frame_equal(first.var, second.var)
    np.testing.assert_array_equal(first.to_df(), second.to_df())
