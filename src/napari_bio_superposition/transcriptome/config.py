"""Settings of the RNA side: what is read, kept, reduced and clustered. No computing."""

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields

__all__ = ["ClusterConfig", "CountsConfig", "LatentConfig", "RnaQualityConfig"]


@dataclass(frozen=True, kw_only=True)
class CountsConfig:
    """How count matrices are read."""

    layer: str = ""
    """Layer that holds the raw counts, or `raw` for .raw of an .h5ad; where empty, `counts` if
    there is one, else X."""

    csv_rows: Literal["cells", "genes"] = "cells"
    """What the rows of a CSV table are."""

    genome: str = ""
    """Genome of a 10x file that holds several."""

    sample_key: str = "sample"
    """Column of obs with the sample of each cell; a file without it is one sample."""

    ambient: Literal["none", "decontx"] = "none"
    """Take ambient RNA out of the counts of the kept cells by DecontX (extra `decontx`), or not."""

    min_shared_genes: Annotated[float, Range(0.0, 1.0, step=0.05)] = 0.5
    """Share of the genes of the smallest file that all files must have; only shared ones stay."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class RnaQualityConfig:
    """Which cells and genes are kept; every cell is judged within its sample."""

    min_genes: Annotated[int, Range(0, 20_000, unit="genes", step=50)] = 250
    """Cells with fewer genes are dropped."""

    max_mitochondrial: Annotated[float, Range(0.0, 1.0, step=0.05)] = 0.25
    """Cells with a larger share of mitochondrial counts are dropped."""

    doublet_rule: Literal["both", "either", "none"] = "both"
    """Drop cells above the percentile of their sample in both genes and counts, in either, or do
    not look for doublets."""

    doublet_percentile: Annotated[float, Range(50.0, 100.0, unit="%", step=0.5)] = 99.0
    """Percentile of the sample, among the cells that passed the other rules."""

    min_cells: Annotated[int, Range(0, 100_000, unit="cells")] = 3
    """Genes found in fewer of the kept cells are dropped."""

    drop_sex_genes: bool = True
    """Drop genes of the Y chromosome, XIST and TTTY*: they tell donors apart, not states."""

    mitochondrial_prefix: str = "MT-"
    """Start of the names of mitochondrial genes; upper and lower case count alike."""

    ribosomal_prefixes: tuple[str, ...] = ("RPS", "RPL")
    """Starts of the names of ribosomal genes."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """How cells are reduced to a few numbers: what is coupled with the images."""

    method: Literal["pca", "scvi"] = "pca"
    """Principal components of log counts, without training; or scVI (extra `scvi`)."""

    n_latent: Annotated[int, Range(2, 200)] = 30
    """Dimensions."""

    n_top_genes: Annotated[int, Range(50, 20_000, unit="genes", step=100)] = 3000
    """Highly variable genes, chosen within each sample and combined by rank."""

    hvg_flavor: Literal["seurat_v3", "seurat"] = "seurat_v3"
    """On counts, or on log counts."""

    target_sum: Annotated[float, Range(1.0, 1e7, unit="counts")] = 1e4
    """Counts per cell after normalisation, before log1p."""

    batch: Literal["technical", "paper", "none"] = "technical"
    """What scVI removes. `technical`: the batch columns, less those that would give the genotype
    away. `paper`: genotype x subclone, which asks scVI to remove what is looked for later."""

    batch_columns: tuple[str, ...] = ("flow_cell", "sample")
    """Columns of obs that make up the technical batch; the last ones are left out first."""

    genotype_key: str = "genotype"
    """Column of obs that must not be removed."""

    subclone_key: str = "sample"
    """Column that `paper` crosses with the genotype."""

    categorical: tuple[str, ...] = ("sex", "flow_cell")
    """Further categorical covariates of scVI, where the columns exist and no batch holds them."""

    n_hidden: Annotated[int, Range(8, 4096)] = 128
    """Width of scVI's hidden layers."""

    n_layers: Annotated[int, Range(1, 8)] = 2
    """Number of scVI's hidden layers."""

    dropout: Annotated[float, Range(0.0, 0.9, step=0.05)] = 0.1
    """Dropout of scVI."""

    max_epochs: Annotated[int, Range(1, 10_000, unit="epochs")] = 400
    """Most epochs of scVI."""

    patience: Annotated[int, Range(1, 1000, unit="epochs")] = 20
    """Epochs without a better validation loss after which scVI stops."""

    n_posterior: Annotated[int, Range(1, 1000)] = 25
    """Posterior samples behind the denoised expression."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """How cells are clustered, and which clusters are kept."""

    neighbours: Annotated[int, Range(2, 500)] = 15
    """Neighbours per cell."""

    resolution: Annotated[float, Range(0.01, 10.0, step=0.1)] = 0.5
    """Resolution of Leiden."""

    lineages: tuple[str, ...] = ()
    """Keep only clusters of these lineages; where empty, all cells."""

    clusters: tuple[str, ...] = ()
    """Keep only clusters of these numbers, for instance as clicked in a map; where empty, all."""

    markers: str = ""
    """JSON file of lineage to marker genes; where empty, built-in lists for cortical organoids."""

    min_score: Annotated[float, Range(-10.0, 10.0, step=0.05)] = 0.1
    """Least mean marker score of a cluster for it to get the lineage's name."""

    def __post_init__(self) -> None:
        check_fields(self)
