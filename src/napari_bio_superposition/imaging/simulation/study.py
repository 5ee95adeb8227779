"""Plates, wells and fields of a simulated study, drawn lazily. Writing it is store.py's work."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.imaging.simulation.field import (
    FieldSpec,
    SimulatedField,
    simulate_field,
)
from napari_bio_superposition.imaging.simulation.rna import simulate_rna
from napari_bio_superposition.imaging.simulation.states import GENOTYPES, WELL_SD
from napari_bio_superposition.imaging.simulation_config import (
    WELLS_PER_PLATE,
    SimulationConfig,
)

if TYPE_CHECKING:
    import anndata

PLATE_GAIN_SD: Final = 0.25
"""Log staining and exposure between plates, each channel on its own."""
WELL_GAIN_SD: Final = 0.15
BACKGROUND_SD: Final = 0.25
LINES: Final = {
    "Control": ("SIM-Control-1", "SIM-Control-2"),
    "SNCA": ("SIM-SNCA-1",),
    "GBA": ("SIM-GBA-1",),
    "LRRK2": ("SIM-LRRK2-1",),
}
"""Simulated donor lines of each genotype; control lines alternate between wells."""


@dataclass(frozen=True, eq=False)
class Study:
    """A simulated study: what its fields are; each is drawn when asked for.

    Every field has its own seed, so that a field is the same however often, in which order, and on
    how many workers it is drawn.
    """

    config: SimulationConfig
    specs: tuple[FieldSpec, ...]
    _seeds: tuple[np.random.SeedSequence, ...]

    def __len__(self) -> int:
        return len(self.specs)

    def __iter__(self) -> Iterator[SimulatedField]:
        return (self.field(index) for index in range(len(self)))

    @property
    def entropy(self) -> int:
        """The number that, with the config, decides everything in the study."""
        entropy = self._seeds[0].entropy
        return int(entropy) if isinstance(entropy, int) else 0

    @property
    def table(self) -> pd.DataFrame:
        """One row per field: ``image``, ``plate``, ``well``, ``field``, ``line``, ``genotype``."""
        return pd.DataFrame(
            [
                {
                    "image": spec.id,
                    "plate": spec.plate,
                    "well": spec.well,
                    "field": spec.site,
                    "line": spec.line,
                    "genotype": spec.genotype,
                }
                for spec in self.specs
            ]
        )

    def field(self, index: int) -> SimulatedField:
        """Draw one field, ``0 <= index < len(study)``.

        Raises
        ------
        IndexError
            Where there is no such field.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Field {index} of a study with {len(self)} fields, counted from 0.")
        rng = np.random.default_rng(self._seeds[index])
        return simulate_field(self.specs[index], self.config, rng)

    def rna(self) -> "anndata.AnnData":
        """Draw the count matrix of the study, from cells that are not in the images."""
        return simulate_rna(self.config.rna, rng=np.random.default_rng(self._seeds[-1]))


def simulate_study(config: SimulationConfig, *, rng: np.random.Generator) -> Study:
    """Plan a study; its images are drawn later, one by one.

    Parameters
    ----------
    config
        Plates, wells, fields and their look.
    rng
        Read once, for the number that decides everything.

    Returns
    -------
    Study
        Fields in the order plate, well, site. Genotypes are balanced on every plate, in shuffled
        wells, unless ``config.confounded`` gives each plate one genotype.
    """
    # SeedSequence rather than rng.spawn: the study then depends on the state of rng alone
    entropy = int.from_bytes(rng.bytes(16), "little")
    design, *seeds = np.random.SeedSequence(entropy).spawn(config.n_fields + 2)
    specs = _plan_fields(config, np.random.default_rng(design))
    return Study(config, tuple(specs), tuple(seeds))


def _plan_fields(config: SimulationConfig, rng: np.random.Generator) -> list[FieldSpec]:
    specs = []
    vary = config.staining_variation
    for plate in range(config.n_plates):
        plate_gain = vary * PLATE_GAIN_SD * rng.standard_normal(4)
        plate_background = vary * BACKGROUND_SD * rng.standard_normal(4)
        for place, genotype in enumerate(_assign_genotypes(config, plate, rng)):
            gain = np.exp(plate_gain + vary * WELL_GAIN_SD * rng.standard_normal(4))
            lines = LINES[genotype]
            offset = WELL_SD * float(rng.standard_normal())
            specs += [
                FieldSpec(
                    plate=f"plate{plate + 1}",
                    well=_name_well(place),
                    site=str(site + 1),
                    genotype=genotype,
                    line=lines[place % len(lines)],
                    well_offset=offset,
                    gain=_as_four(gain),
                    background=_as_four(np.exp(plate_background)),
                )
                for site in range(config.fields_per_well)
            ]
    return specs


def _assign_genotypes(config: SimulationConfig, plate: int, rng: np.random.Generator) -> list[str]:
    """Return the genotype of each used well of a plate."""
    n_wells = config.wells_per_class * len(GENOTYPES)
    if config.confounded:
        return [GENOTYPES[plate % len(GENOTYPES)]] * n_wells
    return [GENOTYPES[i % len(GENOTYPES)] for i in rng.permutation(n_wells)]


def _name_well(place: int) -> str:
    """Return the name of a well of a 96-well plate: A01 to H12, column by column."""
    rows = "ABCDEFGH"
    column, row = divmod(place % WELLS_PER_PLATE, len(rows))
    return f"{rows[row]}{column + 1:02d}"


def _as_four(values: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    a, b, c, d = (float(value) for value in values)
    return a, b, c, d
