"""The settings of the simulated study and of the demo. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.core.config import Range
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.imaging.cell_death_config import CellDeathConfig
from napari_bio_superposition.imaging.simulation_config import RnaConfig, SimulationConfig
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig
from napari_bio_superposition.manifold.trajectory_config import TrajectoryConfig, TrendConfig
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(SimulationConfig):
    """A simulated study, and the seed that makes it the same every time."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Seed of the whole study; each field draws from its own child of it."""

    device: str = "auto"
    """Not used: the simulation runs on the CPU; kept so that every command takes the option."""


def _small_study() -> SimulationConfig:
    return SimulationConfig(
        n_plates=2,
        wells_per_class=2,
        fields_per_well=1,
        side_px=640,
        rna=RnaConfig(n_cells=600, n_genes=800),
    )


def _death_in_sparse_fields() -> CellDeathConfig:
    """Return settings that rate most patches: simulated nuclei cover a fifth of a field."""
    return CellDeathConfig(min_nuclear_fraction=0.1)


def _embedding_of_balanced_plates() -> EmbeddingConfig:
    """Return settings that take out what differs between plates: here each holds all genotypes."""
    return EmbeddingConfig(standardize_within=Keys.PLATE)


def _rising_death() -> TrendConfig:
    """Return settings that look for a rise: in the simulation, death follows the progression."""
    return TrendConfig(alternative="increasing")


def _quick_coupling() -> CouplingConfig:
    """Return settings for some hundred cells in half a minute: fewer tries than the default."""
    return CouplingConfig(
        neighbours=(15, 30), n_landmarks=120, n_starts=12, n_resamples=4, n_nulls=6
    )


def _quick_genes() -> GenePredictionConfig:
    """Return settings with the one control that needs no further coupling."""
    return GenePredictionConfig(control_permutations=200, controls=("split_cells",))


@dataclass(frozen=True, kw_only=True)
class DemoConfig(AnalyzeConfig):
    """The main job on a small simulated study; the analysis is set as in the command analyze."""

    study: SimulationConfig = field(default_factory=_small_study)
    """The simulated study."""

    death: CellDeathConfig = field(default_factory=_death_in_sparse_fields)
    """How dead nuclear area is told from living."""

    embedding: EmbeddingConfig = field(default_factory=_embedding_of_balanced_plates)
    """How patches become points of a map."""

    trajectory: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    """How patches are ordered in pseudotime."""

    trend: TrendConfig = field(default_factory=_rising_death)
    """How death is followed along pseudotime."""

    coupling: CouplingConfig = field(default_factory=_quick_coupling)
    """How patches are coupled with the simulated RNA; on the device of the analysis."""

    genes: GenePredictionConfig = field(default_factory=_quick_genes)
    """How genes are predicted from the coupling."""

    n_shown_features: Annotated[int, Range(1, 12)] = 3
    """Overlays shown for each genotype in the report."""
