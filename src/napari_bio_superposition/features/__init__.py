"""The feature table (AnnData), regions, overlays, ranking. No torch."""

import importlib
from typing import Any

_HOME = {
    "assemble_overlay": "overlays",
    "build_manifest": "table",
    "build_table": "table",
    "composite": "overlays",
    "concat_tables": "table",
    "fixed_scale": "overlays",
    "rank_by_activation": "ranking",
    "rank_class_features": "ranking",
    "read_provenance": "table",
    "read_table": "table",
    "render_overlay": "overlays",
    "top_patches": "ranking",
    "write_table": "table",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: AnnData takes a second to import."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
