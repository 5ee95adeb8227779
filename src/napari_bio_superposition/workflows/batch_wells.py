"""What a run says about wells: aggregates, mean features, controls. Written beside the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.features.table import write_table
from napari_bio_superposition.features.table_merge import read_values
from napari_bio_superposition.features.wells import (
    WellMeans,
    select_wells,
    separate_controls,
    summarize_wells,
)
from napari_bio_superposition.workflows.batch_config import BatchConfig
from napari_bio_superposition.workflows.collect import Collected

WELLS = "wells.csv"
WELL_FEATURES = "wells.h5ad"
CONTROLS = "controls.csv"
_TOO_FEW = (
    "The controls were not compared: Z' and SSMD need two wells of each on the same plate. "
    "Name other wells, or judge by wells.csv."
)
MEASURES = (Keys.DEATH, "n_nuclei", "accepted")


@dataclass(frozen=True, eq=False)
class WellResults:
    """Wells of a run: measures, mean features where there are any, separation of controls."""

    wells: pd.DataFrame
    features: pd.DataFrame
    """Mean activation, wells x features; without columns where there are no features."""
    controls: pd.DataFrame | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def write_wells(collected: Collected, config: BatchConfig, out: Path) -> Job[WellResults]:
    """Write ``wells.csv``, ``wells.h5ad`` (mean features) and, with controls, ``controls.csv``."""
    wells = summarize_wells(collected.rows, collected.images)
    if wells.empty:
        return WellResults(wells, pd.DataFrame())
    features = yield from _average(collected, wells)
    outputs = {"wells": WELLS}
    _write_csv(wells.reset_index(), out / WELLS)
    if features.shape[1]:
        obs = wells.drop(columns=["n_nuclei"]).assign(n_nuclei=wells["n_nuclei"].astype(float))
        var = pd.DataFrame(index=features.columns)
        write_table(AnnData(features.to_numpy(np.float32), obs=obs, var=var), out / WELL_FEATURES)
        outputs["well_features"] = WELL_FEATURES
    controls, warnings = _compare_controls(wells, features, config)
    if controls is not None:
        _write_csv(controls, out / CONTROLS)
        outputs["controls"] = CONTROLS
    return WellResults(wells, features, controls, outputs, warnings)


def _average(collected: Collected, wells: pd.DataFrame) -> Job[pd.DataFrame]:
    """Return the mean activation per well, reading one table after the other."""
    parts = collected.parts
    if not parts:
        return pd.DataFrame(index=wells.index)
    means = WellMeans(list(wells.index), len(parts[0].features))
    groups = collected.rows[Keys.GROUP].astype(str).to_numpy()
    start = 0
    for done, part in enumerate(parts):
        stop = start + part.n_patches
        means.add(read_values(part), groups[start:stop])
        start = stop
        yield Progress("Averaging wells", done + 1, len(parts), "fields")
    return pd.DataFrame(means.means(), index=wells.index, columns=list(parts[0].features))


def _compare_controls(
    wells: pd.DataFrame, features: pd.DataFrame, config: BatchConfig
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Compare the named controls; a name that fits no well is a warning: the results stand."""
    if not (config.positive and config.negative):
        return None, ()
    try:
        positive = select_wells(wells, config.positive)
        negative = select_wells(wells, config.negative)
    except TableError as error:
        return None, (f"The controls were not compared: {error}",)
    values = pd.concat([wells[list(MEASURES)].astype(float), features], axis=1)
    table = separate_controls(values, wells[Keys.PLATE].astype(str), positive, negative)
    compared = table[["n_positive", "n_negative"]].min(axis=1) >= 2
    return table, () if compared.any() else (_TOO_FEW,)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with replaced_file(path) as part:
        table.to_csv(part, index=False)
