"""The shape of the encoder. No torch: forms and flags are made from this."""

from dataclasses import dataclass
from typing import Annotated, Final

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Width and depth of the encoder; the defaults are the paper's (29 893 888 parameters)."""

    width: Annotated[int, Range(8, 4096, step=8)] = 512
    """Channels of the feature map; the stem has an eighth, the first stage a quarter of it."""
    blocks: tuple[int, int, int, int] = (2, 2, 2, 3)
    """Residual blocks of the stages 2 to 5."""
    refine_blocks: Annotated[int, Range(1, 16)] = 1
    """Residual blocks after the tap `stage5_out`."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.width % 8:
            raise ConfigError(f"EncoderConfig.width is {self.width}; choose a multiple of 8.")
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise ConfigError(
                f"EncoderConfig.blocks is {self.blocks}; give four numbers of at least 1, "
                "one per stage."
            )

    def with_channels(self, n_channels: int) -> "EncoderConfig":
        """Return the encoder of this shape for patches of *n_channels*."""
        return EncoderConfig(
            n_channels=n_channels,
            width=self.width,
            blocks=self.blocks,
            refine_blocks=self.refine_blocks,
        )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(NetworkConfig):
    """Shape of the encoder for patches of a number of channels."""

    n_channels: Annotated[int, Range(1, 64)] = 3
    """Channels of a patch."""


PRESETS: Final = {
    "paper": EncoderConfig(),
    "small": EncoderConfig(width=64, blocks=(1, 1, 1, 2)),
}
"""Encoder shapes by name."""
