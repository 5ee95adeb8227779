"""A result in a few lines for its user: counts, rates, what was skipped and why. No Qt."""

from typing import TYPE_CHECKING

import numpy as np

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.widgets.job_status import describe_duration

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.analyze import ImageAnalysis

_STEP_NAMES = {"nuclei": "Nuclei", "features": "Features", "death": "Cell death"}


def summarize(analysis: "ImageAnalysis") -> list[str]:
    """Return the result as lines of text, the most important first."""
    return [
        _counts(analysis),
        *(f"{_STEP_NAMES.get(step, step)} skipped: {why}." for step, why in _skipped(analysis)),
        *analysis.warnings,
    ]


def _counts(analysis: "ImageAnalysis") -> str:
    patches = analysis.patches
    parts = []
    if analysis.labels is not None:
        parts.append(f"{np.unique(analysis.labels[analysis.labels > 0]).size} nuclei")
    parts.append(f"{int(patches.accepted.sum())} of {len(patches)} patches kept")
    if analysis.death is not None:
        rates = np.asarray(analysis.death[Keys.DEATH], float)
        if np.isfinite(rates).any():
            parts.append(f"dead area {np.nanmean(rates):.1%}")
    if analysis.table is not None:
        n_active = int((np.asarray(analysis.table.var[Keys.MAX_ACTIVATION], float) > 0).sum())
        parts.append(f"{n_active} of {analysis.table.n_vars} features active")
    if analysis.seconds:
        parts.append(describe_duration(sum(analysis.seconds.values())))
    return " · ".join(parts)


def _skipped(analysis: "ImageAnalysis") -> list[tuple[str, str]]:
    return [(step, why.rstrip(".")) for step, why in analysis.skipped.items()]
