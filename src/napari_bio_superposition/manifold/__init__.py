"""Embeddings of patches: PCA, UMAP, PHATE. No torch."""

import importlib
from typing import Any

_HOME = {
    "PRESETS": "embedding_config",
    "EmbeddingConfig": "embedding_config",
    "choose_preset": "embedding_config",
    "describe_embedding": "embedding",
    "embed": "embedding",
    "preprocess": "preprocessing",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: a config alone must not bring scanpy."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
