"""Settings of a comparison of two groups of patches; free of scipy and AnnData, for forms."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.keys import Keys

Level = Literal["well", "patch"]
Values = Literal["sae", "cnn"]
ALIVE: Final = 1e-5
"""Firing rate from which a feature counts as alive (section 7.4 of the method specification)."""


@dataclass(frozen=True, kw_only=True)
class DifferentialConfig:
    """How two groups of patches are compared."""

    values: Values = "sae"
    """SAE features, or the mean CNN channels (their absolute values, as published) under the same
    preprocessing."""

    unit: str = Keys.GROUP
    """Column of obs with the unit of inference: wells."""

    min_firing_rate: Annotated[float, Range(0, 1)] = ALIVE
    """SAE features that fire on a smaller share of tokens are left out."""

    pseudocount: Annotated[float, Range(1e-30, 1e30)] | None = None
    """Added to both means before their ratio; where empty, a tenth of the median mean of all
    features, so that those that are next to silent in both groups do not top the list."""

    level: Level = "well"
    """Whose q-values decide what is significant: well is the unit of inference; with patches,
    thousands from one well count as independent, which they are not."""

    max_q: Annotated[float, Range(0, 1)] = 0.05
    """A feature is significant up to this q-value."""

    min_log2_fold_change: Annotated[float, Range(0, 100)] = 1.0
    """A feature is significant from this absolute log2 fold change on."""

    def __post_init__(self) -> None:
        check_fields(self)
