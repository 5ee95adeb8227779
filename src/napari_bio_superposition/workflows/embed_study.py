"""What a table says about its patches, checked, before it is embedded. No embedding, no files."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.core.types import BoolArray, IntArray
from napari_bio_superposition.workflows.embed_config import EmbedConfig

if TYPE_CHECKING:
    from anndata import AnnData

Numbers = npt.NDArray[np.float64]
FROM_DISK: Final = 20_000
"""Patches of a table on disk that are embedded where the settings name no number."""


@dataclass(frozen=True, eq=False)
class EmbedStudy:
    """What a table says about its patches.

    Parameters
    ----------
    groups, wells, plates
        Name of each, per patch; plates are ``None`` where the table has no such column.
    outcome
        Column that is followed along pseudotime; empty where there is none.
    values
        Of the outcome, ``nan`` where not known.
    judging
        Patches whose wells took no part in choosing features.
    reason
        Why there can be no trajectory; empty where there can.
    notices
        What a reader must know.
    """

    groups: npt.NDArray[np.str_]
    wells: npt.NDArray[np.str_]
    plates: npt.NDArray[np.str_] | None
    outcome: str
    values: Numbers
    judging: BoolArray
    reason: str
    notices: tuple[str, ...]

    def tested(self, reference: str) -> list[str]:
        """Return the groups other than the reference; the one there is where there is one only."""
        others = [str(name) for name in np.unique(self.groups) if name != reference]
        return others or [str(name) for name in np.unique(self.groups)]

    def at(self, rows: IntArray | BoolArray) -> "EmbedStudy":
        """Return the same of some patches."""
        changes: dict[str, Any] = {
            name: getattr(self, name)[rows] for name in ("groups", "wells", "values", "judging")
        }
        changes["plates"] = None if self.plates is None else self.plates[rows]
        return dataclasses.replace(self, **changes)


def as_features(adata: "AnnData", config: EmbedConfig) -> "AnnData":
    """Return a table whose columns are what is embedded: the CNN's own features go the same way."""
    if config.embedding.source == "features":
        return adata
    from anndata import AnnData

    if Keys.CNN not in adata.obsm:
        raise TableError(
            f"The table holds no CNN features (`obsm[{Keys.CNN!r}]`). "
            "Embed the SAE features, or analyse the images again."
        )
    values = np.asarray(adata.obsm[Keys.CNN], np.float32)
    names = [f"cnn_{place:04d}" for place in range(values.shape[1])]
    kept = {key: adata.obsm[key] for key in (Keys.SPATIAL,) if key in adata.obsm}
    uns = {key: adata.uns[key] for key in (Keys.PROVENANCE,) if key in adata.uns}
    return AnnData(values, obs=adata.obs.copy(), var=pd.DataFrame(index=names), obsm=kept, uns=uns)


def _outcome_of(adata: "AnnData", config: EmbedConfig) -> str:
    name = config.trend.outcome
    if not name:
        return Keys.DEATH if Keys.DEATH in adata.obs else ""
    if name not in adata.obs or not pd.api.types.is_numeric_dtype(adata.obs[name]):
        numeric = adata.obs.select_dtypes("number").columns
        raise TableError(
            f"The outcome {name!r} is not a column of numbers in obs. "
            f"Choose one of: {list_choices(numeric)}."
        )
    return name


@dataclass(frozen=True, eq=False)
class DrawnPatches:
    """The patches of a table that are embedded, in memory, and what to say of that."""

    table: "AnnData"
    notices: tuple[str, ...] = ()


def draw_patches(
    adata: "AnnData", config: EmbedConfig, rng: np.random.Generator
) -> Job[DrawnPatches]:
    """Thin each group to the most patches that are asked for, those with a known outcome first.

    Of a table on disk `FROM_DISK` patches are drawn where no number is asked for, as evenly from
    the wells of all groups as these have them.
    """
    from napari_bio_superposition.features.drawn_rows import draw_rows, number_strata, read_rows
    from napari_bio_superposition.features.lazy_table import is_on_disk

    most, on_disk = config.max_patches_per_group, is_on_disk(adata)
    outcome = _outcome_of(adata, config)
    known = adata.obs[outcome].notna().to_numpy() if outcome else np.ones(adata.n_obs, bool)
    if most is not None and adata.n_obs > most:
        groups = _column(adata, config.group_by)
        kept = []
        for name in np.unique(groups):
            rows = rng.permutation(np.flatnonzero(groups == name))
            kept.append(rows[np.argsort(~known[rows], kind="stable")][:most])
        rows = np.sort(np.concatenate(kept))
    elif on_disk:
        strata = number_strata(adata.obs, config.group_by, config.unit)
        rows = draw_rows(strata, FROM_DISK, preferred=known, rng=rng)
    else:
        return DrawnPatches(adata)
    if not on_disk:
        return DrawnPatches(adata[rows].copy())
    notice = (
        f"{len(rows):,} of {adata.n_obs:,} patches were embedded, drawn evenly from groups and "
        "wells, because the table is too large for memory. max_patches_per_group sets their number."
    )
    return DrawnPatches((yield from read_rows(adata, rows)), (notice,))


def _column(adata: "AnnData", name: str) -> npt.NDArray[np.str_]:
    if name not in adata.obs:
        return np.full(adata.n_obs, "all")
    column: npt.NDArray[np.str_] = adata.obs[name].astype(str).to_numpy(dtype=str)
    return column


def describe_study(adata: "AnnData", config: EmbedConfig) -> EmbedStudy:
    """Read groups, wells, plates and outcome of a table.

    Raises
    ------
    TableError
        Where the settings name an outcome or a root that is not there.
    """
    notices = []
    outcome = _outcome_of(adata, config)
    values = np.full(adata.n_obs, np.nan)
    if outcome:
        values = adata.obs[outcome].to_numpy(np.float64)
    if config.with_trajectory and not np.isfinite(values).any():
        notices.append(
            f"No statistics along pseudotime: the table has no {outcome or Keys.DEATH!r} of any "
            "patch. Name another column as the outcome."
        )
    if config.unit in adata.obs:
        wells = _column(adata, config.unit)
    else:
        wells = adata.obs_names.to_numpy(dtype=str)
        notices.append(
            f"The table has no column {config.unit!r}: patches are taken as independent, and all "
            "intervals and p-values are too optimistic."
        )
    groups = _column(adata, config.group_by)
    return EmbedStudy(
        groups=groups,
        wells=wells,
        plates=_column(adata, config.block) if config.block in adata.obs else None,
        outcome=outcome,
        values=values,
        judging=np.ones(adata.n_obs, bool),
        reason=_why_not(adata, groups, config),
        notices=tuple(notices),
    )


def _why_not(adata: "AnnData", groups: npt.NDArray[np.str_], config: EmbedConfig) -> str:
    if config.trajectory.root:
        if config.trajectory.root in adata.obs_names:
            return ""
        raise TableError(
            f"The root {config.trajectory.root!r} is not among the {adata.n_obs} patches. "
            f"Give the name of a row, for instance {adata.obs_names[0]!r}."
        )
    if (groups == config.reference).any():
        return ""
    found = list_choices(np.unique(groups)[:12]) if config.group_by in adata.obs else "no column"
    return (
        f"no patch of {config.group_by!r} is {config.reference!r}; there is {found}. "
        "Name the reference, or the root patch."
    )


def select_features(
    table: "AnnData", study: EmbedStudy, config: EmbedConfig, rng: np.random.Generator
) -> tuple["AnnData", EmbedStudy, dict[str, Any]]:
    """Keep the features that half of the wells choose; the other half judges."""
    if config.n_selected is None:
        return table, study, {}
    from napari_bio_superposition.manifold.preprocessing import alive_features, preprocess
    from napari_bio_superposition.manifold.selection import select_on_half

    plain = dataclasses.replace(config.embedding, source="features")
    alive = np.flatnonzero(alive_features(table, plain))
    chosen = select_on_half(
        preprocess(table, plain),
        study.groups,
        study.wells,
        n_features=config.n_selected,
        rng=rng,
    )
    described = {
        "n_features": len(chosen.features),
        "wells_that_chose": list(chosen.wells[0]),
        "wells_that_judge": list(chosen.wells[1]),
    }
    kept = table[:, np.sort(alive[chosen.features])].copy()
    return kept, dataclasses.replace(study, judging=~chosen.choosing), described
