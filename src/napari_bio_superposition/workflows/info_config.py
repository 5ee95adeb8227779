"""The settings of the information command. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.core.config import Range
from napari_bio_superposition.imaging.read_config import ReadConfig


@dataclass(frozen=True, kw_only=True)
class InfoConfig:
    """How things are looked at."""

    device: str = "auto"
    """Device to check: auto, cpu, cuda:0 (any number) or mps."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Not used; kept so that every command takes the option."""

    reading: ReadConfig = field(default_factory=ReadConfig)
    """How image files are read."""
