"""Encoder, then SAE, from one folder of images; the model is installed under its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.models.catalogue import list_models, user_folder
from napari_bio_superposition.workflows.train_encoder import PATCHES, train_encoder_model
from napari_bio_superposition.workflows.train_model_config import TrainModelConfig
from napari_bio_superposition.workflows.train_sae import SaeReport, train_sae_model
from napari_bio_superposition.workflows.train_sae_config import TrainSaeConfig
from napari_bio_superposition.workflows.training_report import EncoderReport

ENCODER = "encoder"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model that `load_model` finds by its name from now on."""

    name: str
    folder: Path
    encoder: EncoderReport
    sae: SaeReport

    def describe(self) -> str:
        """Return the outcome as one sentence or two."""
        text = f"Trained: {self.name} is in Analyse now."
        report = self.encoder
        if report.accuracy is None or report.chance is None:
            return text
        where = "test patches (leaking split)" if report.leaking else "patches of held-out wells"
        return (
            f"{text} A linear probe finds {report.accuracy:.0%} of the classes of {where} "
            f"(chance {report.chance:.0%})."
        )


def train_model(
    folder: str | Path | Sequence[str | Path],
    table: str | Path | None,
    config: TrainModelConfig | None = None,
    *,
    name: str,
    work: str | Path,
) -> Job[TrainedModel]:
    """Train encoder and SAE and install them as a model of the user.

    Parameters
    ----------
    folder, table
        Images, and what their names do not say; see `build_patch_store`.
    config
        Settings of both trainings.
    name
        The model's name in `list_models`, and in *Analyse*.
    work
        Folder for patches, encoder, split and curves. An unfinished training there is gone on
        with; a finished encoder is used as it is.

    Raises
    ------
    ConfigError
        Where there is a model of this name already.
    """
    config, work = config or TrainModelConfig(), Path(work)
    if name in list_models():
        raise ConfigError(
            f"There is a model {name!r} already; the models are {list_choices(list_models())}. "
            "Choose another name."
        )
    encoder = work / ENCODER
    report = yield from train_encoder_model(folder, table, config.encoder, encoder, resume=True)
    settings = TrainSaeConfig(
        sae=config.sae,
        device=config.encoder.device,
        seed=config.encoder.seed,
        save_minutes=config.encoder.save_minutes,
    )
    target = user_folder() / name
    job = train_sae_model(encoder, encoder / PATCHES, settings, target, resume=True)
    sae = yield from job
    return TrainedModel(name, target, report, sae)
