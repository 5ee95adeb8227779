"""See what a neural network sees in multichannel images of neurons. Public API, lazily imported."""

import importlib
import importlib.metadata
from typing import Any

__version__ = importlib.metadata.version("napari-bio-superposition")

_HOME = {
    "Acquisition": "core.types",
    "AnalyzeConfig": "workflows.analysis_config",
    "BioSuperpositionError": "core.errors",
    "CellDeathConfig": "imaging.cell_death_config",
    "DemoConfig": "workflows.demo_config",
    "EmbeddingConfig": "manifold.embedding_config",
    "ImageAnalysis": "workflows.analyze",
    "Keys": "core.keys",
    "MultichannelImage": "core.types",
    "PatchConfig": "imaging.patch_config",
    "PatchSet": "core.types",
    "Progress": "core.progress",
    "ReadConfig": "imaging.read_config",
    "SegmentationConfig": "segmentation.config",
    "SimulationConfig": "imaging.simulation_config",
    "analyze_files": "workflows.analyze_files",
    "analyze_image": "workflows.analyze",
    "build_table": "features.table",
    "embed": "manifold.embedding",
    "extract_patches": "imaging.patches",
    "list_models": "models.catalogue",
    "load_analysis": "workflows.result_folder",
    "load_model": "models.checkpoint",
    "load_models": "workflows.loading",
    "overlay": "workflows.analyze",
    "rank_class_features": "features.ranking",
    "read_image": "imaging.read",
    "read_table": "features.table",
    "restore_tokens": "workflows.analyze",
    "run": "core.progress",
    "run_demo": "workflows.demo",
    "sample_image": "imaging.simulate",
    "save_analysis": "workflows.result_folder",
    "segment_files": "workflows.segment",
    "segment_nuclei": "segmentation.segment",
    "simulate_study": "imaging.simulate",
    "write_study": "imaging.simulate",
    "write_table": "features.table",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package stays instant."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
