"""The main job on one simulated field: complete results, honest gaps, the same numbers again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from napari_bio_superposition.core.errors import ChannelError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Progress, run
from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.simulate import SimulationConfig, simulate_study
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import (
    ImageAnalysis,
    analyze_image,
    overlay,
    restore_tokens,
)
from napari_bio_superposition.workflows.loading import load_models
from napari_bio_superposition.workflows.result_folder import (
    folder_name,
    load_analysis,
    read_result,
    save_analysis,
    shorten_name,
)


@pytest.fixture(scope="module")
def image() -> MultichannelImage:
    study = simulate_study(SimulationConfig(side_px=384), rng=np.random.default_rng(3))
    return study.field(0).image


@pytest.fixture(scope="module")
def config(tiny_model_folder: Path) -> AnalyzeConfig:
    return AnalyzeConfig(
        model=str(tiny_model_folder),
        device="cpu",
        segmentation=SegmentationConfig(method="watershed"),
    )


@pytest.fixture(scope="module")
def analysis(image: MultichannelImage, config: AnalyzeConfig) -> ImageAnalysis:
    return run(analyze_image(image, config, keep_tokens=True))


def test_every_part_of_the_result_is_there(analysis: ImageAnalysis) -> None:
    assert analysis.skipped == {}
    assert analysis.labels is not None
    assert analysis.labels.max() > 20
    assert len(analysis.patches) == 9
    assert analysis.table is not None
    assert analysis.table.shape == (int(analysis.patches.accepted.sum()), 12)
    assert analysis.death is not None
    assert list(analysis.death.index) == list(analysis.patches.ids)
    assert analysis.table.obs[Keys.DEATH].notna().any()
    assert set(analysis.seconds) == {"nuclei", "patches", "features", "death"}


def test_the_same_input_gives_the_same_numbers(
    image: MultichannelImage, config: AnalyzeConfig, analysis: ImageAnalysis
) -> None:
    again = run(analyze_image(image, config))
    assert again.table is not None
    assert analysis.table is not None
    np.testing.assert_array_equal(again.table.to_df(), analysis.table.to_df())
    assert again.tokens is None


def test_an_overlay_averages_to_the_pooled_feature(
    analysis: ImageAnalysis, config: AnalyzeConfig
) -> None:
    models = run(load_models(config))
    assert analysis.table is not None
    latent = int(np.argmax(np.asarray(analysis.table.to_df()).mean(axis=0)))
    drawn = overlay(analysis, models, latent)
    assert np.nanmax(drawn) > 0
    assert drawn.shape == analysis.image.shape
    for row, (y, x) in enumerate(analysis.patches.origins[analysis.patches.accepted]):
        pooled = analysis.table.to_df().iloc[row, latent]
        assert drawn[y : y + 128, x : x + 128].mean() == pytest.approx(pooled, rel=0.02, abs=1e-6)


def test_a_missing_role_skips_its_steps_and_says_why(
    image: MultichannelImage, config: AnalyzeConfig
) -> None:
    only_nuclei = image.with_roles({"nuclei": "Hoechst"})
    analysis = run(analyze_image(only_nuclei, config))
    assert analysis.labels is not None
    assert analysis.table is None
    assert "mitochondria, lysosomes" in analysis.skipped["features"]
    assert "death" in analysis.skipped["death"]


def test_a_blank_channel_can_stand_in_and_the_result_says_so(
    image: MultichannelImage, config: AnalyzeConfig
) -> None:
    blank = dataclasses.replace(config, missing_roles="blank")
    some = image.with_roles({"nuclei": "Hoechst", "mitochondria": "TMRM"})
    analysis = run(analyze_image(some, blank))
    assert analysis.table is not None
    assert any("lysosomes" in warning for warning in analysis.warnings)
    assert analysis.patches.channel_roles == ("mitochondria", "lysosomes", "nuclei")
    assert not analysis.patches.pixels[:, 1].any()


def test_an_image_without_any_role_is_refused_with_its_channels(
    image: MultichannelImage, config: AnalyzeConfig
) -> None:
    with pytest.raises(ChannelError, match=r"TMRM, LysoTracker, Hoechst, Sytox.*--roles"):
        run(analyze_image(image.with_roles({}), config))


def test_closing_the_job_stops_it(image: MultichannelImage, config: AnalyzeConfig) -> None:
    job = analyze_image(image, config)
    assert isinstance(next(job), Progress)
    job.close()
    with pytest.raises(StopIteration):
        next(job)


def test_a_saved_result_comes_back_whole(
    analysis: ImageAnalysis, config: AnalyzeConfig, tmp_path: Path
) -> None:
    folder = save_analysis(analysis, tmp_path / "result")
    loaded = load_analysis(folder, analysis.image)
    assert loaded.labels is not None
    assert loaded.table is not None
    assert analysis.table is not None
    np.testing.assert_array_equal(loaded.labels, analysis.labels)
    np.testing.assert_array_equal(loaded.table.to_df(), analysis.table.to_df())
    np.testing.assert_array_equal(loaded.patches.pixels, analysis.patches.pixels)
    np.testing.assert_allclose(loaded.death[Keys.DEATH], analysis.death[Keys.DEATH])
    models = run(load_models(config))
    restored = run(restore_tokens(loaded, models))
    np.testing.assert_array_equal(overlay(restored, models, 3), overlay(analysis, models, 3))


def test_a_result_is_refused_on_another_image(analysis: ImageAnalysis, tmp_path: Path) -> None:
    folder = save_analysis(analysis, tmp_path / "result")
    other = dataclasses.replace(analysis.image, pixels=np.asarray(analysis.image.pixels) + 1)
    with pytest.raises(TableError, match="pixels differ"):
        load_analysis(folder, other)


def test_a_folder_without_a_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="holds no analysis"):
        read_result(tmp_path)


@pytest.mark.parametrize("image_id", ["plain", "a/b", "üñí", "..", "x" * 300, "a:b*c"])
def test_folder_names_are_safe_and_distinct(image_id: str) -> None:
    name = folder_name(image_id)
    assert Path(name).name == name
    assert len(name) <= 120
    assert folder_name(image_id + "!") != name


def test_folder_names_fit_file_systems_that_count_bytes() -> None:
    assert len(folder_name("日" * 83).encode()) <= 120
    assert len(shorten_name("日" * 83).encode()) <= 215
    assert shorten_name("comma,name") == "comma,name"
    assert folder_name("日" * 83) != folder_name("日" * 84)
    assert folder_name("con") != "con"


def test_a_setting_that_the_model_decides_is_not_dropped_in_silence(
    image: MultichannelImage, config: AnalyzeConfig
) -> None:
    other = dataclasses.replace(config, patches=PatchConfig(side_px=64))
    warnings = run(analyze_image(image, other)).warnings
    assert any("patches.side_px=128" in text and "64" in text for text in warnings)


def test_a_result_without_threshold_is_json_and_comes_back(
    image: MultichannelImage, config: AnalyzeConfig, tmp_path: Path
) -> None:
    pixels = np.array(image.pixels)
    pixels[image.channel_names.index("Sytox")] = 100
    dull = dataclasses.replace(image, pixels=pixels)
    analysis = run(analyze_image(dull, config))
    folder = save_analysis(analysis, tmp_path / "result")
    assert "NaN" not in (folder / "result.json").read_text(encoding="utf-8")
    loaded = load_analysis(folder, dull)
    assert loaded.death is not None
    assert loaded.death[Keys.DEATH_THRESHOLD].isna().all()
