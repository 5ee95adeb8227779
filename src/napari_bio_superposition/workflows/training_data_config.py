"""The settings of cutting training patches from a folder of images. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_bio_superposition.core.config import check_fields
from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.read_config import ReadConfig


@dataclass(frozen=True, kw_only=True)
class TrainingDataConfig:
    """Which patches a training sees, and what their classes are."""

    channel_roles: tuple[str, ...] = ("mitochondria", "lysosomes", "nuclei")
    """Roles of the channels that the model sees, in order; the death dye is no input."""

    roles: Mapping[str, str] = field(default_factory=dict)
    """Which channel plays which role, as nuclei=H33342,mitochondria=MitoTDR; the rest is guessed
    from the channel names."""

    class_column: str = "auto"
    """Column of the table whose values the encoder learns to tell apart: genotype, line,
    treatment or a column of your own. auto takes genotype, else line; none trains without."""

    reading: ReadConfig = field(default_factory=ReadConfig)
    """How image files are read."""

    patches: PatchConfig = field(default_factory=PatchConfig)
    """How patches are cut and judged."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.channel_roles or len(set(self.channel_roles)) != len(self.channel_roles):
            raise ConfigError(
                f"TrainingDataConfig.channel_roles is {list_choices(self.channel_roles)}; name at "
                "least one role, and each once."
            )
