"""From a folder of images and a table to a store of patches."""

from pathlib import Path

import numpy as np
import pytest

from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.patch_store import PatchStore
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.workflows.training_data import build_patch_store, preview_training
from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig

CONFIG = TrainingDataConfig(
    channel_roles=("nuclei", "mitochondria"),
    patches=PatchConfig(side_px=16, quality="none", intensity_scaling="field_percentile"),
)
TABLE = "image,plate,well,line,genotype,dose\na,P,A1,L1,SNCA,low\nb,P,A2,L2,Control,high\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in "ab":
        counts = rng.integers(100, 4000, (2, 48, 32)).astype(np.uint16)
        path = tmp_path / "images" / f"{name}.ome.tif"
        path.parent.mkdir(exist_ok=True)
        write_image(counts, path, channel_names=("DAPI", "TMRM"), pixel_size_um=0.6)
    (tmp_path / "table.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path


def test_a_folder_and_a_table_become_a_store(folder: Path) -> None:
    job = build_patch_store(folder / "images", folder / "table.csv", folder / "store", CONFIG)
    store = run(job)
    assert store.pixels.shape == (12, 2, 16, 16)
    assert store.roles == ("nuclei", "mitochondria")
    assert store.info.class_column == "genotype"
    assert store.obs["class"].tolist() == ["SNCA"] * 6 + ["Control"] * 6
    assert set(store.obs["group"]) == {"P/A1", "P/A2"}
    assert store.info.pixel_size_um == 0.6
    assert store.obs.index.is_unique
    assert float(store.pixels.max()) <= 1


def test_a_store_that_is_there_is_opened_and_a_changed_table_makes_another(folder: Path) -> None:
    arguments = (folder / "images", folder / "table.csv", folder / "store", CONFIG)
    first = run(build_patch_store(*arguments))
    steps: list[str] = []
    again = run(build_patch_store(*arguments), lambda progress: steps.append(progress.step))
    assert steps == []
    assert again.info == first.info
    (folder / "table.csv").write_text(TABLE.replace("SNCA", "GBA"), encoding="utf-8")
    assert run(build_patch_store(*arguments)).classes == ("Control", "GBA")


def test_closing_keeps_whole_images_for_the_next_run(folder: Path) -> None:
    arguments = (folder / "images", folder / "table.csv", folder / "store", CONFIG)
    job = build_patch_store(*arguments)
    while next(job).done < 1:
        pass
    job.close()
    (folder / "images" / "c.txt").write_text("no image")
    seen = []
    store = run(build_patch_store(*arguments), lambda progress: seen.append(progress.total))
    assert len(store) == 12
    assert seen.count(None) == 1  # only the second image is cut


def test_classes_may_come_from_a_column_of_the_users_own_or_from_none(folder: Path) -> None:
    from dataclasses import replace

    def build(column: str) -> PatchStore:
        config = replace(CONFIG, class_column=column)
        job = build_patch_store(folder / "images", folder / "table.csv", folder / column, config)
        return run(job)

    assert build("dose").classes == ("high", "low")
    assert build("none").classes == ()
    with pytest.raises(TableError, match="no column 'nothing'"):
        build("nothing")
    with pytest.raises(ConfigError, match="no table"):
        run(
            build_patch_store(
                folder / "images", None, folder / "x", replace(CONFIG, class_column="dose")
            )
        )


def test_a_bad_image_is_noted_and_does_not_stop_the_others(folder: Path) -> None:
    (folder / "images" / "c.tif").write_bytes(b"II*\0damaged")
    job = build_patch_store(folder / "images", folder / "table.csv", folder / "store", CONFIG)
    store = run(job)
    assert len(store) == 12
    assert list(store.info.failures) == ["c"]
    assert "no row for 1 images" in store.info.warnings[0]


def test_a_preview_counts_without_reading_and_says_what_looks_wrong(folder: Path) -> None:
    preview = run(preview_training(folder / "images", folder / "table.csv", CONFIG))
    assert preview.class_column == "genotype"
    assert preview.n_images == 2
    assert preview.counts.to_dict("records")[0] == {
        "class": "Control", "line": "L2", "plate": "P", "wells": 1, "images": 1,
    }  # fmt: skip
    assert "Fewer than 3 wells of Control, SNCA" in preview.warnings[0]
    nested = TABLE.replace("b,P", "b,Q")
    (folder / "table.csv").write_text(nested, encoding="utf-8")
    preview = run(preview_training(folder / "images", folder / "table.csv", CONFIG))
    assert any("Each plate holds one class" in warning for warning in preview.warnings)
    without = run(preview_training(folder / "images", None, CONFIG))
    assert "no classes" in without.warnings[0]
