"""Segmentation as a job of its own: one label image per input image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_bio_superposition.core.errors import ChannelError, list_choices
from napari_bio_superposition.core.files import make_folder
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.core.types import NUCLEI, MultichannelImage
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.imaging.write import write_labels
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.segmentation import StarDistModel, load_stardist, segment_nuclei
from napari_bio_superposition.workflows.batch_summary import (
    BatchSummary,
    FailureLog,
    attempt,
    find_fields,
    name_skipped,
    prefixed,
)
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.result_folder import shorten_name
from napari_bio_superposition.workflows.segment_config import SegmentConfig


def segment_files(
    paths: str | Path | Sequence[str | Path],
    config: SegmentConfig | None = None,
    out: str | Path = "nuclei",
) -> Job[BatchSummary]:
    """Find the nuclei of every image of *paths*.

    Parameters
    ----------
    paths
        Images, folders of images, or Harmony export folders.
    config
        Settings; the defaults where omitted.
    out
        Folder for ``STEM_nuclei.tif``: int32, 0 is background, 1 to n are nuclei.

    Returns
    -------
    BatchSummary
        Number of nuclei per image; images that failed, with the reason.
    """
    config, out = config or SegmentConfig(), Path(out)
    fields = find_fields(paths, config.reading)
    failures = FailureLog()
    yield Progress("Loading models")
    model = None
    if config.method == "stardist":
        model = load_stardist(config.weights, device=choose_device(config.device))
    make_folder(out)
    rows = []
    for done, reference in enumerate(fields):
        yield Progress("Segmenting images", done, len(fields), "images")
        job = _segment_one(reference, config, model, out)
        row = yield from attempt(prefixed(job, f"{reference.id}: "), failures.of(reference.id))
        if row is not None:
            rows.append(row)
    yield Progress("Segmenting images", len(fields), len(fields), "images")
    return BatchSummary(
        images=tuple(rows),
        failures=failures.reasons,
        not_images=name_skipped(fields),
        settings=config_to_plain(config),
        versions=package_versions(),
    )


def _segment_one(
    reference: FieldReference, config: SegmentConfig, model: StarDistModel | None, out: Path
) -> Job[dict[str, Any]]:
    image = read_field(reference, config=config.reading)
    plane = image.channel(_nuclear_channel(image, config.channel))
    labels = yield from segment_nuclei(
        plane, config, pixel_size_um=image.pixel_size_um, model=model
    )
    path = out / f"{shorten_name(reference.id)}_nuclei.tif"
    write_labels(labels, path, pixel_size_um=image.pixel_size_um)
    return {"id": reference.id, "n_nuclei": int(labels.max()), "file": path.name}


def _nuclear_channel(image: MultichannelImage, chosen: str) -> str:
    if chosen:
        return chosen
    if image.has(NUCLEI):
        return NUCLEI
    if len(image.channel_names) == 1:
        return image.channel_names[0]
    raise ChannelError(
        f"No channel of {image.id} looks like nuclei; it has {list_choices(image.channel_names)}. "
        "Name the nuclear one with --channel."
    )
