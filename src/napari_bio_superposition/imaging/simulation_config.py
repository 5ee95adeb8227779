"""What a simulated study is asked to be: plates, wells, fields, noise, RNA. No drawing here."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError

WELLS_PER_PLATE = 96
N_GENOTYPES = 4


@dataclass(frozen=True, kw_only=True)
class RnaConfig:
    """A simulated scRNA-seq count matrix."""

    n_cells: Annotated[int, Range(0, 1_000_000, unit="cells")] = 2000
    """Cells, spread evenly over the genotypes; 0 leaves the RNA out."""

    n_genes: Annotated[int, Range(100, 50_000, unit="genes")] = 1500
    """Genes, synthetic names such as ``SIM-MITO-001``."""

    linked_share: Annotated[float, Range(0.0, 0.8, step=0.05)] = 0.4
    """Share of the genes in modules driven by what the image shows, too."""

    unlinked_share: Annotated[float, Range(0.0, 0.2, step=0.05)] = 0.1
    """Share of the genes in modules driven by something that no image shows."""

    effect_size: Annotated[float, Range(0.0, 5.0, step=0.1)] = 0.9
    """Natural-log fold change per standard deviation of the latent that drives a module."""

    library_size: Annotated[int, Range(100, 1_000_000, unit="counts")] = 5000
    """Median counts per cell."""

    dispersion: Annotated[float, Range(0.0, 10.0, step=0.05)] = 0.25
    """Negative-binomial dispersion: variance = mean + dispersion * mean squared."""

    dropout: Annotated[float, Range(0.0, 0.95, step=0.05)] = 0.05
    """Chance that a count is lost altogether, on top of sampling."""

    batch_effect: Annotated[float, Range(0.0, 2.0, step=0.05)] = 0.1
    """Standard deviation of each gene's log shift between samples."""

    samples_per_genotype: Annotated[int, Range(1, 50, unit="samples")] = 3
    """Samples (cultures) sequenced of each genotype."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """A simulated study: fields of four-channel images over plates and wells, and RNA beside them.

    The random numbers come from the generator that is passed to the function, never from here.
    """

    n_plates: Annotated[int, Range(1, 500, unit="plates")] = 2
    """Plates, each with its own staining, exposure and background."""

    wells_per_class: Annotated[int, Range(1, 24, unit="wells")] = 2
    """Wells of each genotype on each plate."""

    fields_per_well: Annotated[int, Range(1, 100, unit="fields")] = 1
    """Fields of view in each well."""

    side_px: Annotated[int, Range(128, 4096, unit="px", step=128)] = 1024
    """Height and width of a field."""

    pixel_size_um: Annotated[float, Range(0.1, 5.0, unit="um", step=0.05)] = 0.6
    """Edge of a pixel as written into the files; objects are drawn in pixels."""

    nuclei_per_patch: Annotated[float, Range(0.5, 16.0, unit="nuclei", step=0.5)] = 10.0
    """Mean number of nuclei in 128 x 128 px; within a field the density is uneven."""

    noise: Annotated[float, Range(0.0, 10.0, step=0.1)] = 1.0
    """Multiplies shot and read noise; 0 gives noise-free images."""

    staining_variation: Annotated[float, Range(0.0, 3.0, step=0.1)] = 1.0
    """Multiplies the differences of staining, exposure and background between plates and wells."""

    confounded: bool = False
    """Nest the genotype in the plate, as in the paper's table: one genotype per plate."""

    rna: RnaConfig = field(default_factory=RnaConfig)
    """The count matrix that belongs to the study."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.confounded and self.n_plates < N_GENOTYPES:
            raise ConfigError(
                f"SimulationConfig.confounded puts one genotype on each plate, but there are "
                f"{self.n_plates} plates for {N_GENOTYPES} genotypes. Set n_plates to at least "
                f"{N_GENOTYPES}."
            )

    @property
    def n_fields(self) -> int:
        """Number of images in the study."""
        return self.n_plates * N_GENOTYPES * self.wells_per_class * self.fields_per_well
