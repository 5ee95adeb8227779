"""The latent state of each simulated cell, shared by its image and its RNA. No pixels, no counts.

A cell has a genotype, a progression in ``[0, 1]`` and a death flag; from these follow *factors*
(how fragmented its mitochondria are, how large its lysosomes ...), each with its own variation from
cell to cell. The factors alone decide the look of a cell and the linked modules of its RNA.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatVector = npt.NDArray[np.float64]

GENOTYPES: Final = ("Control", "SNCA", "GBA", "LRRK2")
FACTORS: Final = (
    "fragmentation",
    "depolarization",
    "lysosome_size",
    "lysosome_load",
    "perinuclear",
    "condensation",
    "neurite_loss",
)

PROGRESSION_LOGIT: Final = {"Control": -1.1, "SNCA": 0.25, "GBA": 0.0, "LRRK2": 0.15}
WELL_SD: Final = 0.3
"""Spread of the progression between wells, logits."""
LOCAL_SD: Final = 1.0
"""Spread between neighbourhoods of one field, logits: makes patches of one well differ."""
CELL_SD: Final = 0.5
FACTOR_SD: Final = 0.06

# factor: (at rest, per unit of progression in every genotype)
_COMMON: Final = {
    "fragmentation": (0.28, 0.22),
    "depolarization": (0.25, 0.15),
    "lysosome_size": (0.15, 0.10),
    "lysosome_load": (0.30, 0.25),
    "perinuclear": (0.20, 0.05),
    "condensation": (0.15, 0.55),
    "neurite_loss": (0.10, 0.60),
}
# genotype: factor: (from the start, added per unit of progression)
_SPECIFIC: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "Control": {},
    "SNCA": {"fragmentation": (0.14, 0.36), "depolarization": (0.08, 0.30)},
    "GBA": {"lysosome_size": (0.18, 0.57), "lysosome_load": (0.05, 0.15)},
    "LRRK2": {"perinuclear": (0.25, 0.50), "fragmentation": (-0.16, -0.26)},
}


@dataclass(frozen=True, eq=False)
class CellStates:
    """Latent states of *n* cells; every array has the shape ``(n,)``."""

    genotype: npt.NDArray[np.int64]
    """Index into `GENOTYPES`."""
    progression: FloatVector
    dead: npt.NDArray[np.bool_]
    fragmentation: FloatVector
    """Mitochondria: 0 long threads, 1 dots."""
    depolarization: FloatVector
    """Share of the TMRM that has left the mitochondria for the cytoplasm."""
    lysosome_size: FloatVector
    lysosome_load: FloatVector
    perinuclear: FloatVector
    """Share of the lysosomes crowded at one pole of the nucleus."""
    condensation: FloatVector
    """Contrast of the chromatin."""
    neurite_loss: FloatVector

    def __len__(self) -> int:
        return len(self.genotype)

    def take(self, index: npt.NDArray[Any]) -> Self:
        """Return the cells picked by an index or a boolean mask."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell; genotypes by name."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        columns["genotype"] = np.asarray(GENOTYPES, dtype=object)[self.genotype]
        return pd.DataFrame(columns)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """Read states back from a cell table; the inverse of `to_frame`."""
        columns = {f.name: frame[f.name].to_numpy() for f in fields(cls)}
        numbers = [GENOTYPES.index(name) for name in columns["genotype"]]
        columns["genotype"] = np.array(numbers, dtype=np.int64)
        columns["dead"] = columns["dead"].astype(bool)
        return cls(**columns)

    @classmethod
    def concatenate(cls, parts: "list[CellStates]") -> Self:
        """Join the cells of several fields."""
        return cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )


def sample_states(
    genotype: npt.NDArray[np.int64],
    *,
    rng: np.random.Generator,
    well_offset: float | FloatVector = 0.0,
    neighbourhood: FloatVector | None = None,
) -> CellStates:
    """Draw the latent state of each cell.

    Parameters
    ----------
    genotype
        Index into `GENOTYPES`, ``(n,)``.
    rng
        Source of randomness.
    well_offset
        Shift of the progression of a whole well, logits.
    neighbourhood
        Standard-normal value of the place of each cell, ``(n,)``; neighbours in an image share it.
        Drawn independently where there is no place, as for RNA.
    """
    n = len(genotype)
    local = rng.standard_normal(n) if neighbourhood is None else neighbourhood
    centre = np.array([PROGRESSION_LOGIT[name] for name in GENOTYPES])[genotype]
    logit = centre + well_offset + LOCAL_SD * local + CELL_SD * rng.standard_normal(n)
    progression = 1.0 / (1.0 + np.exp(-logit))
    dead = rng.random(n) < death_probability(progression)
    noise = FACTOR_SD * rng.standard_normal((len(FACTORS), n))
    factors = {
        name: np.clip(expected_factor(name, genotype, progression) + noise[i], 0.0, 1.0)
        for i, name in enumerate(FACTORS)
    }
    return CellStates(genotype=genotype, progression=progression, dead=dead, **factors)


def death_probability(progression: FloatVector) -> FloatVector:
    """Return the chance to be dead: 3 % at random, up to 48 % at the end of the progression."""
    return 0.03 + 0.45 * np.asarray(progression) ** 2.5


def expected_factor(
    name: str, genotype: npt.NDArray[np.int64], progression: FloatVector
) -> FloatVector:
    """Return the mean of one factor at a given genotype and progression, before clipping."""
    rest, slope = _COMMON[name]
    start, growth = np.array([_SPECIFIC[g].get(name, (0.0, 0.0)) for g in GENOTYPES])[genotype].T
    return np.asarray(rest + start + (slope + growth) * progression, dtype=np.float64)
