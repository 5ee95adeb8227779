"""Settings of the coupling. No computing, no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError

__all__ = ["CouplingConfig"]


@dataclass(frozen=True, kw_only=True)
class CouplingConfig:
    """How images and RNA are coupled. Nothing here is chosen with labels."""

    metric: Literal["both", "correlation", "euclidean"] = "both"
    """Distance between cells that decides who their neighbours are. Correlation does not see the
    overall level of a cell, which is noise in measurements and signal in principal components;
    `both` averages the path lengths over the two graphs."""

    edge_weights: Literal["connectivity", "distance"] = "connectivity"
    """Whether a step on the neighbour graph counts one, or its length (the paper). Lengths keep
    the density of a modality in its geometry, which misled the alignment of measured data."""

    scale: Literal["rank", "maximum"] = "rank"
    """How the path lengths of the two modalities are made comparable: by their rank among all
    lengths, or divided by the largest one (the paper)."""

    neighbours: tuple[int, ...] = (15, 20, 30, 50, 80)
    """Neighbours per cell to try; those whose couplings agree are averaged."""

    epsilons: tuple[float, ...] = (1e-2, 5e-3, 2e-3)
    """Weights of the entropy to try, of path lengths scaled to at most 1; the smallest one
    at which couplings agree within 0.05 of the best is taken."""

    solver: Literal["auto", "exact", "low_rank", "landmarks"] = "auto"
    """How the plan of all cells is found: with exact costs, with low-rank costs, or from the
    landmarks' plan alone. `auto` takes the first of them that has at most 2000, at most 6000, or
    more cells."""

    n_landmarks: Annotated[int, Range(20, 2000, unit="cells", step=50)] = 200
    """Cells that stand for the others while alternative alignments are searched."""

    n_starts: Annotated[int, Range(2, 500)] = 24
    """Starts of the search at each number of neighbours."""

    rank: Annotated[int, Range(2, 500)] = 25
    """Rank of the costs of the solver `low_rank`."""

    n_resamples: Annotated[int, Range(0, 500)] = 100
    """Graphs on random four fifths of the cells over which path lengths are averaged, so that the
    result hardly depends on the seed; fewer are drawn beyond 200 cells, none beyond 2000, where
    graphs hardly change."""

    n_nulls: Annotated[int, Range(0, 1000)] = 10
    """Rebuilt geometries of each of three kinds that the loss is compared with, at least 4; 0 makes
    none and leaves the verdict open."""

    n_null_cells: Annotated[int, Range(50, 2000, unit="cells", step=50)] = 120
    """Cells drawn for the comparison with rebuilt geometries."""

    n_permutations: Annotated[int, Range(1, 100_000)] = 200
    """Label permutations behind the label transfer accuracy."""

    top_entries: Annotated[int, Range(1, 100_000)] = 200
    """Largest entries of each row of the plan that are kept in a file."""

    device: str = "cpu"
    """Compute device as torch names it: cpu, cuda:0 (any number) or mps."""

    def __post_init__(self) -> None:
        check_fields(self)
        if 0 < self.n_nulls < 4:
            raise ConfigError(
                f"CouplingConfig.n_nulls is {self.n_nulls}. Choose 0, or at least 4: two for the "
                "images and two for the RNA."
            )
        _check_list("neighbours", self.neighbours, int, 2, 1000)
        _check_list("epsilons", self.epsilons, float, 5e-4, 1e-1)


def _check_list(
    name: str, values: tuple[int, ...] | tuple[float, ...], kind: type, low: float, high: float
) -> None:
    wanted = "whole numbers" if kind is int else "numbers"
    accepted = (int,) if kind is int else (int, float)
    good = [
        isinstance(value, accepted) and not isinstance(value, bool) and low <= value <= high
        for value in values
    ]
    if not values or not all(good):
        raise ConfigError(
            f"CouplingConfig.{name} is {values}. Give one or more {wanted} from {low:g} to "
            f"{high:g}."
        )
