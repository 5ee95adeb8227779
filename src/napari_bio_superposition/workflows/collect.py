"""From the result folders of images to one manifest and one table, in bounded memory. No models."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.features.table_merge import TablePart, merge_parts, read_part
from napari_bio_superposition.imaging.cell_death import (
    DyePool,
    choose_threshold,
    explain_threshold,
    score_cell_death,
)
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.result_folder import (
    TABLE,
    SavedResult,
    read_manifests,
    summarize_death,
)

MANIFEST = "manifest.csv"
IMAGES = "images"
_STEP: Final = "Gathering results"
_GROUP: Final = 64
"""Images whose manifests are in memory at once."""
_ROW_COLUMNS: Final = (
    Keys.IMAGE,
    Keys.PLATE,
    Keys.WELL,
    Keys.FIELD,
    Keys.LINE,
    Keys.GENOTYPE,
    Keys.TREATMENT,
    Keys.GROUP,
    Keys.Y,
    Keys.X,
)
_DEATH_COLUMNS: Final = (
    Keys.N_NUCLEI,
    Keys.NUCLEAR_AREA,
    Keys.DEATH_ELIGIBLE,
    Keys.DEATH,
    Keys.DEATH_INTENSITY,
    Keys.DEATH_PER_PIXEL,
    Keys.DEATH_THRESHOLD,
)


@dataclass(frozen=True, eq=False)
class Collected:
    """What was gathered from the results of many images."""

    images: tuple[Mapping[str, Any], ...]
    """One summary per image, with the death rates of the pooled threshold."""
    outputs: Mapping[str, str]
    """What was written: name to file name."""
    warnings: tuple[str, ...]
    rows: pd.DataFrame
    """The rows of the table (its ``obs``); empty where there are no features."""
    parts: tuple[TablePart, ...] = field(default=(), repr=False)


def collect_results(
    results: Sequence[SavedResult],
    config: AnalyzeConfig,
    out: Path,
    *,
    table_name: str = TABLE,
) -> Job[Collected]:
    """Score death with pooled thresholds; write the manifest of all patches and the feature table.

    Beyond the rows of the table, memory does not grow with the number of images.

    Parameters
    ----------
    results
        Complete result folders, in the order of their rows.
    config
        Settings of cell death and the scope of its threshold.
    out
        Folder for ``manifest.csv`` and the table.
    table_name
        Name of the table, ending in ``.h5ad`` or ``.zarr``.

    Raises
    ------
    TableError
        Where tables were made by different models or settings.
    """
    thresholds = _Thresholds(config)
    columns: dict[str, None] = {}
    for done, result in enumerate(results):
        thresholds.add(result)
        columns |= dict.fromkeys(result.manifest_columns())
        yield Progress("Choosing thresholds of cell death", done + 1, len(results), "images")
    warnings = thresholds.choose()
    if thresholds.values:
        columns |= dict.fromkeys(_DEATH_COLUMNS)
    gathered = yield from _gather(results, thresholds, list(columns), out)
    outputs = {"manifest": MANIFEST} if results else {}
    if not results:
        (out / MANIFEST).unlink(missing_ok=True)
    rows = _stack_rows(gathered.rows)
    if gathered.parts:
        yield Progress(f"Writing {table_name}")
        merge_parts(gathered.parts, rows, out / table_name)
        outputs["table"] = table_name
    elif (out / table_name).is_file():
        (out / table_name).unlink()
    return Collected(tuple(gathered.images), outputs, tuple(warnings), rows, tuple(gathered.parts))


@dataclass(frozen=True, eq=False)
class _Gathered:
    images: list[Mapping[str, Any]] = field(default_factory=list)
    rows: list[pd.DataFrame] = field(default_factory=list)
    parts: list[TablePart] = field(default_factory=list)


def _gather(
    results: Sequence[SavedResult], thresholds: "_Thresholds", columns: Sequence[str], out: Path
) -> Job[_Gathered]:
    """Write the manifest, some images at a time; return what the table is made of."""
    gathered = _Gathered()
    if not results:
        return gathered
    with (
        replaced_file(out / MANIFEST) as part,
        part.open("w", newline="", encoding="utf-8") as stream,
    ):
        pd.DataFrame(columns=columns).to_csv(stream, index=False)
        for group in _group_alike(results):
            yield Progress(_STEP, len(gathered.images), len(results), "images")
            deaths = [thresholds.score(result) for result in group]
            manifest = _with_death(read_manifests(group), [d for d in deaths if d is not None])
            manifest.reindex(columns=columns).to_csv(stream, index=False, header=False)
            gathered.images.extend(map(_summarize, group, deaths))
            tables = [result for result in group if (result.folder / TABLE).is_file()]
            gathered.parts.extend(read_part(result.folder / TABLE) for result in tables)
            gathered.rows.append(_rows_of(manifest, [result.id for result in tables]))
    yield Progress(_STEP, len(results), len(results), "images")
    return gathered


def _group_alike(results: Sequence[SavedResult]) -> Iterator[list[SavedResult]]:
    """Yield neighbours whose manifests have the same columns, read at once: pandas costs calls."""
    for _, alike in itertools.groupby(results, lambda result: result.manifest_columns()):
        while group := list(itertools.islice(alike, _GROUP)):
            yield group


class _Thresholds:
    """Pooled thresholds of cell death: per plate or over all, per count scale of the camera."""

    def __init__(self, config: AnalyzeConfig) -> None:
        self._config = config
        self._pools: dict[str, dict[float, DyePool]] = {}
        self.values: dict[tuple[str, float], float] = {}

    def add(self, result: SavedResult) -> None:
        """Take the dye of one image into its pool."""
        share = result.dye_share()
        if share is not None:
            scales = self._pools.setdefault(self._plate(share.plate), {})
            scales.setdefault(share.full_scale, DyePool(share.full_scale)).add(share)

    def choose(self) -> list[str]:
        """Choose all thresholds; return what a user should know about them.

        Images of different count scales (8 and 16 bits, or floats) have no common threshold; each
        scale gets its own, and a warning says so.
        """
        warnings = []
        for plate, scales in self._pools.items():
            name = f"Plate {plate}: " if plate else ""
            if len(scales) > 1:
                warnings.append(
                    f"{name}the death dye was recorded on {len(scales)} count scales; each has a "
                    "threshold of its own, and rates of different scales should not be compared."
                )
            for full_scale, pool in scales.items():
                threshold = choose_threshold(pool, self._config.death)
                self.values[plate, full_scale] = threshold
                warning = explain_threshold(pool, threshold, self._config.death)
                warnings += [f"{name}{warning}"] if warning else []
        return warnings

    def score(self, result: SavedResult) -> pd.DataFrame | None:
        """Return the death table of one image; ``None`` where its dye was not measured."""
        dye = result.dye()
        if dye is None:
            return None
        threshold = self.values[self._plate(dye.plate), dye.full_scale]
        return score_cell_death(dye, threshold, self._config.death)

    def _plate(self, plate: str) -> str:
        return plate if self._config.death_threshold_scope == "plate" else ""


def _with_death(rows: pd.DataFrame, deaths: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return *rows* with the death columns replaced by those of the pooled threshold."""
    if not deaths:
        return rows
    death = pd.concat(deaths)
    if not np.array_equal(death.index, rows["patch_id"]):
        raise TableError(
            f"Patches and cell death of {rows[Keys.IMAGE].iloc[0]} or an image after it do not "
            "belong together. Delete its folder and run again."
        )
    return rows.assign(**{name: death[name].to_numpy() for name in death.columns})


def _rows_of(manifest: pd.DataFrame, images: Sequence[str]) -> pd.DataFrame:
    """Return the rows that the accepted patches of some images have in the table."""
    death = [name for name in _DEATH_COLUMNS if name in manifest]
    chosen = manifest["accepted"].to_numpy(bool) & manifest[Keys.IMAGE].isin(images).to_numpy()
    return manifest[chosen].set_index("patch_id")[[*_ROW_COLUMNS, *death]]


def _stack_rows(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate rows; where a part lacks a measurement it is nan, and no patch is eligible."""
    if not parts:
        return pd.DataFrame()
    rows = pd.concat(parts).rename_axis(None)
    if Keys.DEATH_ELIGIBLE in rows:
        rows[Keys.DEATH_ELIGIBLE] = rows[Keys.DEATH_ELIGIBLE].eq(True)
    for name in (Keys.Y, Keys.X):
        rows[name] = rows[name].astype(np.int64)
    return rows


def _summarize(result: SavedResult, death: pd.DataFrame | None) -> dict[str, Any]:
    values = {key: value for key, value in result.values.items() if key != "provenance"}
    if death is not None:
        values["death"] = summarize_death(death)
    else:
        values["death"] = {"skipped": values["skipped"].get("death", "")}
    values["folder"] = f"{IMAGES}/{result.folder.name}"
    return values
