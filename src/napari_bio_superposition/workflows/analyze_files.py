"""The main job over many files: a folder per image, one table of all, resumed if interrupted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_bio_superposition.core.files import make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import package_versions
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
from napari_bio_superposition.workflows.collect import IMAGES, collect_results
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
)

TABLE = "patches.h5ad"
SUMMARY = "summary.json"
SETTINGS = "settings.toml"


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
    source = {"path": str(reference.path.absolute()), "entry": reference.field}
    values = {"peak_memory_mb": round(peak_memory_mb()), "source": source}
    save_analysis(analysis, folder, measurements=values)
    return read_result(folder)


def _collect(
    results: Sequence[SavedResult], summary: BatchSummary, config: AnalyzeConfig, out: Path
) -> Job[BatchSummary]:
    """Write table, manifest, settings and summary."""
    collected = yield from collect_results(results, config, out, table_name=TABLE)
    write_config(config, out / SETTINGS)
    summary = replace(
        summary,
        images=collected.images,
        outputs={"summary": SUMMARY, "settings": SETTINGS, **collected.outputs},
        warnings=(*summary.warnings, *collected.warnings),
    )
    with replaced_file(out / SUMMARY) as part:
        part.write_text(to_json(summary.as_plain(), indent=2), encoding="utf-8")
    return summary
