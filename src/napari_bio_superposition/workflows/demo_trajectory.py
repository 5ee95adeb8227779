"""The trajectory part of the demo's report: pictures and what is said beside them."""

import numpy as np
import pandas as pd

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.workflows.demo_truth import TruthComparison
from napari_bio_superposition.workflows.embed_result import EmbedResult, Trajectory
from napari_bio_superposition.workflows.figures import draw_maps
from napari_bio_superposition.workflows.report import Picture, Section
from napari_bio_superposition.workflows.trajectory_figures import (
    draw_dynamics,
    draw_paga,
    draw_pseudotime,
    draw_roots,
    draw_stages,
)
from napari_bio_superposition.workflows.trajectory_truth import SourceComparison

_DEATH = "dead share of nuclear area"
_METHOD = (
    "Diffusion pseudotime orders the patches by steps along a graph of neighbours, from the "
    "control patch nearest the centre of the controls. No step was told the genotypes other than "
    "control, or anything of death. Intervals are drawn over wells; nulls let the outcomes of "
    "wells change places within a plate."
)


def trajectory_sections(
    result: EmbedResult, sources: SourceComparison, truth: TruthComparison
) -> list[Section]:
    """Return the sections on pseudotime: order, death along it, and features along it."""
    found = dict(result.trajectories)
    if not found:
        return [Section("Pseudotime", paragraphs=[_METHOD], notes=list(result.notices))]
    return [
        _order_section(result, sources, truth),
        _death_section(result),
        _dynamics_section(found),
    ]


def _order_section(
    result: EmbedResult, sources: SourceComparison, truth: TruthComparison
) -> Section:
    obs = result.table.obs
    key = Keys.PHATE if Keys.PHATE in result.table.obsm else Keys.UMAP
    time = obs[Keys.PSEUDOTIME].replace(np.inf, np.nan)
    progression = truth.patches["progression"].reindex(result.table.obs_names)
    figure = draw_maps(
        result.table.obsm[key],
        {"Pseudotime": time, "True progression": progression},
        key.removeprefix("X_").upper(),
    )
    paga = next(iter(result.trajectories.values())).paga
    shown = sources.table.rename(columns=_column_names())
    return Section(
        "Pseudotime",
        paragraphs=[
            _METHOD,
            f"The simulation knows how far each patch has progressed. {sources.verdict}",
        ],
        pictures=[
            Picture("pseudotime_map", figure, "Left what was found, right what is true."),
            Picture(
                "paga",
                draw_paga(paga),
                "Clusters of patches, as pies of genotypes; wider lines connect more strongly than "
                "chance would.",
            ),
        ],
        table=shown,
        notes=[
            "The table correlates pseudotime with the true progression over all patches: from SAE "
            "and from CNN features that went through the same preparation. The bundled model was "
            "trained on other simulated wells."
        ],
    )


def _death_section(result: EmbedResult) -> Section:
    found = result.trajectories
    tested = {name: one for name, one in found.items() if one.curve is not None}
    warnings = sorted({text for one in found.values() for text in one.warnings})
    if not tested:
        return Section("Death along pseudotime", notes=warnings)
    pictures = [
        Picture(
            "death_along_pseudotime",
            draw_pseudotime(tested, _DEATH),
            "One point per patch; smooth curve with its 95 % band over wells.",
        ),
        Picture(
            "stages",
            draw_stages(tested, _DEATH, "terciles"),
            "Thirds of pseudotime with equally many patches; bars span 95 % over wells. Trend: "
            "Jonckheere and Terpstra, outcomes exchanged between wells.",
        ),
    ]
    if any(len(one.root_spearman) for one in tested.values()):
        pictures.append(
            Picture(
                "other_roots",
                draw_roots(tested),
                "The same correlation from other control patches as the start (points), and from "
                "the chosen one (line).",
            )
        )
    return Section(
        "Death along pseudotime", pictures=pictures, table=_test_table(tested), notes=warnings
    )


def _test_table(tested: dict[str, Trajectory]) -> pd.DataFrame:
    rows = {}
    for name, one in tested.items():
        rank, curve = one.correlation["spearman"], one.curve
        assert curve is not None
        rows[name] = {
            "Spearman": rank.value,
            "low": rank.low,
            "high": rank.high,
            "null low": rank.null_low,
            "null high": rank.null_high,
            "p (wells)": rank.p_value,
            "curve adj. R2": curve.adjusted_r2,
            "R2, other wells": curve.r2_held_out,
            "patches": str(rank.n_patches),
            "wells": str(rank.n_wells),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("genotype")


def _dynamics_section(found: dict[str, Trajectory]) -> Section:
    followed = {name: one.dynamics for name, one in found.items() if one.dynamics is not None}
    return Section(
        "Features along pseudotime",
        pictures=[
            Picture(
                f"dynamics_{name}",
                draw_dynamics(dynamics, name),
                "Mean of each feature over equal numbers of patches, standardised and smoothed; "
                "clusters of features in the order of their peaks.",
            )
            for name, dynamics in followed.items()
        ],
        side_by_side=True,
    )


def _column_names() -> dict[str, str]:
    return {
        "spearman": "Spearman",
        "null_low": "null low",
        "null_high": "null high",
        "n_patches": "patches",
        "n_wells": "wells",
    }
