"""One job: layouts, trajectory and statistics of a table. No files, no figures."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.core.types import BoolArray, IntArray
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.embed_config import EmbedConfig
from napari_bio_superposition.workflows.embed_result import EmbedResult, Trajectory
from napari_bio_superposition.workflows.embed_study import (
    EmbedStudy,
    as_features,
    describe_study,
    draw_patches,
    select_features,
)

if TYPE_CHECKING:
    from anndata import AnnData


Numbers = npt.NDArray[np.float64]
_LEAST_TESTED: Final = 30


def embed_table(adata: "AnnData", config: EmbedConfig | None = None) -> Job[EmbedResult]:
    """Lay out the patches of a table, order them in pseudotime, and test an outcome along it.

    Parameters
    ----------
    adata
        A feature table, or any table with features in columns; not changed.
    config
        Settings; the defaults where omitted.

    Returns
    -------
    EmbedResult
        The embedded table, and for each group its trajectory.

    Raises
    ------
    TableError
        Where columns are missing that the settings name, or there are too few patches.

    Notes
    -----
    Of a table on disk (`features.lazy_table.open_table`) only drawn patches are brought into
    memory; see `embed_study.draw_patches`.
    """
    from napari_bio_superposition.manifold.embedding import embed

    config = config or EmbedConfig()
    rng = np.random.default_rng(config.seed)
    yield Progress("Preparing the table")
    drawn = yield from draw_patches(adata, config, rng)
    table = as_features(drawn.table, config)
    study = describe_study(table, config)
    table, study, selection = select_features(table, study, config, rng)
    plain = dataclasses.replace(config.embedding, source="features")
    table = yield from embed(table, plain, rng=rng)
    notices = [*drawn.notices, *study.notices]
    trajectories: dict[str, Trajectory] = {}
    if config.with_trajectory and not study.reason:
        follow = _follow_all if config.scope == "all" else _follow_pairs
        trajectories = yield from follow(table, study, config, rng)
    elif config.with_trajectory:
        notices.append(f"No trajectory: {study.reason}")
    _write_down(table, trajectories, selection, config)
    return EmbedResult(table, trajectories, study.outcome, selection, config, tuple(notices))


def _write_down(
    table: "AnnData",
    trajectories: Mapping[str, Trajectory],
    selection: Mapping[str, Any],
    config: EmbedConfig,
) -> None:
    """Add the stage of each tested patch, and how everything was made."""
    from napari_bio_superposition.manifold.stages import STAGES

    stage = np.full(table.n_obs, -1)
    for one in trajectories.values():
        if "terciles" in one.stages:
            stage[one.rows[one.known]] = one.stages["terciles"].codes
    if (stage >= 0).any():
        table.obs[Keys.STAGE] = pd.Categorical.from_codes(stage, list(STAGES))
    made = {
        "settings": config_to_plain(config),
        "versions": package_versions(),
        "selection": dict(selection),
    }
    table.uns[Keys.EMBED] = json.dumps(made, sort_keys=True)


def _follow_all(
    table: "AnnData", study: EmbedStudy, config: EmbedConfig, rng: np.random.Generator
) -> Job[dict[str, Trajectory]]:
    """Follow every group along one pseudotime; the table itself gets scanpy's keys."""
    ordered = yield from _order(table, study, config)
    for name in ("obs", "obsm", "obsp", "uns"):
        _take_over(table, ordered, name)
    found = {}
    for group in study.tested(config.reference):
        found[group] = yield from _follow(table, study, group, config, rng)
    return found


def _take_over(table: "AnnData", other: "AnnData", name: str) -> None:
    ours, theirs = getattr(table, name), getattr(other, name)
    for key in theirs:
        ours[key] = theirs[key]


def _order(table: "AnnData", study: EmbedStudy, config: EmbedConfig) -> Job["AnnData"]:
    from napari_bio_superposition.manifold.trajectory import add_trajectory

    return (
        yield from add_trajectory(
            table,
            config.trajectory,
            reference=study.groups == config.reference,
            n_neighbors=config.embedding.n_neighbors,
            seed=config.seed,
        )
    )


def _follow_pairs(
    table: "AnnData", study: EmbedStudy, config: EmbedConfig, rng: np.random.Generator
) -> Job[dict[str, Trajectory]]:
    """Follow each group with the reference alone; the table gets one pseudotime per pair."""
    from napari_bio_superposition.manifold.embedding import embed

    settings = dataclasses.replace(config.embedding, source="features", umap=False, phate="never")
    found = {}
    for group in study.tested(config.reference):
        rows = np.flatnonzero(np.isin(study.groups, [group, config.reference]))
        part = table[rows].copy()
        _forget_graphs(part)
        part = yield from embed(part, settings, rng=rng)
        part = yield from _order(part, study.at(rows), config)
        one = yield from _follow(part, study.at(rows), group, config, rng)
        time = np.full(table.n_obs, np.nan)
        time[rows] = part.obs[Keys.PSEUDOTIME]
        table.obs[f"{Keys.PSEUDOTIME}_{group}"] = time
        found[group] = _at_rows_of_table(one, rows)
    return found


def _forget_graphs(part: "AnnData") -> None:
    """Drop what belongs to the graph of the whole table."""
    for key in list(part.obsp):
        del part.obsp[key]
    for key in [key for key in part.uns if "neighbors" in key]:
        del part.uns[key]


def _at_rows_of_table(one: Trajectory, rows: IntArray) -> Trajectory:
    dynamics = one.dynamics
    if dynamics is not None:
        bins = tuple(rows[bin_rows] for bin_rows in dynamics.bins)
        dynamics = dataclasses.replace(dynamics, bins=bins)
    return dataclasses.replace(one, rows=rows[one.rows], dynamics=dynamics)


def _follow(
    table: "AnnData", study: EmbedStudy, group: str, config: EmbedConfig, rng: np.random.Generator
) -> Job[Trajectory]:
    from napari_bio_superposition.manifold.robustness import sweep
    from napari_bio_superposition.manifold.trajectory import read_paga

    time = table.obs[Keys.PSEUDOTIME].to_numpy(np.float64)
    own = (study.groups == group) & study.judging
    rows = np.flatnonzero(own & np.isfinite(time))
    warnings = _unreached(own, time)
    tests = yield from _test(time[rows], study.at(rows), config, rng)
    roots = yield from _perturb(table, study, rows, config, rng)
    grid = None
    if config.trend.robustness and tests.correlation:
        grid = yield from sweep(
            table,
            study.values,
            own,
            config.trajectory,
            grid=(config.trend.grid_neighbors, config.trend.grid_pcs),
            reference=study.groups == config.reference,
            seed=config.seed,
        )
    dynamics = yield from _follow_features(table, time, own, config)
    return Trajectory(
        group=group,
        rows=rows,
        pseudotime=time[rows],
        outcome=study.values[rows],
        wells=study.wells[rows],
        root=str(table.obs_names[int(table.uns["iroot"])]),
        paga=read_paga(table, group=config.group_by, threshold=config.trajectory.paga_threshold),
        correlation=tests.correlation,
        curve=tests.curve,
        stages=tests.stages,
        root_spearman=roots,
        grid=grid,
        dynamics=dynamics,
        warnings=(*warnings, *tests.warnings),
    )


def _unreached(own: BoolArray, time: Numbers) -> list[str]:
    missing = int((own & ~np.isfinite(time)).sum())
    if not missing:
        return []
    return [
        f"{missing} of {int(own.sum())} patches cannot be reached from the root: the graph is in "
        "pieces. Raise n_neighbors."
    ]


@dataclass(frozen=True, eq=False)
class _Tests:
    correlation: dict[str, Any]
    curve: Any
    stages: dict[str, Any]
    warnings: tuple[str, ...]


def _test(
    time: Numbers, study: EmbedStudy, config: EmbedConfig, rng: np.random.Generator
) -> Job[_Tests]:
    """Test the outcome along pseudotime, where enough patches have both."""
    from napari_bio_superposition.manifold.curves import fit_curve
    from napari_bio_superposition.manifold.resampling import Wells
    from napari_bio_superposition.manifold.stages import CUTS, compare_stages
    from napari_bio_superposition.manifold.statistics import correlate, warn_of_few

    known = np.isfinite(study.values)
    if known.sum() < _LEAST_TESTED or np.ptp(time[known]) == 0:
        reason = f"Only {int(known.sum())} patches have pseudotime and outcome: nothing is tested."
        return _Tests({}, None, {}, (reason,) if study.outcome else ())
    study, x, y = study.at(known), time[known], study.values[known]
    wells = Wells(study.wells, study.plates)
    trend = config.trend
    correlation = yield from correlate(
        x,
        y,
        study.wells,
        study.plates,
        draws=(trend.n_bootstraps, trend.n_permutations),
        rng=rng,
    )
    curve = yield from fit_curve(
        x, y, wells, n_splines=trend.n_splines, n_draws=trend.n_curves, rng=rng
    )
    stages = {}
    for cut in CUTS:
        stages[str(cut)] = yield from compare_stages(x, y, wells, trend, cut=cut, rng=rng)
    return _Tests(correlation, curve, stages, tuple(warn_of_few(wells)))


def _perturb(
    table: "AnnData",
    study: EmbedStudy,
    rows: IntArray,
    config: EmbedConfig,
    rng: np.random.Generator,
) -> Job[Numbers]:
    """Return the rank correlation of the tested patches from each of the other roots."""
    from napari_bio_superposition.manifold.statistics import spearman
    from napari_bio_superposition.manifold.trajectory import perturb_root

    if not np.isfinite(study.values[rows]).any():
        return np.empty(0)
    reference = study.groups == config.reference
    found = yield from perturb_root(table, config.trajectory, reference=reference, rng=rng)
    values = []
    for time in found.pseudotime:
        known = rows[np.isfinite(time[rows]) & np.isfinite(study.values[rows])]
        values.append(spearman(time[known], study.values[known]) if len(known) > 2 else np.nan)
    return np.array(values, np.float64)


def _follow_features(
    table: "AnnData", time: Numbers, own: BoolArray, config: EmbedConfig
) -> Job[Any]:
    from napari_bio_superposition.manifold.dynamics import follow_features

    try:
        return (
            yield from follow_features(table, time, config.dynamics, rows=own, seed=config.seed)
        )
    except BioSuperpositionError:  # too few patches of this group: the rest still holds
        return None
