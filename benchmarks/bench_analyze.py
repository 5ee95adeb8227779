"""The main job on one field: share of each step, overlays against encoding again, growth in side.

Times are wall seconds of this run; what counts are the ratios and the growth.
"""

import time
from typing import Any

import numpy as np

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.simulate import (
    RnaConfig,
    SimulationConfig,
    sample_image,
    simulate_study,
)
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import analyze_image, overlay
from napari_bio_superposition.workflows.batch_summary import peak_memory_mb
from napari_bio_superposition.workflows.loading import load_models

_SIDES_PX = (512, 1024, 2048)
_N_OVERLAYS = 20


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per measurement."""
    models = run(load_models(AnalyzeConfig()))
    run(analyze_image(_field(256), models=models))  # first use compiles and allocates
    rows = [_analysis_row(side, models) for side in _SIDES_PX]
    return [*rows, _overlay_row(models), _simulation_row()]


def _field(side: int) -> Any:
    config = SimulationConfig(side_px=side, rna=RnaConfig(n_cells=0))
    return simulate_study(config, rng=np.random.default_rng(0)).field(0).image


def _analysis_row(side: int, models: Any) -> dict[str, Any]:
    image = _field(side)
    start = time.perf_counter()
    analysis = run(analyze_image(image, models=models))
    total = time.perf_counter() - start
    steps = {f"share {step}": seconds / total for step, seconds in analysis.seconds.items()}
    per_patch = 1000 * total / len(analysis.patches)
    return {
        "what": f"analyse {side} px x 4",
        "seconds": total,
        "ms per patch": per_patch,
        "peak MB of process": peak_memory_mb(),
        **steps,
    }


def _overlay_row(models: Any) -> dict[str, Any]:
    image, _ = sample_image()
    analysis = run(analyze_image(image, models=models, keep_tokens=True))
    times = []
    for latent in range(_N_OVERLAYS):
        start = time.perf_counter()
        overlay(analysis, models, latent)
        times.append(time.perf_counter() - start)
    shown = float(np.median(times))
    return {
        "what": "switch one overlay, 1024 px",
        "ms": 1000 * shown,
        "times faster than encoding again": analysis.seconds["features"] / shown,
    }


def _simulation_row() -> dict[str, Any]:
    start = time.perf_counter()
    sample_image()
    return {"what": "simulate 1024 px x 4", "seconds": time.perf_counter() - start}
