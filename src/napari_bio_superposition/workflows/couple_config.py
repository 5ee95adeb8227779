"""The settings of coupling two tables. Imports no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.core.config import Range
from napari_bio_superposition.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CoupleConfig(CouplingConfig):
    """How two tables are coupled: the settings of the method, and what is used of the tables."""

    use_rep: str = ""
    """Representation of the patches: a key of obsm, a layer, or X. Where empty: X_pca if there is
    one, else X, as it is with up to 100 columns, reduced to 30 principal components with more."""

    use_rep_rna: str = ""
    """Representation of the RNA cells; where empty X_scVI, X_pca or X, as above."""

    label: str = ""
    """Column of obs with the classes of the patches. Used for scores only, unless --classes says
    otherwise."""

    label_rna: str = ""
    """Column of obs with the classes of the RNA cells; the same name where empty."""

    classes: Literal["scores", "intra-class", "per-class"] = "scores"
    """What labels are used for: scores only; to couple cells of one class only, in one alignment of
    all cells; or to align every class on its own."""

    shared: str = ""
    """Representation that both tables have, with the same columns in comparable units (the fused
    mode): pairs that differ in it cost more."""

    shared_weight: Annotated[float, Range(0.0, 10.0)] = 0.1
    """Cost of a pair whose shared features differ by their mean squared distance, beside path
    lengths scaled to at most 1."""

    paired: bool = False
    """Row i of both tables is the same cell (or the names say which): adds FOSCTTM."""

    device: str = "auto"
    """Compute device: auto, cpu, cuda:0 (any number) or mps."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Start of all random numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_rna and not self.label:
            raise ConfigError(
                f"CoupleConfig.label_rna is {self.label_rna!r}, but there is no label for the "
                "patches. Name their column with --label."
            )
        if self.classes != "scores" and not self.label:
            raise ConfigError(
                f"CoupleConfig.classes is {self.classes}, but no column holds them. Name it with "
                "--label, or choose --classes scores."
            )
        if self.classes == "per-class" and self.shared:
            raise ConfigError(
                "CoupleConfig.shared cannot be combined with classes per-class. Choose intra-class "
                "or leave out the shared features."
            )
