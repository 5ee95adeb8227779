"""A batch run on a local dask cluster of two workers, one of them killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.batch import (
    read_status,
    run_batch,
    run_plan,
    with_resources,
)
from napari_bio_superposition.workflows.batch_config import BatchConfig, ResourceConfig
from napari_bio_superposition.workflows.batch_plan import plan_batch, read_plan

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.slow,
    # What dask warns about when a worker is killed is what this test does.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def cluster() -> Iterator[object]:
    """Start two worker processes with a nanny each, which starts a killed one anew."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as local:
        yield local


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 4000, (4, 144, 144)).astype(np.uint16)
        names = ["MitoTDR", "Lyso", "H33342", "Sytox"]
        file = folder / f"P1_A0{seed + 1}_s1.ome.tif"
        tifffile.imwrite(file, pixels, metadata={"axes": "CYX", "Channel": {"Name": names}})
    return folder


def test_a_killed_worker_costs_no_field(
    cluster: object, study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    analysis = AnalyzeConfig(
        model=str(tiny_model_folder), segmentation=SegmentationConfig(method="watershed")
    )
    config = BatchConfig(analysis=analysis)
    here = tmp_path / "here"
    run(run_batch(study, config, here))
    there = run(plan_batch(study, config, tmp_path / "there"))
    address = cluster.scheduler_address  # type: ignore[attr-defined]
    there = with_resources(there, ResourceConfig(scheduler=address))
    job = run_plan(there)
    next(p for p in job if p.step == "Analysing fields" and p.done == 1)
    os.kill(_workers()[0], signal.SIGKILL)
    outcomes = run(job)
    assert sorted(outcome.id for outcome in outcomes) == [unit.id for unit in there.units]
    assert not any(outcome.failure for outcome in outcomes)
    runs = [read_status(read_plan(folder)).done for folder in (here, tmp_path / "there")]
    files = [{name: result.values["files"] for name, result in done.items()} for done in runs]
    assert len(files[0]) == 5
    assert files[0] == files[1]


def _workers() -> list[int]:
    """Return the processes that work: below this one, or below its nannies."""
    below = psutil.Process().children(recursive=True)
    found = [p.pid for p in below if "spawn_main" in " ".join(p.cmdline())]
    assert len(found) >= 2
    return found


def test_no_scheduler_is_one_clear_error(study: Path, tmp_path: Path) -> None:
    plan = run(plan_batch(study, BatchConfig(), tmp_path / "run"))
    nowhere = with_resources(plan, ResourceConfig(scheduler="tcp://127.0.0.1:9"))
    with pytest.raises(BioSuperpositionError, match="No scheduler answers"):
        run(run_plan(nowhere))
