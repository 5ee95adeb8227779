"""Nuclei: StarDist weights run in torch; classical watershed. Public names, lazily imported."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_bio_superposition.segmentation.config import SegmentationConfig
    from napari_bio_superposition.segmentation.model_folder import load_stardist
    from napari_bio_superposition.segmentation.segment import segment_nuclei
    from napari_bio_superposition.segmentation.stardist import StarDistModel

__all__ = ["SegmentationConfig", "StarDistModel", "load_stardist", "segment_nuclei"]

_HOME = {
    "SegmentationConfig": "config",
    "StarDistModel": "stardist",
    "load_stardist": "model_folder",
    "segment_nuclei": "segment",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: torch loads only when nuclei are segmented."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
