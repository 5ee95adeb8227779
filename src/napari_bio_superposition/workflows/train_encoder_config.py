"""The settings of training an encoder on a folder of images. Imports no torch."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.models.encoder_config import PRESETS, NetworkConfig
from napari_bio_superposition.models.training_config import CONTRASTIVE_PRESETS, ContrastiveConfig
from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig


@dataclass(frozen=True, kw_only=True)
class TrainEncoderConfig:
    """Everything that decides the result of a training; the images and the table do beside it.

    The defaults are the preset ``paper``, except that whole wells are held out.
    """

    split_unit: Literal["group", "plate", "image_id", "patch"] = "group"
    """What is held out as a whole: wells (group), plates, images, or single patches, as published.
    With patches the scores leak: neighbours of every test patch are trained on."""

    validation_share: Annotated[float, Range(0.01, 0.8)] = 0.15
    """Share of the wells (or plates) that the best epoch is chosen by."""

    test_share: Annotated[float, Range(0.01, 0.8)] = 0.15
    """Share of the wells (or plates) that only the final figure is taken from."""

    probe_every: Annotated[int, Range(1, 100_000, unit="epochs")] = 1
    """A linear probe measures the encoder each time after so many epochs."""

    probe_patches: Annotated[int, Range(8, 10_000_000, unit="patches")] = 2000
    """Most patches of a part that a probe looks at; drawn once."""

    keep: Literal["best", "last"] = "best"
    """Which encoder is kept: that of the best probe on the validation part, as published, or the
    last one. Without classes it is the last one."""

    save_minutes: Annotated[float, Range(0, 1440, unit="min")] = 5.0
    """The state to go on from is saved so often, after each epoch, and when the run is stopped."""

    device: str = "auto"
    """Compute device: auto, cpu, cuda:0 (any number) or mps."""

    n_devices: Annotated[int, Range(1, 1024, unit="devices")] = 1
    """Devices that share each batch; more than one needs the extra `train`."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Single precision, or bfloat16 where it is safe, for recent GPUs; most processors are slower
    with it."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Seed of weights, batches and views."""

    split_seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Seed of the split, apart from the other: training seeds are compared on one split."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Shape of the encoder."""

    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    """How it learns."""

    data: TrainingDataConfig = field(default_factory=TrainingDataConfig)
    """Patches and classes."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.validation_share + self.test_share >= 0.9:
            raise ConfigError(
                f"TrainEncoderConfig.validation_share and test_share are {self.validation_share} "
                f"and {self.test_share}: less than a tenth is left to train on. Choose less."
            )


def _small() -> TrainEncoderConfig:
    shape = PRESETS["small"]
    return TrainEncoderConfig(
        network=NetworkConfig(
            width=shape.width, blocks=shape.blocks, refine_blocks=shape.refine_blocks
        ),
        contrastive=CONTRASTIVE_PRESETS["small"],
        data=TrainingDataConfig(patches=PatchConfig(intensity_scaling="field_percentile")),
    )


TRAINING_PRESETS: Final = {
    "paper": replace(TrainEncoderConfig(), contrastive=CONTRASTIVE_PRESETS["paper"]),
    "small": _small(),
}
"""Whole trainings by name: the published one, and one for minutes on a processor."""


def training_preset(name: str) -> TrainEncoderConfig:
    """Return the settings of a preset.

    Raises
    ------
    ConfigError
        Where there is none of this name.
    """
    if name not in TRAINING_PRESETS:
        raise ConfigError(
            f"There is no preset {name!r} of trainings. Choose one of: "
            f"{list_choices(TRAINING_PRESETS)}."
        )
    return TRAINING_PRESETS[name]
