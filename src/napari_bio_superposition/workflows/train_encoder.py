"""Training an encoder on a folder of images: store, frozen split, training, probes, model."""

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.core.files import make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.evaluation.probes import ProbeResult, linear_probe, unit_rows
from napari_bio_superposition.imaging.patch_store import PatchRows, PatchStore
from napari_bio_superposition.models.card import EncoderCard
from napari_bio_superposition.models.compute import Compute, is_launched, open_compute
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.encoder import Encoder
from napari_bio_superposition.models.encoder_checkpoint import holds_encoder, save_encoder
from napari_bio_superposition.models.pooling import pool_features
from napari_bio_superposition.models.training import EncoderTraining
from napari_bio_superposition.models.training_state import load_state, save_state
from napari_bio_superposition.workflows.config_files import (
    config_to_plain,
    read_config,
    write_config,
)
from napari_bio_superposition.workflows.train_encoder_config import TrainEncoderConfig
from napari_bio_superposition.workflows.training_data import build_patch_store
from napari_bio_superposition.workflows.training_log import ProbeRow, TrainingLog, write_confusion
from napari_bio_superposition.workflows.training_report import REPORT, EncoderReport, read_report
from napari_bio_superposition.workflows.training_split import TrainingData, freeze_split

PATCHES = "patches"
SETTINGS = "settings.toml"
STATE = "training.pt"
_FREE_SETTINGS = ("device", "n_devices", "save_minutes")
"""What may differ between a run and the one that goes on with it."""


def train_encoder_model(
    folder: str | Path | Sequence[str | Path],
    table: str | Path | None,
    config: TrainEncoderConfig | None = None,
    out: str | Path = "encoder",
    *,
    resume: bool = False,
) -> Job[EncoderReport]:
    """Train an encoder on images and say what it is worth on wells it never saw.

    Closing the job saves the state; called again with ``resume`` it goes on at the very step, and
    on the same processor the curve is that of an uninterrupted run.

    Parameters
    ----------
    folder, table
        Images, and a CSV with lines, plates and classes; see `build_patch_store`.
    config
        Settings; the published recipe where omitted.
    out
        Folder for ``encoder.safetensors`` and ``encoder.json`` (which `train_sae_model` takes),
        ``split.json``, ``curve.csv``, ``validation.csv``, ``confusion.csv``, ``report.json``,
        TensorBoard events, ``settings.toml`` and the store ``patches``.
    resume
        Go on with the training that *out* holds, or begin where it holds none.

    Returns
    -------
    EncoderReport
        Also written as ``report.json``.

    Raises
    ------
    ConfigError
        Where *out* holds a training and ``resume`` is not set, or one with other settings.
    TableError
        Where the split cannot be made: too few wells of a class.
    """
    config, out = config or TrainEncoderConfig(), Path(out)
    _check_folder(out, config, resume=resume)
    if resume and holds_encoder(out):
        return read_report(out)
    start = time.perf_counter()
    make_folder(out)
    compute = open_compute(
        choose_device(config.device), n_devices=config.n_devices, precision=config.precision
    )
    store = yield from _open_store(folder, table, config, out, compute)
    if compute.rank == 0:
        write_config(config, out / SETTINGS)
        freeze_split(store, config, out)
    compute.barrier()
    data = TrainingData.prepare(store, freeze_split(store, config, out), config)
    yield Progress("Preparing the training", notice=" ".join(data.notes))
    run = EncoderRun.begin(data, config, out, compute)
    yield from run.train()
    report = yield from run.conclude()
    report.seconds = round(time.perf_counter() - start, 1)
    if compute.rank == 0:
        run.write(report)
    compute.barrier()
    return report


@dataclass(eq=False)
class EncoderRun:
    """One training with its probes, its log and its saved state."""

    data: TrainingData
    config: TrainEncoderConfig
    out: Path
    training: EncoderTraining
    log: TrainingLog
    best: dict[str, Any] = field(default_factory=dict)
    """Weights of the encoder of the best probe so far; empty before the first."""

    @classmethod
    def begin(
        cls, data: TrainingData, config: TrainEncoderConfig, out: Path, compute: Compute
    ) -> "EncoderRun":
        """Set up a training, at the step that a saved state in *out* has reached."""
        training = EncoderTraining(
            PatchRows(data.store.pixels, data.train),
            data.levels(),
            config.network.with_channels(len(data.store.roles)),
            config.contrastive,
            rng=np.random.default_rng(config.seed),
            compute=compute,
        )
        run = cls(data, config, out, training, TrainingLog(out, training.n_per_epoch))
        if (out / STATE).is_file():
            state = load_state(out / STATE)
            training.load_state_dict(state["training"])
            run.log.probes = [ProbeRow(**row) for row in state["probes"]]
            run.best = state["best"]
        return run

    @property
    def encoder(self) -> Encoder:
        """The encoder in training."""
        return self.training.trainer.query.encoder

    def train(self) -> Job[None]:
        """Take all steps, with a probe after each some epochs; saves when closed."""
        last_save = time.monotonic()
        try:
            yield from self._probe_if_due()  # where a run was closed between its last step and this
            while not self.training.finished:
                for progress in self.training.run_epoch():
                    yield progress
                    if time.monotonic() - last_save > 60 * self.config.save_minutes:
                        self.save()
                        last_save = time.monotonic()
                yield from self._probe_if_due()
                self.save()
        except GeneratorExit:  # closed between two steps: a moment to go on from
            self.save()
            raise

    def save(self) -> None:
        """Write curves and the state to go on from; only the first process does."""
        training = self.training
        if training.compute.rank == 0:
            self.log.write(
                training.losses, [training.learning_rate(s) for s in range(training.step)]
            )
            state = {
                "training": training.state_dict(),
                "probes": self.log.as_plain(),
                "best": self.best,
            }
            save_state(state, self.out / STATE)

    def _probe_if_due(self) -> Job[None]:
        """Probe at the end of each some epochs and of the training, once."""
        training, probed = self.training, {row.step for row in self.log.probes}
        at_an_end = training.step > 0 and training.step % training.n_per_epoch == 0
        wanted = training.finished or training.epoch % self.config.probe_every == 0
        if at_an_end and wanted and training.step not in probed:
            yield from self._probe_validation()

    def _probe_validation(self) -> Job[None]:
        """Measure the encoder on validation wells, and remember it where it is the best."""
        if self.training.compute.rank == 0 and self.data.has_classes and len(self.data.validation):
            result = yield from self._probe(self.data.validation)
            row = self.log.add_probe(self.training.step, result)
            if row is self.log.best():
                weights = self.encoder.state_dict().items()
                self.best = {name: tensor.detach().cpu().clone() for name, tensor in weights}
            notice = (
                f"Epoch {row.epoch}: a linear probe finds {row.accuracy:.1%} of the classes of "
                f"validation patches (chance {row.chance:.1%})."
            )
            figures = ("epoch", "accuracy", "macro_f1", "chance")
            values = {name: getattr(row, name) for name in figures}
            step, total = self.training.step, self.training.n_steps
            yield Progress("Probing the encoder", step, total, "steps", notice, values)
        self.training.compute.barrier()

    def _probe(self, rows: IntArray) -> Job[ProbeResult]:
        """Fit a linear probe on training wells and score it on others."""
        train, test = (self._some(part) for part in (self.data.train, rows))
        both = np.concatenate([train, test])
        features = yield from pool_features(
            self.encoder, self.data.store.pixels, both, self.config.contrastive.normalization
        )
        return linear_probe(
            unit_rows(features),
            self.data.classes(both),
            np.arange(len(train)),
            np.arange(len(train), len(both)),
            rng=np.random.default_rng(self.config.seed),
            groups=self.data.wells(both),
        )

    def _some(self, rows: IntArray) -> IntArray:
        """Return at most `probe_patches` of some rows, the same ones each time."""
        if len(rows) <= self.config.probe_patches:
            return rows
        rng = np.random.default_rng(self.config.split_seed)
        return np.sort(rng.choice(rows, self.config.probe_patches, replace=False))

    def conclude(self) -> Job[EncoderReport]:
        """Take the encoder that is kept, and measure it on the test wells."""
        self.training.result()
        kept = self.log.best() if self.config.keep == "best" else None
        if kept is not None and self.best:
            self.encoder.load_state_dict(self.best)
        tested = None
        if self.training.compute.rank == 0 and self.data.has_classes and len(self.data.test):
            tested = yield from self._probe(self.data.test)
            write_confusion(tested, self.out)
        return EncoderReport.of(
            tested,
            self.data.split,
            counts={p: len(getattr(self.data, p)) for p in ("train", "validation", "test")},
            kept_epoch=self.training.epoch if kept is None else kept.epoch,
            losses=self.training.losses,
            notes=self.data.notes,
        )

    def write(self, report: EncoderReport) -> None:
        """Write the model and the report; the saved state is not needed any more."""
        with replaced_file(self.out / REPORT) as part:
            part.write_text(to_json(report.as_plain(), indent=2), encoding="utf-8")
        save_encoder(self.encoder, self._card(report), self.out)
        (self.out / STATE).unlink(missing_ok=True)

    def _card(self, report: EncoderReport) -> EncoderCard:
        info, network = self.data.store.info, self.config.network
        normalization = self.config.contrastive.normalization
        return EncoderCard(
            name=self.out.resolve().name,
            channel_roles=info.channel_roles,
            patch_side_px=info.side_px,
            pixel_size_um=info.pixel_size_um,
            intensity_scaling=self.config.data.patches.intensity_scaling,
            low_percentile=info.low_percentile,
            high_percentile=info.high_percentile,
            instance_normalization=normalization.mode,
            std_floor=normalization.std_floor,
            width=network.width,
            blocks=network.blocks,
            refine_blocks=network.refine_blocks,
            classes=self.data.store.classes if self.training.supervised else (),
            training_data=(
                f"{len(info.inputs)} images, {len(self.data.train)} patches of "
                f"{len(self.data.split.train)} units ({self.data.split.unit}); the others held out."
            ),
            training=config_to_plain(self.config) | {"versions": package_versions()},
            measurements=report.as_measurements(),
            created=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        )


def _check_folder(out: Path, config: TrainEncoderConfig, *, resume: bool) -> None:
    """Refuse to train over another training, or to go on with other settings."""
    begun = (out / STATE).is_file() or holds_encoder(out)
    if begun and not resume:
        raise ConfigError(
            f"The folder {out} holds a training already. Go on with it (--resume), or choose "
            "another folder."
        )
    if begun and (out / SETTINGS).is_file():
        then = _decisive(read_config(out / SETTINGS, TrainEncoderConfig))
        now = _decisive(config)
        differing = [name for name in now if now[name] != then.get(name)]
        if differing:
            raise ConfigError(
                f"The training in {out} was begun with other settings of "
                f"{list_choices(differing)}. Use the same ones (they are in {SETTINGS}), or choose "
                "another folder."
            )


def _decisive(config: TrainEncoderConfig) -> dict[str, Any]:
    plain = config_to_plain(config)
    return {name: value for name, value in plain.items() if name not in _FREE_SETTINGS}


def _open_store(
    folder: str | Path | Sequence[str | Path],
    table: str | Path | None,
    config: TrainEncoderConfig,
    out: Path,
    compute: Compute,
) -> Job[PatchStore]:
    """Build or open the store, in one process only, and start the others.

    Processes that we start ourselves run this same command and find the store complete; those that
    torchrun has started wait for the first one.
    """
    build: Callable[[], Job[PatchStore]] = lambda: build_patch_store(  # noqa: E731
        folder, table, out / PATCHES, config.data
    )
    if not is_launched():
        store = yield from build()
        compute.launch()
        compute.barrier()
        return store
    compute.launch()
    if compute.rank == 0:
        yield from build()
    compute.barrier()
    return PatchStore.open(out / PATCHES)
