"""The settings of segmentation as a job of its own. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.core.config import Range
from napari_bio_superposition.imaging.read_config import ReadConfig
from napari_bio_superposition.segmentation.config import SegmentationConfig


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(SegmentationConfig):
    """How nuclei are found in files: the settings of the method, and where the nuclei are."""

    channel: str = ""
    """Name of the nuclear channel; where empty it is guessed from the channel names."""

    device: str = "auto"
    """Compute device: auto, cpu, cuda:0 (any number) or mps."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Not used by either method, which draw no random numbers; kept for uniformity."""

    reading: ReadConfig = field(default_factory=ReadConfig)
    """How image files are read."""
