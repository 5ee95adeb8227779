"""The figures of a coupling as plain values, for ``coupling.json``. No files, no computing."""

import dataclasses
from typing import TYPE_CHECKING, Any

from napari_bio_superposition.alignment.coupling import Coupling
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.workflows.config_files import config_to_plain

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.couple import CoupledTables

_USES = {
    "scores": "for scores only",
    "intra-class": "to couple cells of one class only, and for scores",
    "per-class": "to align every class on its own, and for scores",
}


def describe_coupling(result: "CoupledTables") -> dict[str, Any]:
    """Return all figures of a coupling but the plan, as JSON values."""
    coupling, (first, second) = result.coupling, result.representations
    support = coupling.effective_support
    n, m = coupling.shape
    return {
        "verdict": coupling.verdict,
        "explanation": list(coupling.explanation),
        "warnings": list(coupling.warnings),
        "n_patches": n,
        "n_rna_cells": m,
        "k": coupling.k[0],
        "k_averaged": list(coupling.k),
        "epsilon": coupling.epsilon,
        "solver": coupling.solver,
        "converged": coupling.converged,
        "loss": coupling.loss,
        "null": {"observed": list(coupling.null_observed), **_plain_nulls(coupling)},
        "halves": _plain_halves(coupling),
        "basins": [dataclasses.asdict(basin) for basin in coupling.basins],
        "agreement": {
            "across_k": {str(k): value for k, value in coupling.agreement.items()},
            "across_subsamples": list(coupling.subsample_agreement),
        },
        "marginal_error": {
            "rows": coupling.row_error,
            "columns": coupling.column_error,
            "solver": coupling.solver_error,
        },
        "effective_support": {
            "mean": float(support.mean()),
            "min": float(support.min()),
            "max": float(support.max()),
        },
        "components": {
            name: {str(k): list(sizes) for k, sizes in by_k.items()}
            for name, by_k in coupling.components.items()
        },
        "label_transfer": None if result.labels is None else dataclasses.asdict(result.labels),
        "foscttm": None if result.pairs is None else dataclasses.asdict(result.pairs),
        "used": {
            "image": {"from": first.source, "steps": list(first.steps)},
            "rna": {"from": second.source, "steps": list(second.steps)},
            "labels": _USES[result.config.classes] if result.labels else "none",
            "shared": result.config.shared or "none",
            "pairs": "for scores and the verdict only" if result.pairs else "none",
        },
        "seconds": dict(coupling.seconds),
        "settings": config_to_plain(result.config),
        "versions": package_versions(),
    }


def _plain_nulls(coupling: Coupling) -> dict[str, Any]:
    from napari_bio_superposition.alignment.nulls import NullComparison

    nulls = NullComparison(coupling.null_observed, coupling.null_losses)
    return {
        "losses": {kind: list(losses) for kind, losses in coupling.null_losses.items()},
        "z": {kind: nulls.z(kind) for kind in coupling.null_losses},
        "p": {kind: nulls.p_value(kind) for kind in coupling.null_losses},
    }


def _plain_halves(coupling: Coupling) -> dict[str, Any] | None:
    halves = coupling.halves
    if halves is None:
        return None
    return {
        "losses": {name: list(losses) for name, losses in halves.losses.items()},
        "excess": halves.excess,
        "excess_over_tighter": halves.excess_over_tighter,
        "reproduced": list(halves.reproduced),
        "reproducibility": halves.reproducibility,
    }
