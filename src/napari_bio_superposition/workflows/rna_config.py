"""The settings of preparing RNA: reading, quality control, latent space, clusters. No computing."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.transcriptome.config import (
    ClusterConfig,
    CountsConfig,
    LatentConfig,
    RnaQualityConfig,
)


@dataclass(frozen=True, kw_only=True)
class RnaPreparationConfig:
    """How count matrices become the table that is coupled with images."""

    device: str = "auto"
    """Compute device of scVI: auto, cpu, cuda:0 (any number) or mps. PCA runs on the CPU."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Start of all random numbers."""

    counts: CountsConfig = field(default_factory=CountsConfig)
    """How files are read."""

    quality: RnaQualityConfig = field(default_factory=RnaQualityConfig)
    """Which cells and genes are kept."""

    latent: LatentConfig = field(default_factory=LatentConfig)
    """How cells are reduced to a few numbers."""

    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    """How cells are clustered, and which are kept."""

    def __post_init__(self) -> None:
        check_fields(self)
