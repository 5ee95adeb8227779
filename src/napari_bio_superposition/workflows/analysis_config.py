"""The settings of an analysis: one config per step, and what the steps share. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.imaging.cell_death_config import CellDeathConfig
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.read_config import ReadConfig
from napari_bio_superposition.segmentation.config import SegmentationConfig


@dataclass(frozen=True, kw_only=True)
class AnalyzeConfig:
    """Everything that decides the result of an analysis; the input itself is not part of it."""

    model: str = "small"
    """Feature model: the name of a bundled or installed one, or a model folder."""

    roles: Mapping[str, str] = field(default_factory=dict)
    """Which channel plays which role, as nuclei=H33342,mitochondria=MitoTDR; the rest is guessed
    from the channel names."""

    missing_roles: Literal["skip", "blank"] = "skip"
    """Where the model needs a role that no channel plays: skip the features and say so, or feed a
    blank channel in its place (the features then mean less, and the result says so)."""

    device: str = "auto"
    """Compute device: auto, cpu, cuda:0 (any number) or mps."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Seed of everything that draws random numbers."""

    reading: ReadConfig = field(default_factory=ReadConfig)
    """How image files are read."""

    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    """How nuclei are found."""

    patches: PatchConfig = field(default_factory=PatchConfig)
    """How patches are cut and judged."""

    death: CellDeathConfig = field(default_factory=CellDeathConfig)
    """How dead nuclear area is told from living."""

    death_threshold_scope: Literal["plate", "all"] = "plate"
    """Over which images the threshold of death is chosen: those of one plate, or all of them."""

    def __post_init__(self) -> None:
        check_fields(self)
