"""The main job over many files: a folder per image, one table of all, resumed if interrupted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from napari_bio_superposition.core.files import make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.features.table import concat_tables, write_table
from napari_bio_superposition.imaging.cell_death import (
    DyeMeasurement,
    choose_threshold,
    explain_threshold,
    score_cell_death,
)
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.imaging.roles import check_roles
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import (
    adapt_to_card,
    analyze_image,
    describe_provenance,
    explain_adaptation,
)
from napari_bio_superposition.workflows.batch_summary import (
    BatchSummary,
    FailureLog,
    attempt,
    find_fields,
    name_skipped,
    peak_memory_mb,
    prefixed,
)
from napari_bio_superposition.workflows.config_files import config_to_plain, write_config
from napari_bio_superposition.workflows.loading import LoadedModels, load_models
from napari_bio_superposition.workflows.metadata import Metadata, read_metadata
from napari_bio_superposition.workflows.result_folder import (
    SavedResult,
    find_result,
    folder_name,
    read_result,
    result_key,
    save_analysis,
    summarize_death,
)

TABLE = "patches.h5ad"
MANIFEST = "manifest.csv"
SUMMARY = "summary.json"
SETTINGS = "settings.toml"
IMAGES = "images"


def analyze_files(
    paths: str | Path | Sequence[str | Path],
    config: AnalyzeConfig | None = None,
    out: str | Path = "analysis",
    *,
    metadata: str | Path | None = None,
) -> Job[BatchSummary]:
    """Analyse every image of *paths* and gather the results in one table.

    Parameters
    ----------
    paths
        Images, folders of images, or Harmony export folders.
    config
        Settings; the defaults where omitted.
    out
        Folder for ``patches.h5ad``, ``manifest.csv``, ``summary.json``, ``settings.toml`` and one
        folder per image under ``images``. Images that are done there with the same settings, models
        and pixels are not done again.
    metadata
        CSV table with what file names do not say; see `read_metadata`.

    Returns
    -------
    BatchSummary
        Also written as ``summary.json``. An image that fails is listed with its reason and does not
        stop the others.
    """
    config, out = config or AnalyzeConfig(), Path(out)
    fields = find_fields(paths, config.reading)
    failures = FailureLog()
    known = Metadata() if metadata is None else read_metadata(Path(metadata))
    models = yield from load_models(config)
    card = models.features.card
    check_roles(config.roles, extra_roles=card.channel_roles)
    notes = [*explain_adaptation(config, card), *known.explain_gaps(fields)]
    config = adapt_to_card(config, card)
    make_folder(out)
    results: list[SavedResult] = []
    for done, reference in enumerate(fields):
        yield Progress("Analysing images", done, len(fields), "images")
        job = _analyze_one(reference, config, models, known, out / IMAGES)
        result = yield from attempt(prefixed(job, f"{reference.id}: "), failures.of(reference.id))
        if result is not None:
            results.append(result)
    yield Progress("Analysing images", len(fields), len(fields), "images")
    summary = BatchSummary(
        images=(),
        failures=failures.reasons,
        not_images=name_skipped(fields),
        warnings=tuple(notes),
        settings=config_to_plain(config),
        versions=package_versions(),
    )
    return (yield from _collect(results, summary, config, out))


def _analyze_one(
    reference: FieldReference,
    config: AnalyzeConfig,
    models: LoadedModels,
    metadata: Metadata,
    parent: Path,
) -> Job[SavedResult]:
    """Analyse one field into its folder, unless the same result is there already."""
    folder = parent / folder_name(reference.id)
    image = metadata.complete(read_field(reference, config=config.reading))
    yield Progress("Reading")
    provenance = describe_provenance(image, config, models)
    if (done := find_result(folder, result_key(provenance, image))) is not None:
        return done
    analysis = yield from analyze_image(image, config, models=models, provenance=provenance)
    save_analysis(analysis, folder, measurements={"peak_memory_mb": round(peak_memory_mb())})
    return read_result(folder)


def _collect(
    results: Sequence[SavedResult],
    summary: BatchSummary,
    config: AnalyzeConfig,
    out: Path,
) -> Job[BatchSummary]:
    """Score death with pooled thresholds and write table, manifest, settings and summary."""
    yield Progress("Gathering results", 0, len(results), "images")
    deaths, warnings = _score_death(results, config)
    outputs = {"summary": SUMMARY, "settings": SETTINGS}
    outputs |= _write_tables(results, deaths, out)
    write_config(config, out / SETTINGS)
    images = tuple(_summarize(result, deaths) for result in results)
    summary = replace(
        summary, images=images, outputs=outputs, warnings=(*summary.warnings, *warnings)
    )
    with replaced_file(out / SUMMARY) as part:
        part.write_text(to_json(summary.as_plain(), indent=2), encoding="utf-8")
    yield Progress("Gathering results", len(results), len(results), "images")
    return summary


def _score_death(
    results: Iterable[SavedResult], config: AnalyzeConfig
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the death table per image id, with the threshold of its plate or of everything.

    Also what a user should know about the thresholds. Images of different count scales (8 and
    16 bits, or floats) have no common threshold; each scale gets its own, and a warning says so.
    """
    groups: dict[str, dict[float, dict[str, DyeMeasurement]]] = {}
    for result in results:
        dye = result.dye()
        if dye is not None:
            plate = dye.plate if config.death_threshold_scope == "plate" else ""
            scales = groups.setdefault(plate, {})
            scales.setdefault(dye.full_scale, {})[result.values["id"]] = dye
    deaths: dict[str, pd.DataFrame] = {}
    warnings: list[str] = []
    for plate, scales in groups.items():
        name = f"Plate {plate}: " if plate else ""
        if len(scales) > 1:
            warnings.append(
                f"{name}the death dye was recorded on {len(scales)} count scales; each has a "
                "threshold of its own, and rates of different scales should not be compared."
            )
        for measured in scales.values():
            threshold = choose_threshold(list(measured.values()), config.death)
            warning = explain_threshold(list(measured.values()), threshold, config.death)
            warnings += [f"{name}{warning}"] if warning else []
            for image_id, dye in measured.items():
                deaths[image_id] = score_cell_death(dye, threshold, config.death)
    return deaths, warnings


def _write_tables(
    results: Sequence[SavedResult], deaths: Mapping[str, pd.DataFrame], out: Path
) -> dict[str, str]:
    """Write the manifest of all patches, and the feature table where there are features."""
    outputs = {}
    if results:
        manifests = [_with_death(r.manifest(), deaths.get(r.values["id"])) for r in results]
        with replaced_file(out / MANIFEST) as part:
            pd.concat(manifests, ignore_index=True).to_csv(part, index=False)
        outputs["manifest"] = MANIFEST
    else:
        (out / MANIFEST).unlink(missing_ok=True)
    tables = []
    for result in results:
        table = result.table()
        if table is not None:
            table.obs = _with_death(table.obs, deaths.get(result.values["id"]))
            tables.append(table)
    if tables:
        write_table(concat_tables(tables), out / TABLE)
        outputs["table"] = TABLE
    else:
        (out / TABLE).unlink(missing_ok=True)
    return outputs


def _with_death(rows: pd.DataFrame, death: pd.DataFrame | None) -> pd.DataFrame:
    """Return *rows* with the death columns replaced by those of the pooled threshold."""
    if death is None:
        return rows
    keys = rows.get("patch_id", rows.index)
    return rows.assign(**{name: death.loc[keys, name].to_numpy() for name in death.columns})


def _summarize(result: SavedResult, deaths: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    values = {key: value for key, value in result.values.items() if key != "provenance"}
    death = deaths.get(values["id"])
    if death is not None:
        values["death"] = summarize_death(death)
    else:
        values["death"] = {"skipped": values["skipped"].get("death", "")}
    values["folder"] = f"{IMAGES}/{result.folder.name}"
    return values
