"""Settings of pseudotime, graph abstraction, their statistics and dynamics. No computing."""

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrajectoryConfig:
    """How patches are ordered in diffusion pseudotime and grouped into a graph of clusters."""

    kernel: Literal["umap", "gauss"] = "umap"
    """Weights of the neighbourhood graph: scanpy's default, or the Gaussian kernel of the original
    diffusion pseudotime."""

    n_diffusion: Annotated[int, Range(3, 100)] = 15
    """Components of the diffusion map, the constant first one included."""

    n_dcs: Annotated[int, Range(1, 100)] = 10
    """Components that pseudotime uses."""

    root: str = ""
    """Name of the patch where pseudotime starts. Empty: the reference patch nearest the centre of
    the reference in diffusion space."""

    n_roots: Annotated[int, Range(0, 1000)] = 10
    """Reference patches near that centre from which pseudotime is started again, to see how much
    the choice matters; 0 leaves that out."""

    root_choice: Literal["random", "nearest"] = "random"
    """Which ones: drawn from the nearest tenth of the reference, or the very nearest, as
    published."""

    leiden_resolution: Annotated[float, Range(0.01, 10)] = 0.65
    """Resolution of the clusters; higher gives more."""

    paga_neighbors: Annotated[int, Range(2, 500)] = 15
    """Neighbours in the graph of clusters; at most those of the embedding, and with that many the
    graph is the same. Published: 5."""

    paga_threshold: Annotated[float, Range(0, 1)] = 0.1
    """Edges between clusters below this connectivity are not drawn."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.n_dcs > self.n_diffusion:
            raise ConfigError(
                f"TrajectoryConfig.n_dcs is {self.n_dcs}, and there are only {self.n_diffusion} "
                "diffusion components. Lower n_dcs or raise n_diffusion."
            )


@dataclass(frozen=True, kw_only=True)
class TrendConfig:
    """How the relation of pseudotime with an outcome is measured."""

    outcome: str = ""
    """Column of obs that is followed along pseudotime. Empty: the share of dead nuclear area,
    where the table has it."""

    n_bootstraps: Annotated[int, Range(0, 100_000)] = 500
    """Draws of wells behind each interval."""

    n_permutations: Annotated[int, Range(0, 100_000)] = 500
    """Shuffled outcomes behind each null."""

    n_splines: Annotated[int, Range(4, 50)] = 8
    """Most splines of the smooth curve; fewer where there are fewer than 50 patches for each."""

    n_curves: Annotated[int, Range(0, 1000)] = 60
    """Draws of wells behind the band of the curve."""

    correction: Literal["bonferroni", "holm", "fdr_bh"] = "bonferroni"
    """Correction of the pairwise tests of stages."""

    alternative: Literal["decreasing", "increasing", "two-sided"] = "decreasing"
    """What the trend test of stages looks for; the paper expects death to fall."""

    robustness: bool = False
    """Whether everything is repeated over a grid of neighbours and principal components."""

    grid_neighbors: tuple[int, ...] = (15, 20, 25, 30, 35)
    """Neighbours of that grid."""

    grid_pcs: tuple[int, ...] = (30, 40, 50)
    """Principal components of that grid."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, least in (("grid_neighbors", 2), ("grid_pcs", 2)):
            values = getattr(self, name)
            if not values or min(values) < least:
                raise ConfigError(
                    f"TrendConfig.{name} is {values}. Give one or more numbers from {least} up."
                )


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig:
    """How features are followed along pseudotime."""

    n_bins: Annotated[int, Range(3, 1000)] = 100
    """Bins with equally many patches; fewer where there are fewer patches."""

    smoothing: Annotated[float, Range(0, 50)] = 1.5
    """Width of the Gaussian that smooths over bins, in bins."""

    n_neighbors: Annotated[int, Range(2, 200)] = 15
    """Neighbours in the graph of features that is clustered."""

    resolution: Annotated[float, Range(0.01, 10)] = 1.0
    """Resolution of the clusters of features."""

    def __post_init__(self) -> None:
        check_fields(self)
