"""Settings of exploring features of a table. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.features.differential_config import DifferentialConfig
from napari_bio_superposition.features.region_statistics import RegionQueryConfig
from napari_bio_superposition.features.search import FeatureFilter
from napari_bio_superposition.models.activation_maximization_config import MaximizationConfig


@dataclass(frozen=True, kw_only=True)
class ExploreConfig:
    """What is asked of the features of a table."""

    do: Literal[
        "list",
        "compare",
        "region",
        "channel",
        "match",
        "effect",
        "overlay",
        "gallery",
        "maximize",
        "note",
    ] = "list"
    """list: all features with what is known of them; compare: two groups of patches; region: which
    latents live in a painted region of one image; channel: which latents write a CNN channel there;
    match: which maps look like that channel's (greedy, as published); effect: class, death and
    place when a feature is changed; overlay: maps of features; gallery: a page with pictures;
    maximize: images that excite a feature; note: name a feature."""

    features: tuple[str, ...] = ()
    """Features for gallery and overlay (latent_00042); where empty, the first of the filtered list.
    For maximize and effect, the first of them; for note, the one."""

    groupby: str = Keys.GENOTYPE
    """Column of obs with the classes."""

    first: str = ""
    """Class that is compared."""

    second: str = ""
    """Class to compare it with; all others where empty."""

    image: str = ""
    """For questions about one image: its id; may be empty where there is only one."""

    patches: tuple[str, ...] = ()
    """A place made of patches, by their names in the table, in place of a mask."""

    nuclei: tuple[int, ...] = ()
    """Numbers in the mask that together are the place, such as nuclei of a label image; where
    empty, each number is a place of its own."""

    channel: Annotated[int, Range(0, 1_000_000)] | None = None
    """For channel and match: number of the CNN channel; the strongest at the place where empty."""

    factor: Annotated[float, Range(0, 100)] = 0.0
    """For effect: 0 takes the feature away, 2 doubles it."""

    name: str = ""
    """For note: the name of the feature, for all images of the model."""

    note: str = ""
    """For note: what there is to say of it."""

    keep_list: str = ""
    """For list: keep what is found as a list of this name, for all images of the model."""

    n_shown: Annotated[int, Range(1, 10_000)] = 20
    """Features printed, and in the gallery where none are named."""

    model: str = "small"
    """Feature model that the table was made with: a name or a folder."""

    device: str = "auto"
    """Compute device: auto, cpu, cuda:0 (any number) or mps."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Start of all random numbers."""

    find: FeatureFilter = field(default_factory=FeatureFilter)
    """Which features are listed."""

    differential: DifferentialConfig = field(default_factory=DifferentialConfig)
    """How groups are compared."""

    query: RegionQueryConfig = field(default_factory=RegionQueryConfig)
    """How regions are asked."""

    maximize: MaximizationConfig = field(default_factory=MaximizationConfig)
    """How images are made."""

    def __post_init__(self) -> None:
        check_fields(self)
