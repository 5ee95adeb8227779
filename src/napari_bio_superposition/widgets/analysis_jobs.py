"""What the Analyse widget runs in a thread: jobs over arrays, never over layers. No Qt.

The workflows are imported when a job runs: a widget opens without torch and without scanpy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.preload import gentle_imports
from napari_bio_superposition.widgets.sources import SourcePixels

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
    from napari_bio_superposition.workflows.analyze import ImageAnalysis
    from napari_bio_superposition.workflows.loading import LoadedModels

_STARTING = Progress("Loading libraries")


@dataclass(frozen=True, eq=False)
class FinishedAnalysis:
    """A result with what is needed to show it and to draw overlays from it."""

    analysis: "ImageAnalysis"
    models: "LoadedModels"
    config: "AnalyzeConfig"
    name: str
    geometry: Geometry

    def overlay(self, latent: int) -> FloatArray:
        """Return the map of one latent from the cached tokens, ``(height, width)``."""
        from napari_bio_superposition.workflows.analyze import overlay

        return overlay(self.analysis, self.models, latent)


def analyze_source(
    pixels: SourcePixels, config: "AnalyzeConfig", models: "LoadedModels | None" = None
) -> Job[FinishedAnalysis]:
    """Analyse one field of view and keep what overlays need.

    Parameters
    ----------
    pixels
        The arrays of the chosen layers.
    config
        Settings; its roles name channels of the source, and an empty name takes a role away.
    models
        Networks of an earlier run with the same choice of models and device.
    """
    yield _STARTING
    with gentle_imports():
        from napari_bio_superposition.workflows.analyze import analyze_image
        from napari_bio_superposition.workflows.loading import load_models

    yield _STARTING
    image = pixels.build_image({role: name for role, name in config.roles.items() if name})
    if models is None:
        models = yield from load_models(config)
    analysis = yield from analyze_image(image, config, models=models, keep_tokens=True)
    return FinishedAnalysis(analysis, models, config, pixels.source.name, pixels.geometry)


def load_result(pixels: SourcePixels, folder: Path) -> Job[FinishedAnalysis]:
    """Bring a saved result back onto the image that it was made from.

    Raises
    ------
    TableError
        Where the folder holds no result, or one of another image.
    """
    yield _STARTING
    with gentle_imports():
        from napari_bio_superposition.workflows.analyze import restore_tokens
        from napari_bio_superposition.workflows.loading import load_models
        from napari_bio_superposition.workflows.result_folder import (
            load_analysis,
            read_result,
            saved_config,
        )

    yield Progress("Reading the result")
    config = saved_config(read_result(folder))
    analysis = load_analysis(folder, pixels.build_image({}))
    models = yield from load_models(config)
    if analysis.table is not None:
        analysis = yield from restore_tokens(analysis, models)
    return FinishedAnalysis(analysis, models, config, pixels.source.name, pixels.geometry)


def save_result(finished: FinishedAnalysis, folder: Path) -> Job[Path]:
    """Write a result as a folder; an existing one is replaced only when all is written."""
    yield Progress("Saving the result")
    from napari_bio_superposition.workflows.result_folder import save_analysis

    return save_analysis(finished.analysis, folder)


def find_devices() -> Job[tuple[str, ...]]:
    """Return the compute devices of this machine; torch is imported on the way."""
    yield Progress("Looking for devices")
    with gentle_imports():
        from napari_bio_superposition.models.device import list_devices

        return list_devices()
