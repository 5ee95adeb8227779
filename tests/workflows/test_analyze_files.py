"""Many files: a bad one costs nothing else, an interruption costs one image, nothing is redone."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_bio_superposition.cli import main
from napari_bio_superposition.core.errors import (
    ChannelError,
    ConfigError,
    ImageReadError,
    OutputError,
    TableError,
)
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Progress, run
from napari_bio_superposition.features.table import read_table, write_table
from napari_bio_superposition.imaging.cell_death_config import CellDeathConfig
from napari_bio_superposition.imaging.read import read_image
from napari_bio_superposition.imaging.simulate import (
    RnaConfig,
    SimulationConfig,
    simulate_study,
    write_study,
)
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.models.card import read_card
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import analyze_image
from napari_bio_superposition.workflows.analyze_files import analyze_files
from napari_bio_superposition.workflows.info import describe_path
from napari_bio_superposition.workflows.result_folder import load_analysis, save_analysis
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


def test_a_damaged_or_incomplete_result_is_made_again(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    run(analyze_files(images[:1], config, tmp_path))
    (folder,) = (tmp_path / "images").iterdir()
    whole = read_table(folder / "patches.h5ad")
    damages: list[Callable[[], object]] = [
        lambda: (folder / "result.json").write_text("{", encoding="utf-8"),
        lambda: (folder / "patches.h5ad").write_bytes(b"half"),
        lambda: (folder / "patches.h5ad").unlink(),
        lambda: (folder / "nuclei.tif").unlink(),
        lambda: (folder / "death_dye.npz").write_bytes(b""),
    ]
    for damage in damages:
        damage()
        assert not run(analyze_files(images[:1], config, tmp_path)).failures
        _assert_same(read_table(folder / "patches.h5ad"), whole)


def test_a_corrected_channel_name_or_pixel_size_is_not_answered_by_the_old_result(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    pixels = np.asarray(read_image(images[0]).pixels)
    file = tmp_path / "a.ome.tif"
    write_image(pixels, file, channel_names=("a", "b", "DAPI", "d"), pixel_size_um=0.5)
    first = run(analyze_files([file], config, tmp_path / "out"))
    write_image(pixels, file, channel_names=("DAPI", "b", "c", "d"), pixel_size_um=0.25)
    second = run(analyze_files([file], config, tmp_path / "out"))
    assert first.images[0]["n_nuclei"] != second.images[0]["n_nuclei"]
    assert second.images[0]["pixel_size_um"] == 0.25


def test_nothing_of_an_earlier_run_is_left_where_no_image_works(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    run(analyze_files(images[:1], config, tmp_path))
    wrong = dataclasses.replace(config, roles={"nuclei": "absent"})
    summary = run(analyze_files(images[:1], wrong, tmp_path))
    assert not summary.images
    assert not (tmp_path / "patches.h5ad").exists()
    assert not (tmp_path / "manifest.csv").exists()


def test_names_that_look_like_numbers_stay_text(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"image,plate,well\n{images[0].name},0012,1E5\n", encoding="utf-8")
    run(analyze_files(images[:1], config, tmp_path / "out", metadata=table))
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv", dtype=str)
    assert set(manifest[Keys.PLATE]) == {"0012"}
    assert set(manifest[Keys.WELL]) == {"1E5"}
    patches = read_table(tmp_path / "out" / "patches.h5ad").obs_names
    assert set(patches) <= set(manifest["patch_id"])


def test_cameras_of_different_depth_get_thresholds_of_their_own(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    image = read_image(images[0])
    pixels = np.asarray(image.pixels)
    for name, values in (("deep", pixels), ("flat", (pixels >> 8).astype(np.uint8))):
        write_image(values, tmp_path / f"{name}.ome.tif", channel_names=image.channel_names)
    config = dataclasses.replace(config, death=CellDeathConfig(min_nuclear_fraction=0.0))
    files = [tmp_path / "deep.ome.tif", tmp_path / "flat.ome.tif"]
    summary = run(analyze_files(files, config, tmp_path / "out"))
    deep, flat = (row["death"]["threshold"] for row in summary.images)
    assert deep > flat
    assert any("2 count scales" in warning for warning in summary.warnings)


def test_a_wrong_role_is_told_before_the_first_image(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    wrong = dataclasses.replace(config, roles={"nucleii": "Hoechst"})
    with pytest.raises(ChannelError, match="nucleii"):
        run(analyze_files(images, wrong, tmp_path))


def test_an_output_that_cannot_be_written_ends_the_run(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    (tmp_path / "images").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        run(analyze_files(images, config, tmp_path))
    with pytest.raises(OutputError, match="cannot be written"):
        run(segment_files(images, SegmentConfig(method="watershed"), tmp_path / "images"))


def test_some_failures_are_code_1_and_no_success_is_code_2_in_one_line(
    images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.tif").write_bytes(b"")
    options = ["--out", str(tmp_path / "out"), "--method", "watershed"]
    assert main(["segment", str(tmp_path / "bad.tif"), str(images[0]), *options]) == 1
    told = capsys.readouterr()
    assert "bad: failed" in told.out
    assert "1 of 2 images failed: bad" in told.err
    assert told.err.count("\n") == 1
    assert main(["segment", str(tmp_path / "bad.tif"), *options]) == 2
    complaint = capsys.readouterr().err
    assert "not a TIFF file" in complaint
    assert complaint.count("\n") == 1


def test_a_very_long_name_still_gets_its_labels(images: list[Path], tmp_path: Path) -> None:
    long = tmp_path / f"{'日' * 80}.ome.tif"
    long.write_bytes(images[0].read_bytes())
    summary = run(segment_files([long], SegmentConfig(method="watershed"), tmp_path / "out"))
    assert (tmp_path / "out" / summary.images[0]["file"]).is_file()


def test_a_result_folder_and_a_folder_with_a_bad_image_are_described(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    run(analyze_files(images[:1], config, tmp_path / "out"))
    described = describe_path(tmp_path / "out")
    assert next(iter(described["images"].values()))["patches"]["total"] == 4
    (tmp_path / "out" / "summary.json").write_text("[]", encoding="utf-8")
    with pytest.raises(TableError, match="no summary"):
        describe_path(tmp_path / "out")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "bad.tif").write_bytes(b"")
    (mixed / "good.ome.tif").write_bytes(images[0].read_bytes())
    described = describe_path(mixed)
    assert list(described["images"]) == ["good"]
    assert "not a TIFF" in described["not read"]["bad"]


def test_paths_may_be_text_as_the_documentation_writes_them(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    assert len(run(analyze_files(str(images[0]), config, out)).images) == 1
    assert len(run(segment_files(str(images[0]), SegmentConfig(method="watershed"), out)).images)
    table = read_table(f"{out}/patches.h5ad")
    assert read_table(write_table(table, f"{out}/patches.zarr")).obs.equals(table.obs)
    image = read_image(str(images[0]))
    analysis = run(analyze_image(image, config))
    save_analysis(analysis, f"{out}/one")
    assert load_analysis(f"{out}/one", image).table is not None


def test_a_missing_death_rate_has_its_reason(
    images: list[Path], config: AnalyzeConfig, tmp_path: Path
) -> None:
    strict = dataclasses.replace(config, death=CellDeathConfig(min_nuclear_fraction=1.0))
    summary = run(analyze_files(images[:1], strict, tmp_path))
    assert "nuclear area" in summary.images[0]["death"]["skipped"]
    assert "no death rate: no patch has enough nuclear area" in summary.as_lines()[0]


def test_models_are_described_by_name_and_by_folder(tiny_model_folder: Path) -> None:
    by_name = describe_path(Path("small"))
    assert by_name["channel_roles"] == ("mitochondria", "lysosomes", "nuclei")
    assert by_name["measurements"]["l0"] > 0
    by_folder = describe_path(tiny_model_folder)
    assert by_folder["name"] == read_card(tiny_model_folder).name
