"""What embedding a table gives: values for figures, tables and panels. No computing, no files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.embed_config import EmbedConfig

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_bio_superposition.manifold.curves import TrendCurve
    from napari_bio_superposition.manifold.dynamics import FeatureDynamics
    from napari_bio_superposition.manifold.stages import StageTest
    from napari_bio_superposition.manifold.statistics import Correlation
    from napari_bio_superposition.manifold.trajectory import PagaGraph

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One group along pseudotime; everything a panel draws is in here, nothing is recomputed.

    Parameters
    ----------
    group
        The group that was tested, for instance ``"SNCA"``.
    rows
        Its patches with a finite pseudotime: row numbers of the table of the result. Where
        features were chosen on half of the wells, those of the other half only.
    pseudotime
        ``(len(rows),)``, for the x axis of the scatter.
    outcome
        ``(len(rows),)``, for its y axis; ``nan`` where it is not known.
    wells
        ``(len(rows),)`` names.
    root
        Name of the patch where pseudotime starts.
    paga
        Graph of clusters: positions, connectivities, sizes, composition.
    correlation
        ``"spearman"`` and ``"pearson"``; empty where there is no outcome.
    curve
        Smooth curve (``x``, ``y``) with its band (``low``, ``high``); ``None`` without an outcome.
    stages
        By ``"terciles"`` and ``"equal_width"``; their ``codes`` follow `known`.
    root_spearman
        Correlation from each of the other roots.
    grid
        Correlation over neighbours and components, a row each; ``None`` where not asked for.
    dynamics
        Features along pseudotime, with patches early, middle and late; ``bins`` are row numbers
        of the table of the result. ``None`` with too few patches.
    warnings
        What a reader must know.
    """

    group: str
    rows: IntArray
    pseudotime: Numbers
    outcome: Numbers
    wells: npt.NDArray[np.str_]
    root: str
    paga: "PagaGraph"
    correlation: Mapping[str, "Correlation"]
    curve: "TrendCurve | None"
    stages: Mapping[str, "StageTest"]
    root_spearman: Numbers
    grid: pd.DataFrame | None
    dynamics: "FeatureDynamics | None"
    warnings: tuple[str, ...]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which of `rows` have an outcome; statistics use these, in this order."""
        return np.isfinite(self.outcome)

    def as_plain(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "n_patches": len(self.rows),
            "n_with_outcome": int(self.known.sum()),
            "n_wells": len(np.unique(self.wells)),
            "root": self.root,
            "correlation": {kind: _plain(one.as_plain()) for kind, one in self.correlation.items()},
            "curve": _describe_curve(self.curve),
            "stages": {cut: _describe_stages(one) for cut, one in self.stages.items()},
            "root_perturbation": _plain(_describe_roots(self.root_spearman)),
            "grid": None if self.grid is None else _records(self.grid),
            "n_clusters": len(self.paga.names),
            "n_features_followed": 0 if self.dynamics is None else len(self.dynamics.features),
            "warnings": list(self.warnings),
        }

    def as_lines(self, outcome: str) -> list[str]:
        """Return the main figures as a person reads them."""
        found = self.correlation.get("spearman")
        if found is None:
            return [
                f"{self.group}: {len(self.rows)} patches, no outcome to correlate.",
                *self.warnings,
            ]
        lines = [
            f"{self.group}: {outcome} along pseudotime, Spearman {found.value:.2f} "
            f"[{found.low:.2f}, {found.high:.2f}] over {found.n_wells} wells; null "
            f"[{found.null_low:.2f}, {found.null_high:.2f}], p {found.p_value:.3g} "
            f"({found.n_patches} patches)."
        ]
        if self.curve is not None:
            lines.append(
                f"  Smooth curve: adjusted R2 {self.curve.adjusted_r2:.3f}, on wells left out "
                f"{self.curve.r2_held_out:.3f}."
            )
        lines += [f"  {text}" for text in self._describe_spread()]
        return [*lines, *(f"  {text}" for text in self.warnings)]

    def _describe_spread(self) -> list[str]:
        """Return how far the correlation moves with the root and with the settings."""
        spreads = {"other roots": self.root_spearman}
        if self.grid is not None:
            spreads["settings of the grid"] = self.grid["spearman"].to_numpy(np.float64)
        known = {name: values[np.isfinite(values)] for name, values in spreads.items()}
        return [
            f"From {len(values)} {name}: Spearman {values.min():.2f} to {values.max():.2f}, "
            f"median {np.median(values):.2f}."
            for name, values in known.items()
            if len(values)
        ]


@dataclass(frozen=True, eq=False)
class EmbedResult:
    """An embedded table and the trajectories in it.

    Parameters
    ----------
    table
        A copy of the input with scanpy's keys: ``X_pca``, ``X_umap``, ``X_phate``, ``neighbors``,
        and, where there is one trajectory over everything, ``X_diffmap``, ``dpt_pseudotime``,
        ``leiden``, ``paga``. With pairs, ``dpt_pseudotime_GROUP`` for each.
    trajectories
        By group; empty where there is none (see `notices`).
    outcome
        Column of obs that is followed along pseudotime; empty where there is none.
    selection
        Wells that chose features and wells that judge, and how many features; empty where all
        features are used.
    config
        The settings.
    notices
        What was left out, and why.
    """

    table: "AnnData"
    trajectories: Mapping[str, Trajectory]
    outcome: str
    selection: Mapping[str, Any]
    config: EmbedConfig
    notices: tuple[str, ...]

    def as_plain(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return {
            "n_patches": self.table.n_obs,
            "n_features": self.table.n_vars,
            "layouts": [key for key in self.table.obsm if key.startswith("X_")],
            "outcome": self.outcome,
            "trajectories": {name: one.as_plain() for name, one in self.trajectories.items()},
            "selection": dict(self.selection),
            "notices": list(self.notices),
            "settings": config_to_plain(self.config),
            "versions": package_versions(),
        }

    def as_lines(self) -> list[str]:
        """Return the outcome as a person reads it."""
        lines = [f"{self.table.n_obs} patches, {self.table.n_vars} features."]
        for one in self.trajectories.values():
            lines += one.as_lines(self.outcome)
        return [*lines, *self.notices]


def _describe_curve(curve: "TrendCurve | None") -> dict[str, Any] | None:
    if curve is None:
        return None
    kept = ("adjusted_r2", "r2_held_out", "n_splines", "degrees_of_freedom", "n_patches")
    return _plain({name: getattr(curve, name) for name in kept})


def _describe_stages(one: "StageTest") -> dict[str, Any]:
    return {
        "edges": [float(edge) for edge in one.edges],
        "summary": _records(one.summary.reset_index()),
        "jonckheere_terpstra": _plain(asdict(one.trend)),
        "pairs": _records(one.pairs),
        "correction": one.correction,
    }


def _describe_roots(values: Numbers) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {"n_roots": 0}
    return {
        "n_roots": len(known),
        "mean": float(known.mean()),
        "sd": float(known.std()),
        "min": float(known.min()),
        "max": float(known.max()),
        "spearman": [float(value) for value in known],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [_plain(row) for row in table.to_dict(orient="records")]


def _plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return JSON values: numbers that are not finite become ``None``."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not np.isfinite(value):
            value = None
        plain[str(name)] = value
    return plain
