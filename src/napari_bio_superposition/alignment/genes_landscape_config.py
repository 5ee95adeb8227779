"""Settings of the gene landscape. No computing."""

from dataclasses import dataclass
from typing import Annotated

from napari_bio_superposition.core.config import Range, check_fields

__all__ = ["LandscapeConfig"]


@dataclass(frozen=True, kw_only=True)
class LandscapeConfig:
    """How genes are laid out by the z of two classes and clustered."""

    neighbours: Annotated[int, Range(2, 500)] = 15
    """Neighbours per gene on the plane."""

    resolutions: tuple[float, ...] = (0.02, 0.2, 0.3)
    """Resolutions of Leiden for all genes, from coarse to fine."""

    n_top: Annotated[int, Range(10, 10_000, unit="genes", step=50)] = 200
    """Genes of highest z in the second class that are clustered once more by themselves."""

    top_resolutions: tuple[float, ...] = (0.08, 0.25, 0.4, 1.0)
    """Resolutions for these."""

    network_neighbours: Annotated[int, Range(1, 100)] = 5
    """Strongest partners per gene in the network of a module."""

    def __post_init__(self) -> None:
        check_fields(self)
