"""Batch runs: two processes over one, overhead of planning and collecting, growth of the merge.

Merging is measured by itself on tables that are written directly, since a million patches would
take an afternoon to analyse. Memory is the growth of the largest resident set of a fresh process.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.features.table import write_table
from napari_bio_superposition.features.table_merge import merge_parts, read_part
from napari_bio_superposition.imaging.simulate import SimulationConfig, simulate_study
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.workflows.batch import collect_batch, run_plan, with_resources
from napari_bio_superposition.workflows.batch_config import BatchConfig, ResourceConfig
from napari_bio_superposition.workflows.batch_executors import threads_of_children
from napari_bio_superposition.workflows.batch_plan import plan_batch

_N_FIELDS = 40
_N_FIRST = 5
_ROWS_PER_TABLE = 1000
_N_TABLES = (10, 100, 1000)
_N_FEATURES = 1024
_DENSITY = 0.05


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per measurement."""
    with tempfile.TemporaryDirectory() as folder:
        return [compare_processes(Path(folder)), *(_in_fresh_process(n) for n in _N_TABLES)]


def compare_processes(folder: Path) -> dict[str, Any]:
    """Analyse the same fields with one process, by all cores and by one, and with two processes.

    Steady is the rate after the first fields: starting counts less, the more fields there are.
    """
    images = folder / "images"
    config = SimulationConfig(side_px=512, n_plates=2, wells_per_class=_N_FIELDS // 8)
    for number, field in enumerate(simulate_study(config, rng=np.random.default_rng(0))):
        image = field.image
        path = images / f"P1_A01_s{number + 1}.ome.tif"
        write_image(
            image.pixels, path, channel_names=image.channel_names, pixel_size_um=image.pixel_size_um
        )
    n_cores = len(os.sched_getaffinity(0))
    one = _run_in_fresh_process(images, folder / "one", 1, n_cores)
    single = _run_in_fresh_process(images, folder / "single", 1, 1)
    two = _run_in_fresh_process(images, folder / "two", 2, n_cores)
    overhead = two["plan"] + two["collect"]
    return {
        "what": f"{_N_FIELDS} fields of 512 px, model small, {n_cores} cores",
        "seconds per field": one["steady"],
        "seconds per field, one thread": single["steady"],
        "seconds per field, two processes": two["steady"],
        "ratio to one process": one["steady"] / two["steady"],
        "ratio to one process of one thread": single["steady"] / two["steady"],
        "ratio with starting": one["run"] / two["run"],
        "plan and collect, ms per field": 1e3 * overhead / _N_FIELDS,
        "share of plan and collect": overhead / (overhead + two["run"]),
    }


def _run_in_fresh_process(
    images: Path, out: Path, processes: int, n_threads: int
) -> dict[str, float]:
    with threads_of_children(n_threads), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure_run, images, out, processes).result()


def measure_run(images: Path, out: Path, processes: int) -> dict[str, float]:
    """Plan, run and collect; return seconds of each, and per field after the first ones."""
    ends: list[float] = []
    plan, plan_s = _timed(lambda: run(plan_batch(images, BatchConfig(), out)))
    plan = with_resources(plan, ResourceConfig(processes=processes))
    job = run_plan(plan, on_outcome=lambda _: ends.append(time.perf_counter()))
    _, run_s = _timed(lambda: run(job))
    _, collect_s = _timed(lambda: run(collect_batch(plan)))
    steady = (ends[-1] - ends[_N_FIRST]) / (len(ends) - 1 - _N_FIRST)
    return {"plan": plan_s, "run": run_s, "collect": collect_s, "steady": steady}


def _in_fresh_process(n_tables: int) -> dict[str, Any]:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_merge, (n_tables,))


def measure_merge(n_tables: int) -> dict[str, Any]:
    """Write tables and merge them; memory counts from before the merge."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, write_s = _timed(lambda: _write_tables(folder, n_tables))
        before = _peak_mb()
        parts = [read_part(path) for path in sorted(folder.glob("part*.h5ad"))]
        _, merge_s = _timed(lambda: merge_parts(parts, rows, folder / "all.h5ad"))
        n_rows = n_tables * _ROWS_PER_TABLE
        return {
            "what": f"merge of {n_rows:,} patches x {_N_FEATURES} features",
            "microseconds per patch": 1e6 * merge_s / n_rows,
            "microseconds per patch to write": 1e6 * write_s / n_rows,
            "MB of further memory": _peak_mb() - before,
            "MB on disk": (folder / "all.h5ad").stat().st_size / 2**20,
        }


def _write_tables(folder: Path, n_tables: int) -> pd.DataFrame:
    """Write tables of one image each; return the rows of all."""
    frames = []
    names = [feature_name(k) for k in range(_N_FEATURES)]
    statistics = (Keys.FIRING_RATE, Keys.MEAN_ACTIVATION, Keys.MAX_ACTIVATION)
    for number in range(n_tables):
        rng = np.random.default_rng(number)
        index = [f"i{number}:P/A01/1/{row}/0" for row in range(_ROWS_PER_TABLE)]
        obs = pd.DataFrame({Keys.IMAGE: f"i{number}", Keys.GROUP: f"P/A{number % 96}"}, index)
        values = sparse.random(
            _ROWS_PER_TABLE, _N_FEATURES, _DENSITY, format="csr", dtype=np.float32, rng=rng
        )
        table = AnnData(values, obs=obs, var=pd.DataFrame(index=names))
        for name in statistics:
            table.var[name] = np.full(_N_FEATURES, 0.1)
        table.obsm[Keys.SPATIAL] = rng.random((_ROWS_PER_TABLE, 2))
        provenance = Provenance({}, {}, 0, "cpu", {f"i{number}": "0"}, {"small": "0"}, {})
        table.uns[Keys.PROVENANCE] = provenance.to_json()
        write_table(table, folder / f"part{number:05d}.h5ad")
        frames.append(obs)
    return pd.concat(frames)


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
