"""One field of a batch run: analysed into its folder, or its failure written down. No executors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import BioSuperpositionError, ImageReadError, TableError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.imaging.fields import FieldReference, choose_format
from napari_bio_superposition.imaging.fingerprint import fingerprint
from napari_bio_superposition.imaging.formats.stack import FieldEntry
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.imaging.write import write_image
from napari_bio_superposition.imaging.write_zarr import write_zarr_image
from napari_bio_superposition.workflows.analyze import ImageAnalysis, analyze_image, overlay
from napari_bio_superposition.workflows.batch_plan import BatchPlan, Unit, read_plan
from napari_bio_superposition.workflows.batch_summary import attempt, peak_memory_mb
from napari_bio_superposition.workflows.loading import LoadedModels, load_models
from napari_bio_superposition.workflows.result_folder import SavedResult, read_result, save_analysis

_UNIT: Final = "unit"
_HELD_BYTES: Final = 2**26
"""Images up to this size are decoded once; of larger ones each step reads the channels it needs."""


@dataclass(frozen=True)
class Outcome:
    """How one field went."""

    id: str
    failure: str = ""
    """The reason; empty where the result is there."""


class Worker:
    """What one process keeps between fields: plan, models, and the indices of exports."""

    def __init__(self, plan: BatchPlan, models: LoadedModels) -> None:
        _check_models(plan, models)
        self.plan = plan
        self.models = models
        self._entries: dict[str, dict[str, FieldEntry]] = {}

    def work(self, unit: Unit) -> Job[Outcome]:
        """Analyse one field into its folder, unless that is done already.

        A failure, whatever it is, becomes a file beside the results, so that the next run and the
        collector know of it.
        """
        if find_done(self.plan, unit) is not None:
            self.plan.failure(unit).unlink(missing_ok=True)
            return Outcome(unit.id)
        reasons: list[str] = []
        yield from attempt(self._analyze(unit), reasons.append)
        if reasons:
            write_failure(self.plan, unit, reasons[0])
            return Outcome(unit.id, reasons[0])
        self.plan.failure(unit).unlink(missing_ok=True)
        return Outcome(unit.id)

    def _analyze(self, unit: Unit) -> Job[None]:
        config = self.plan.config
        image = self._read(unit)
        job = analyze_image(
            image, config.analysis, models=self.models, keep_tokens=bool(config.overlays)
        )
        analysis = yield from job
        values = {_UNIT: self.plan.key(unit), "peak_memory_mb": round(peak_memory_mb())}
        save_analysis(
            analysis,
            self.plan.shard(unit),
            measurements=values,
            write_more=lambda folder: self._write_images(analysis, folder),
        )

    def _read(self, unit: Unit) -> MultichannelImage:
        if unit.problem:
            raise ImageReadError(unit.problem)
        reference = self._refer(unit)
        if fingerprint(reference) != unit.sha256:
            raise ImageReadError(
                f"The files of {unit.id} have changed since the plan was made. Plan again."
            )
        image = read_field(reference, self.plan.config.analysis.reading)
        if image.pixels.nbytes > _HELD_BYTES:
            return image
        return replace(image, pixels=np.asarray(image.pixels))

    def _refer(self, unit: Unit) -> FieldReference:
        """Return the reference to a field; the index of an export is read once, not per field."""
        path = Path(unit.path)
        if unit.path not in self._entries:
            listed = choose_format(path).list_entries(path)
            self._entries = {unit.path: {entry.key: entry for entry in listed}}
        entry = self._entries[unit.path].get(unit.entry)
        if entry is None:
            raise ImageReadError(f"{path} has no field {unit.entry!r} any more. Plan again.")
        return FieldReference(unit.id, path, unit.entry, unit.acquisition, entry)

    def _write_images(self, analysis: ImageAnalysis, folder: Path) -> None:
        """Write the images that were asked for beside the result."""
        config, size_um = self.plan.config, analysis.image.pixel_size_um
        as_zarr = config.image_format == "ome-zarr"
        write = write_zarr_image if as_zarr else write_image
        ending = ".ome.zarr" if as_zarr else ".ome.tif"
        if config.write_labels and analysis.labels is not None:
            labels = analysis.labels[None]
            target = folder / f"nuclei{ending}"
            write(labels, target, channel_names=["nuclei"], pixel_size_um=size_um)
        if config.overlays and analysis.tokens is not None:
            maps = np.stack([overlay(analysis, self.models, k) for k in config.overlays])
            names = [f"latent {latent}" for latent in config.overlays]
            target = folder / f"overlays{ending}"
            write(maps, target, channel_names=names, pixel_size_um=size_um)


def open_worker(folder: Path, device: str = "") -> Job[Worker]:
    """Read the plan and load its models, on *device* where it is given."""
    plan = read_plan(folder)
    config = plan.config.analysis
    models = yield from load_models(replace(config, device=device) if device else config)
    return Worker(plan, models)


def find_done(plan: BatchPlan, unit: Unit) -> SavedResult | None:
    """Return the unit's result where it is there, sound, and made as the plan says."""
    try:
        saved = read_result(plan.shard(unit))
        return saved if saved.values.get(_UNIT) == plan.key(unit) and saved.is_sound() else None
    except TableError:
        return None


def write_failure(plan: BatchPlan, unit: Unit, reason: str) -> None:
    """Write down why a field failed."""
    with replaced_file(plan.failure(unit)) as part:
        values = {"id": unit.id, "path": unit.path, "entry": unit.entry, "reason": reason}
        part.write_text(to_json(values, indent=2), encoding="utf-8")


def read_failure(plan: BatchPlan, unit: Unit) -> str:
    """Return why a field failed; empty where it did not."""
    try:
        values: Mapping[str, Any] = json.loads(plan.failure(unit).read_text(encoding="utf-8"))
        return str(values["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check_models(plan: BatchPlan, models: LoadedModels) -> None:
    if dict(plan.models) != dict(models.hashes):
        raise BioSuperpositionError(
            "The models have changed since the plan was made, or differ between computers. "
            "Plan again, or install the same models everywhere."
        )
