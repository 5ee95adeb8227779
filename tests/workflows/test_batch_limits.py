"""Batch runs where the surroundings are hard: a full disk, very long lists, foreign names."""

import dataclasses
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata
import numpy as np
import pytest
import tifffile

from napari_bio_superposition.core.errors import OutputError, TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.core.types import Acquisition
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.batch import (
    collect_batch,
    compare_runs,
    run_batch,
    run_plan,
)
from napari_bio_superposition.workflows.batch_config import BatchConfig
from napari_bio_superposition.workflows.batch_plan import Unit, plan_batch, read_plan, write_plan
from napari_bio_superposition.workflows.metadata import read_metadata

N_ENTRIES = 10_000


@pytest.fixture
def config(tiny_model_folder: Path) -> BatchConfig:
    """Return settings that are quick: watershed and a random tiny model."""
    analysis = AnalyzeConfig(
        model=str(tiny_model_folder), segmentation=SegmentationConfig(method="watershed")
    )
    return BatchConfig(analysis=analysis)


def write_field(path: Path) -> Path:
    """Write four channels with eight nuclei and grainy organelles, as the quality control wants."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:144, :144]
    pixels = rng.normal(300, 20, (4, 144, 144))
    for centre in rng.uniform(20, 124, (8, 2)):
        disc = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 98)
        pixels[:2] += 2000 * disc * (rng.random((2, 144, 144)) < 0.5)
        pixels[2:] += 3000 * disc
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["MitoTDR", "Lyso", "H33342", "Sytox"]
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(path, pixels.astype(np.uint16), metadata=metadata)
    return path


@contextmanager
def files_up_to(n_bytes: int) -> Iterator[None]:
    """Let no file grow larger, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_run_and_the_next_one_does_what_is_missing(
    config: BatchConfig, tmp_path: Path
) -> None:
    """In the same process: HDF5 that fails to write would crash it later."""
    image, out = write_field(tmp_path / "P1_A01_s1.ome.tif"), tmp_path / "run"
    run(run_batch(image, config, tmp_path / "whole"))
    plan = run(plan_batch(image, config, out))
    shard = tmp_path / "whole" / "images" / "P1_A01_s1"
    sizes = sorted(file.stat().st_size for file in shard.iterdir())
    for n_bytes in (sizes[-1] - 1, (shard / "patches.h5ad").stat().st_size - 1):
        with files_up_to(n_bytes), pytest.raises(OutputError, match="free space"):
            run(run_plan(plan))
        assert not list(out.glob("images/*"))
        assert not list(out.glob("failures/*"))
    run(run_plan(plan))
    size = (tmp_path / "whole" / "patches.h5ad").stat().st_size
    for n_bytes in (size // 3, size // 2, size - 1):
        with files_up_to(n_bytes), pytest.raises(OutputError, match="free space"):
            run(collect_batch(plan))
        assert not (out / "patches.h5ad").exists()
    assert not list(out.rglob(".*"))
    run(run_batch(image, config, out))
    assert compare_runs(tmp_path / "whole", out) == {"fields": 1, "differing": []}
    assert (out / "patches.h5ad").read_bytes() == (tmp_path / "whole/patches.h5ad").read_bytes()


def test_a_plan_of_ten_thousand_fields(config: BatchConfig, tmp_path: Path) -> None:
    plan = run(plan_batch(write_field(tmp_path / "P1_A01_s1.ome.tif"), config, tmp_path / "run"))
    names = [f"Plätte_{number // 384}_漢{number % 384}" for number in range(N_ENTRIES)]
    units = tuple(Unit(f"/{name}.tif", "", "0", "", Acquisition(name)) for name in names)
    write_plan(dataclasses.replace(plan, units=units))
    assert read_plan(tmp_path / "run").units == units
    assert len({plan.shard(unit).name.casefold() for unit in units}) == N_ENTRIES


def test_a_table_of_ten_thousand_images(tmp_path: Path) -> None:
    names = [f"P1_A01_s{number:05}" for number in range(N_ENTRIES)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,treatment", *(f"{name}.tif,drug" for name in names)]))
    known = read_metadata(table)
    assert {known.describe(Acquisition(name)).treatment for name in names} == {"drug"}
    with table.open("a") as stream:
        stream.write("\nP1_A01_s00007.tif,DMSO")
    with pytest.raises(TableError, match="P1_A01_s00007 more than once"):
        read_metadata(table)


def test_names_of_any_script(config: BatchConfig, tmp_path: Path) -> None:
    folder = tmp_path / "Prüfung 漢字 µm"
    write_field(folder / "Ä 1_B03_s1 é.ome.tif")
    table = tmp_path / "Tabelle ß.csv"
    table.write_text("image,treatment\nÄ 1_B03_s1 é.ome.tif,Контроль\n", encoding="utf-8")
    out = tmp_path / "Ergebnis ✓"
    summary = run(run_batch(folder, config, out, metadata=table))
    assert not summary.failures
    rows = anndata.read_h5ad(out / "patches.h5ad").obs
    assert set(rows["treatment"]) == {"Контроль"}
    assert set(rows["image_id"]) == {"Ä_1_B03_s1_é"}
    assert "Контроль" in (out / "wells.csv").read_text(encoding="utf-8")
