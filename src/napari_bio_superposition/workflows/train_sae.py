"""Training an SAE on a folder of images or a store of patches: a complete model. No losses."""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_bio_superposition.core.errors import ConfigError, ModelError, TableError, list_choices
from napari_bio_superposition.core.files import make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import hash_config, package_versions
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.evaluation.splits import Split, split_groups
from napari_bio_superposition.imaging.patch_store import CLASS, STORE_FILE, PatchStore
from napari_bio_superposition.models.card import CARD_FILE, Card, ModelCard
from napari_bio_superposition.models.checkpoint import load_model, save_model
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.encoder import Encoder
from napari_bio_superposition.models.encoder_checkpoint import holds_encoder, load_encoder
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_trainer import TrainingState
from napari_bio_superposition.models.sae_training import Checkpoints, TrainedSae, train_sae
from napari_bio_superposition.models.token_buffer import PatchRows, TokenMaker
from napari_bio_superposition.models.training_config import NormalizationConfig
from napari_bio_superposition.models.training_state import load_state, save_state
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.train_sae_config import TrainSaeConfig
from napari_bio_superposition.workflows.training_data import build_patch_store

PATCHES = "patches"
SPLIT = "split.json"
STATE = "training.pt"


@dataclass(frozen=True, eq=False)
class SaeReport:
    """What a training came to; every figure is of wells that the SAE did not see, where it says so.

    Parameters
    ----------
    card
        Of the model that was written.
    held_out
        Whether the evaluation tokens come from wells that were not trained on.
    curves
        Loss, L0, FVU and coefficient of every step.
    """

    card: ModelCard
    held_out: bool
    curves: dict[str, Any]
    seconds: float

    def as_plain(self) -> dict[str, Any]:
        """Return name, kind and figures."""
        figures = dict(self.card.measurements)
        return {"name": self.card.name, "kind": self.card.sae_kind, **figures}

    def as_lines(self) -> list[str]:
        """Return the outcome in words."""
        figures = self.card.measurements
        where = "held-out wells" if self.held_out else "training patches (no well was held out)"
        return [
            f"{self.card.sae_kind}, {self.card.n_latents} latents: L0 {figures['l0']}, "
            f"FVU {figures['fvu']}, alive {figures['alive_share']:.0%}, on {where}; "
            f"{self.seconds:.0f} s"
        ]


def train_sae_model(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    config: TrainSaeConfig | None = None,
    out: str | Path = "model",
    *,
    table: str | Path | None = None,
    resume: bool = False,
) -> Job[SaeReport]:
    """Train an SAE on the tokens of an encoder and write both as a complete model.

    Parameters
    ----------
    model
        Folder that `train_encoder_model` wrote, or a complete model by name or folder, whose
        encoder is used.
    images
        A store of patches, or images as `build_patch_store` takes them.
    config
        Settings.
    out
        Folder of the new model, for ``analyze --model``. State and patches lie beside it in a
        folder ``<out>.training``; the state is removed in the end, patches that were cut stay
        for the next SAE.
    table
        CSV with what file names do not say of the images.
    resume
        Go on with an unfinished training of the same settings, or begin where there is none.

    Raises
    ------
    ConfigError
        Where *out* is there already, or an unfinished training has other settings.
    ModelError
        Where the encoder cannot be loaded or does not fit the patches, or the loss diverges.
    """
    config, out, start = config or TrainSaeConfig(), Path(out), time.perf_counter()
    work = out.with_name(f"{out.name}.training")
    _check_out(out, work, resume=resume)
    yield Progress("Loading the encoder")
    base = load_base(model, choose_device(config.device))
    store = yield from open_store(images, table, base.card, config, work)
    train, held_out = _split_rows(store, base.split, config)
    maker = TokenMaker(
        base.encoder, NormalizationConfig.of(base.card), config.sae.tap, config.sae.centring
    )
    states = _States(work / STATE, _key(store, base.card, config), config.save_minutes)
    rows = held_out if len(held_out) else train
    trained = yield from train_sae(
        maker,
        PatchRows(store.pixels, train),
        config.sae,
        rng=np.random.default_rng(config.seed),
        evaluation=PatchRows(store.pixels, rows),
        checkpoints=Checkpoints(states.save, states.load()),
    )
    card = _describe(base.card, trained, store, config, name=out.resolve().name)
    if len(held_out):
        wells = store.obs[Keys.GROUP].iloc[held_out].nunique()
        card = replace(card, measurements={**card.measurements, "held_out_wells": int(wells)})
    written = save_model(FeatureModel(card, base.encoder, trained.sae, trained.mean_token), out)
    curves = {name: curve.tolist() for name, curve in trained.curves.items()}
    seconds = round(time.perf_counter() - start, 1)
    _clear(work, curves, out)
    return SaeReport(written, bool(len(held_out)), curves, seconds)


@dataclass(frozen=True, eq=False)
class Base:
    """What an SAE is trained on top of: the encoder, and a card that describes it."""

    encoder: Encoder
    card: ModelCard
    split: Split | None


def load_base(model: str | Path, device: str) -> Base:
    """Load the encoder of a folder of its own, or of a complete model."""
    folder = Path(model).expanduser()
    if not holds_encoder(folder):
        complete = load_model(model, device)
        return Base(complete.encoder, complete.card, None)
    loaded = load_encoder(folder, device)
    own = {"training", "measurements", "training_data", "created", "weights_sha256"}
    shared = [entry.name for entry in fields(Card) if entry.name not in own]
    known = {name: getattr(loaded.card, name) for name in shared}
    training = {"encoder": dict(loaded.card.training)}
    measured = {f"encoder_{name}": value for name, value in loaded.card.measurements.items()}
    card = ModelCard(n_latents=1, training=training, measurements=measured, **known)
    path = folder / SPLIT
    split = Split.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
    return Base(loaded.encoder, card, split)


def open_store(
    images: str | Path | Sequence[str | Path],
    table: str | Path | None,
    card: ModelCard,
    config: TrainSaeConfig,
    work: Path,
) -> Job[PatchStore]:
    """Open a store, or cut the images as the encoder's card says."""
    if isinstance(images, str | Path) and (Path(images) / STORE_FILE).is_file():
        store = PatchStore.open(images)
    else:
        patches = replace(
            config.data.patches,
            side_px=card.patch_side_px,
            intensity_scaling=card.intensity_scaling,
            low_percentile=card.low_percentile,
            high_percentile=card.high_percentile,
        )
        data = replace(config.data, channel_roles=card.channel_roles, patches=patches)
        store = yield from build_patch_store(images, table, work / PATCHES, data)
    wanted = (card.channel_roles, card.intensity_scaling)
    if (store.roles, store.info.intensity_scaling) != wanted:
        raise ModelError(
            f"The patches of {store.folder} have the channels {list_choices(store.roles)}, scaled "
            f"by {store.info.intensity_scaling}; the encoder {card.name} was trained with "
            f"{list_choices(card.channel_roles)}, scaled by {card.intensity_scaling}. "
            "Give the images, so that they are cut anew."
        )
    return store


def _split_rows(
    store: PatchStore, split: Split | None, config: TrainSaeConfig
) -> tuple[IntArray, IntArray]:
    """Return the rows to train on and those of held-out wells.

    The encoder's own split is kept; of other images a share of the wells is held out, and where
    there are too few wells, none.
    """
    nothing = np.empty(0, np.int64)
    if split is not None:
        train, test = (split.rows(store.obs, part) for part in ("train", "test"))
        if len(train):
            return train, test
    everything = np.arange(len(store))
    if config.test_share == 0:
        return everything, nothing
    try:
        own = split_groups(
            store.obs,
            "group",
            CLASS if len(store.classes) > 1 else None,
            (1 - config.test_share, 0.0, config.test_share),
            rng=np.random.default_rng(config.seed),
        )
    except TableError:  # too few wells
        return everything, nothing
    train, test = own.rows(store.obs, "train"), own.rows(store.obs, "test")
    return (train, test) if len(train) else (everything, nothing)


@dataclass(eq=False)
class _States:
    """The saved state of one training, written every some minutes."""

    path: Path
    key: str
    minutes: float
    last: float = float("-inf")

    def save(self, state: TrainingState) -> None:
        if time.monotonic() - self.last >= 60 * self.minutes:
            save_state({"key": self.key, **vars(state)}, self.path)
            self.last = time.monotonic()

    def load(self) -> TrainingState | None:
        if not self.path.is_file():
            make_folder(self.path.parent)
            return None
        values = load_state(self.path)
        if values.pop("key", None) != self.key:
            raise ConfigError(
                f"The unfinished training in {self.path.parent} was begun with other settings, "
                "encoder or patches. Use the same ones, or remove that folder."
            )
        return TrainingState(**values)


def _key(store: PatchStore, card: ModelCard, config: TrainSaeConfig) -> str:
    plain = config_to_plain(config)
    settings = {name: plain[name] for name in ("sae", "seed", "test_share")}
    return hash_config(
        {"settings": settings, "store": store.info.key, "encoder": card.weights_sha256}
    )


def _check_out(out: Path, work: Path, *, resume: bool) -> None:
    if (out / CARD_FILE).is_file():
        raise ConfigError(f"There is a model in {out} already. Choose another folder.")
    if (work / STATE).is_file() and not resume:
        raise ConfigError(
            f"There is an unfinished training in {work}. Go on with it (--resume), or remove it."
        )


def _describe(
    base: ModelCard, trained: TrainedSae, store: PatchStore, config: TrainSaeConfig, *, name: str
) -> ModelCard:
    """Return the card of the new model; what the encoder's says of preprocessing stays."""
    sae: SaeConfig = config.sae
    metrics = trained.metrics
    kept = {key: value for key, value in base.measurements.items() if key.startswith("encoder_")}
    return replace(
        base,
        name=name,
        description=f"A {sae.kind} sparse autoencoder on the encoder of {base.name}.",
        pixel_size_um=base.pixel_size_um or store.info.pixel_size_um,
        tap=sae.tap,
        centring=sae.centring,
        norm_restored=sae.norm_restored,
        sae_kind=sae.kind,
        n_latents=sae.n_latents,
        training_data=f"{len(store.info.inputs)} images, {len(store)} patches.",
        training={
            **dict(base.training),
            "sae": config_to_plain(config),
            "versions": package_versions(),
        },
        measurements={
            **kept,
            "l0": round(metrics.l0, 2),
            "active_token_share": round(metrics.active_token_share, 4),
            "fvu": round(metrics.fvu, 4),
            "alive_share": round(metrics.alive_share(), 4),
        },
        created=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        weights_sha256="",
    )


def _clear(work: Path, curves: dict[str, Any], out: Path) -> None:
    """Keep the curves beside the model, and let go of the state."""
    (work / STATE).unlink(missing_ok=True)
    with replaced_file(out.with_name(f"{out.name}.curves.json")) as part:
        part.write_text(to_json(curves), encoding="utf-8")
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()
