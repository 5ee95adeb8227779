"""Opening result folders as napari does: image, nuclei and patches, or why there is no image."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.simulate import (
    RnaConfig,
    SimulationConfig,
    simulate_study,
    write_study,
)
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.widgets.readers import get_reader
from napari_bio_superposition.widgets.sources import find_sources
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze_files import analyze_files
from napari_bio_superposition.workflows.batch import run_batch
from napari_bio_superposition.workflows.batch_config import BatchConfig
from napari_bio_superposition.workflows.result_folder import read_result
from napari_bio_superposition.workflows.result_view import find_results


@pytest.fixture(scope="module")
def config(tiny_model_folder: Path) -> AnalyzeConfig:
    method = SegmentationConfig(method="watershed")
    return AnalyzeConfig(model=str(tiny_model_folder), device="cpu", segmentation=method)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two simulated fields."""
    folder = tmp_path_factory.mktemp("study")
    config = SimulationConfig(n_plates=1, wells_per_class=1, side_px=256, rna=RnaConfig(n_cells=0))
    run(write_study(simulate_study(config, rng=np.random.default_rng(1)), folder))
    for path in sorted((folder / "images").iterdir())[2:]:
        path.unlink()
    return folder / "images"


@pytest.fixture(scope="module")
def analysed(images: Path, config: AnalyzeConfig, tmp_path_factory: Any) -> Path:
    out: Path = tmp_path_factory.mktemp("out") / "analysis"
    run(analyze_files(images, config, out))
    return out


def _open(path: Path) -> tuple[ViewerModel, list[str]]:
    """Open a path by the reader; return what is shown, and the notices."""
    told: list[str] = []
    reader = get_reader(str(path))
    assert reader is not None
    take: Callable[[Any], None] = lambda notice: told.append(notice.message)  # noqa: E731
    notification_manager.notification_ready.connect(take)
    try:
        layers = reader(str(path))
    finally:
        notification_manager.notification_ready.disconnect(take)
    viewer = ViewerModel()
    for data, options, kind in layers:
        getattr(viewer, f"add_{kind}")(data, **options)
    return viewer, told


def _kinds(viewer: ViewerModel) -> list[str]:
    return [layer.name.split(" · ")[-1] for layer in viewer.layers if "add" not in layer.name]


def test_a_result_opens_with_its_image_nuclei_and_patches(analysed: Path) -> None:
    folder = find_results(analysed)[0]
    saved = read_result(folder)
    viewer, told = _open(folder)
    assert told == []
    assert len(viewer.layers) == 4 + 3
    assert _kinds(viewer)[4:] == ["dead area", "nuclei", "patches"]
    (source,) = find_sources(viewer.layers)
    assert source.name == saved.values["id"]
    assert dict(source.roles) == saved.values["roles"]
    nuclei, patches = viewer.layers[-2], viewer.layers[-1]
    np.testing.assert_array_equal(nuclei.data, saved.labels())
    assert nuclei.data.max() == saved.values["n_nuclei"] > 0
    for layer in viewer.layers:
        np.testing.assert_allclose(layer.scale, viewer.layers[0].scale)
        np.testing.assert_allclose(layer.translate, viewer.layers[0].translate)
    manifest = saved.manifest()
    assert list(patches.features["patch"][1:]) == list(manifest["patch_id"])
    row = patches.features.iloc[int(patches.data[200, 10])]
    assert (row["y"], row["x"]) == (128, 0)
    assert row["dead_area_rate"] == pytest.approx(
        manifest.set_index("patch_id").loc[row["patch"], "dead_area_rate"], nan_ok=True
    )


def test_a_run_opens_its_first_image_and_says_so(analysed: Path) -> None:
    first, second = (read_result(folder).values["id"] for folder in find_results(analysed))
    viewer, told = _open(analysed)
    assert told == [f"analysis holds 2 images; {first} is shown. The dock Batch lists them all."]
    assert viewer.layers[-1].name == f"{first} · patches"
    other, told = _open(find_results(analysed)[1] / "result.json")
    assert (other.layers[-1].name, told) == (f"{second} · patches", [])


@pytest.mark.parametrize("why", ["moved", "changed", "unknown"])
def test_without_the_image_nuclei_and_patches_are_shown_and_why(
    analysed: Path, tmp_path: Path, why: str
) -> None:
    folder = tmp_path / "result"
    shutil.copytree(find_results(analysed)[0], folder)
    values = json.loads((folder / "result.json").read_text())
    if why == "moved":
        values["source"]["path"] = str(tmp_path / "gone.ome.tif")
    elif why == "changed":
        values["source"] = read_result(find_results(analysed)[1]).values["source"]
    else:
        del values["source"]
    (folder / "result.json").write_text(json.dumps(values))
    viewer, told = _open(folder)
    assert _kinds(viewer) == ["dead area", "nuclei", "patches"]
    assert find_sources(viewer.layers) == []
    reason = {"moved": "not there any more", "changed": "not those", "unknown": "which file"}[why]
    assert len(told) == 1
    assert reason in told[0]
    assert viewer.layers[0].scale[0] == pytest.approx(values["pixel_size_um"])


def test_a_batch_knows_its_images_by_its_plan(
    images: Path, config: AnalyzeConfig, tmp_path: Path
) -> None:
    one = sorted(images.iterdir())[0]
    run(run_batch(one, BatchConfig(analysis=config), tmp_path / "batch"))
    viewer, told = _open(tmp_path / "batch")
    assert told == []
    assert len(viewer.layers) == 4 + 3


def test_a_damaged_result_is_told(analysed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    shutil.copytree(find_results(analysed)[0], folder)
    (folder / "manifest.csv").write_text("patch_id\n")
    with pytest.raises(TableError, match="cannot be shown"):
        _open(folder)
    (folder / "result.json").write_text("{")
    with pytest.raises(TableError, match="no analysis"):
        _open(folder)


def test_napari_finds_the_reader_and_other_folders_are_left_alone(
    npe2pm: Any, analysed: Path, tmp_path: Path
) -> None:
    npe2pm.register(PluginManifest.from_distribution("napari-bio-superposition"))
    for path in (analysed, find_results(analysed)[0], find_results(analysed)[0] / "result.json"):
        assert [r.command for r in npe2pm.iter_compatible_readers([str(path)])]
        assert get_reader(str(path)) is not None
    (tmp_path / "images").mkdir()
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "result.json")) is None
