"""The settings of predicting genes from a coupling. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_landscape_config import LandscapeConfig
from napari_bio_superposition.core.config import Range
from napari_bio_superposition.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GenesConfig(GenePredictionConfig):
    """How genes are predicted from a coupling: the method, and what is used of the tables."""

    use_rep: str = "X"
    """Image features that genes are predicted from: X, a key of obsm, or a layer."""

    label: str = ""
    """Column of obs with the classes of the patches, within which genes are predicted. Where empty
    the one given to `couple`; without one, all patches are one class."""

    label_rna: str = ""
    """Column of obs with the classes of the RNA cells; where empty as above."""

    pooled: bool = False
    """Take all patches as one class, whatever `couple` was told: more patches and wells for each
    prediction, but genes that merely differ between classes are found, too."""

    rna: str = ""
    """The RNA table, where it has moved since `couple`."""

    unrelated: str = ""
    """RNA table (.h5ad, from `rna`) of an unrelated tissue, for the control `geometry`."""

    gene_sets: str = ""
    """GMT file with gene sets for over-representation."""

    control_class: str = "Control"
    """Class on the horizontal axis of the gene landscape."""

    other_class: str = ""
    """Class on its vertical axis; where empty the first other one."""

    alternatives: bool = True
    """Keep alternative couplings, for the uncertainty of painted genes."""

    device: str = "auto"
    """Compute device of couplings and mlp: auto, cpu, cuda:0 (any number) or mps."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Start of all random numbers."""

    landscape: LandscapeConfig = field(default_factory=LandscapeConfig)
    """How genes are laid out and clustered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooled and (self.label or self.label_rna):
            raise ConfigError(
                f"GenesConfig.pooled takes all patches as one class, but a label is given "
                f"({self.label or self.label_rna!r}). Leave out one of them."
            )
