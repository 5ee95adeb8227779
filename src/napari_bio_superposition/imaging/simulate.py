"""The simulated study, as the rest of the package sees it. How it is drawn: `imaging.simulation`.

Synthetic neuronal cultures in four channels with their whole truth, and synthetic RNA beside them.
Nothing here claims to measure biology: it is there to check, on known truth, what the tools claim.
"""

import numpy as np

from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.imaging.simulation.field import (
    FieldSpec,
    SimulatedField,
    simulate_field,
)
from napari_bio_superposition.imaging.simulation.rna import simulate_rna, simulate_rna_of
from napari_bio_superposition.imaging.simulation.states import (
    FACTORS,
    GENOTYPES,
    CellStates,
    sample_states,
)
from napari_bio_superposition.imaging.simulation.store import StudyFolder, write_study
from napari_bio_superposition.imaging.simulation.study import Study, simulate_study
from napari_bio_superposition.imaging.simulation_config import RnaConfig, SimulationConfig

__all__ = [
    "FACTORS",
    "GENOTYPES",
    "CellStates",
    "FieldSpec",
    "RnaConfig",
    "SimulatedField",
    "SimulationConfig",
    "Study",
    "StudyFolder",
    "sample_image",
    "sample_states",
    "simulate_field",
    "simulate_rna",
    "simulate_rna_of",
    "simulate_study",
    "write_study",
]

_SAMPLE_SEED = 20_240_607


def sample_image() -> tuple[MultichannelImage, SimulatedField]:
    """Return the embedded sample: one field, always the same, 4 x 1024 x 1024, and its truth."""
    spec = FieldSpec(plate="plate1", well="A01", site="1", genotype="GBA", line="SIM-GBA-1")
    field = simulate_field(spec, SimulationConfig(), np.random.default_rng(_SAMPLE_SEED))
    return field.image, field
