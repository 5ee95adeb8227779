"""See what a neural network sees in multichannel images of neurons. Public API, lazily imported."""

import importlib
import importlib.metadata
from typing import Any

__version__ = importlib.metadata.version("napari-bio-superposition")

_HOME = {
    "Acquisition": "core.types",
    "BioSuperpositionError": "core.errors",
    "MultichannelImage": "core.types",
    "PatchSet": "core.types",
    "Progress": "core.progress",
    "run": "core.progress",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package stays instant."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
