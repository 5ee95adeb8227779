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
from dataclasses import replace
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
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.features.table import write_table
from napari_bio_superposition.features.table_merge import merge_parts, read_part
from napari_bio_superposition.imaging.simulate import SimulationConfig, simulate_study
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.workflows.analyze import ImageAnalysis, analyze_image
from napari_bio_superposition.workflows.batch import collect_batch, run_plan, with_resources
from napari_bio_superposition.workflows.batch_config import BatchConfig, ResourceConfig
from napari_bio_superposition.workflows.batch_executors import threads_of_children
from napari_bio_superposition.workflows.batch_plan import plan_batch
from napari_bio_superposition.workflows.result_folder import save_analysis

_N_FIELDS = 16
_SIMULATED = SimulationConfig(side_px=512, n_plates=2, wells_per_class=_N_FIELDS // 8)
_N_FIRST = 4
_N_ROUNDS = 3
_N_PLANNED = 1000
_ROWS_PER_TABLE = 1000
_N_TABLES = (10, 100, 1000)
_N_FEATURES = 1024
_DENSITY = 0.05


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per measurement."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare_processes(Path(folder)), measure_overhead(Path(folder))]
    return [*rows, *(_in_fresh_process(n) for n in _N_TABLES)]


def compare_processes(folder: Path) -> dict[str, Any]:
    """Analyse the same fields with one process, by all cores and by one, and with two processes.

    Seconds per field are those after the first fields, the least of several rounds: starting counts
    less, the more fields there are, and threads that wait for one another suffer from neighbours.
    """
    images = folder / "images"
    for number, field in enumerate(simulate_study(_SIMULATED, rng=np.random.default_rng(0))):
        _write(field.image, images / f"P1_A01_s{number + 1}.ome.tif")
    n_cores = len(os.sched_getaffinity(0))
    ways = {"one": (1, n_cores), "single": (1, 1), "two": (2, n_cores)}
    rounds = [
        {
            name: _run_in_fresh_process(images, folder / f"{name}{k}", *way)
            for name, way in ways.items()
        }
        for k in range(_N_ROUNDS)
    ]
    one, single, two = (min(each[name]["steady"] for each in rounds) for name in ways)
    busy = min(each["one"]["busy"] for each in rounds)
    return {
        "what": f"{_N_FIELDS} fields of 512 px, model small, {n_cores} cores, best of {_N_ROUNDS}",
        "seconds per field, one process of all cores": one,
        "seconds per field, one process of one core": single,
        "seconds per field, two processes": two,
        "two processes over one of all cores": one / two,
        "two processes over one of one core": single / two,
        "share of all cores that one process keeps busy": busy / n_cores,
    }


def _run_in_fresh_process(
    images: Path, out: Path, processes: int, n_threads: int
) -> dict[str, float]:
    with threads_of_children(n_threads), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure_run, images, out, processes).result()


def measure_run(images: Path, out: Path, processes: int) -> dict[str, float]:
    """Analyse all fields; return seconds per field after the first ones, and cores kept busy."""
    ends: list[tuple[float, float]] = []
    plan = run(plan_batch(images, BatchConfig(), out))
    plan = with_resources(plan, ResourceConfig(processes=processes))
    run(
        run_plan(plan, on_outcome=lambda _: ends.append((time.perf_counter(), time.process_time())))
    )
    first, last = ends[_N_FIRST], ends[-1]
    seconds = last[0] - first[0]
    return {"steady": seconds / (len(ends) - 1 - _N_FIRST), "busy": (last[1] - first[1]) / seconds}


def measure_overhead(folder: Path) -> dict[str, Any]:
    """Plan many fields and collect them; the results between are written from those of one."""
    images = folder / "same"
    image = simulate_study(_SIMULATED, rng=np.random.default_rng(0)).field(0).image
    _write(image, images / "P1_A01_s0.ome.tif")
    for number in range(1, _N_PLANNED):
        os.link(
            images / "P1_A01_s0.ome.tif",
            images / f"P1_{chr(65 + number // 24 % 16)}{number % 24 + 1:02}_s{number}.ome.tif",
        )
    plan, plan_s = _timed(lambda: run(plan_batch(images, BatchConfig(), folder / "planned")))
    analysis = run(analyze_image(image))
    for unit in plan.units:
        one = _moved(analysis, unit.acquisition)
        save_analysis(one, plan.shard(unit), measurements={"unit": plan.key(unit)})
    _, collect_s = _timed(lambda: run(collect_batch(plan)))
    return {
        "what": f"{_N_PLANNED:,} fields of 512 px, model small",
        "ms per field to plan": 1e3 * plan_s / _N_PLANNED,
        "ms per field to collect": 1e3 * collect_s / _N_PLANNED,
    }


def _moved(analysis: ImageAnalysis, acquisition: Acquisition) -> ImageAnalysis:
    """Return the analysis as if its image came from another well."""
    image = replace(analysis.image, acquisition=acquisition)
    patches = replace(analysis.patches, image=image)
    assert analysis.dye is not None
    assert analysis.death is not None
    dye = replace(analysis.dye, image_id=image.id, plate=acquisition.plate, patch_ids=patches.ids)
    death = analysis.death.set_axis(pd.Index(patches.ids, name=analysis.death.index.name))
    return replace(analysis, image=image, patches=patches, dye=dye, death=death)


def _in_fresh_process(n_tables: int) -> dict[str, Any]:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_merge, (n_tables,))


def measure_merge(n_tables: int) -> dict[str, Any]:
    """Write tables and merge them; memory counts from before the merge."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, write_s = _timed(lambda: _write_tables(folder, n_tables))
        parts = [read_part(path) for path in sorted(folder.glob("part*.h5ad"))]
        merge_parts(parts[:1], rows[:_ROWS_PER_TABLE], folder / "first.h5ad")  # loads libraries
        before, cpu = _peak_mb(), time.process_time()
        _, merge_s = _timed(lambda: merge_parts(parts, rows, folder / "all.h5ad"))
        cpu = time.process_time() - cpu
        n_rows = n_tables * _ROWS_PER_TABLE
        return {
            "what": f"merge of {n_rows:,} patches x {_N_FEATURES} features",
            "microseconds per patch": 1e6 * merge_s / n_rows,
            "the same in CPU time": 1e6 * cpu / n_rows,
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


def _write(image: MultichannelImage, path: Path) -> None:
    names = image.channel_names
    write_image(image.pixels, path, channel_names=names, pixel_size_um=image.pixel_size_um)


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
