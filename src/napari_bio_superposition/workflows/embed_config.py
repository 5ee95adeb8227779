"""The settings of embedding a table and following its trajectory. Imports no scanpy."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.manifold.embedding_config import PRESETS, EmbeddingConfig
from napari_bio_superposition.manifold.trajectory_config import (
    DynamicsConfig,
    TrajectoryConfig,
    TrendConfig,
)


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How a table of patches is laid out, ordered, and tested."""

    scope: Literal["all", "pairs"] = "all"
    """One trajectory over all patches, or one for each group with the reference alone, as
    published: principal components, graph and pseudotime are then made anew for each pair."""

    group_by: str = Keys.GENOTYPE
    """Column of obs with the groups that are compared."""

    reference: str = "Control"
    """The group where pseudotime starts."""

    unit: str = Keys.GROUP
    """Column of obs with the unit of inference, the well; intervals and nulls draw these."""

    block: str = Keys.PLATE
    """Column of obs within which outcomes of wells change places in the null, the plate."""

    with_trajectory: bool = True
    """Whether there is more than the layouts: pseudotime, clusters, statistics, dynamics."""

    max_patches_per_group: Annotated[int | None, Range(10, 10_000_000)] = None
    """Most patches of each group; drawn, those with a known outcome first. None: all."""

    n_selected: Annotated[int | None, Range(2, 100_000)] = None
    """Features chosen on half of the wells, by how well they separate the groups; statistics then
    use the other half only. None: all live features, all wells."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Preparation and layouts."""

    trajectory: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    """Pseudotime and clusters."""

    trend: TrendConfig = field(default_factory=TrendConfig)
    """Statistics along pseudotime."""

    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    """Features along pseudotime."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Start of all random numbers."""

    device: str = "auto"
    """Not used: this runs on the CPU; kept so that every command takes the option."""

    def __post_init__(self) -> None:
        check_fields(self)


EMBED_PRESETS: Final = {
    "default": EmbedConfig(),
    "paper": EmbedConfig(
        scope="pairs",
        max_patches_per_group=10_000,
        embedding=dataclasses.replace(PRESETS["paper"], n_pcs=50),
        trajectory=TrajectoryConfig(root_choice="nearest", paga_neighbors=5),
        trend=TrendConfig(robustness=True),
    ),
}
"""``paper``: pairs, root perturbation, sweep and clusters as in the published scripts; see
`manifold.embedding_config.PRESETS` for the preparation. Intervals and nulls stay those of wells,
which the paper has not."""


def choose_embed_preset(name: str) -> EmbedConfig:
    """Return the settings of a named preset.

    Raises
    ------
    ConfigError
        Where there is none of this name.
    """
    if name not in EMBED_PRESETS:
        raise ConfigError(
            f"There is no preset {name!r} of embed. Choose one of: {list_choices(EMBED_PRESETS)}."
        )
    return EMBED_PRESETS[name]
