"""Settings of the cell-death label. No images, no computing."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from napari_bio_superposition.core.config import Range, check_fields

BackgroundMethod: TypeAlias = Literal["coarse", "exact", "none"]
EdgeRule: TypeAlias = Literal["keep", "skip_border_nuclei", "skip_outer_ring"]


@dataclass(frozen=True, kw_only=True)
class CellDeathConfig:
    """How the death dye is measured inside nuclei, and when a nucleus pixel counts as dead."""

    smoothing_px: Annotated[float, Range(0, 20, unit="px")] = 1.0
    """Standard deviation of the Gaussian that smooths the dye first; 0 for none."""

    background: BackgroundMethod = "coarse"
    """How the background of the whole field is taken off: a ball rolled under the dye, on a grid
    of every second pixel or on every pixel, or nothing."""

    ball_radius_px: Annotated[int, Range(2, 500, unit="px")] = 25
    """Radius of the ball; it should be larger than a nucleus."""

    n_classes: Annotated[int, Range(2, 4)] = 3
    """Classes of multi-Otsu; the dead are those above the uppermost threshold."""

    n_bins: Annotated[int, Range(16, 512)] = 256
    """Bins of the histogram that multi-Otsu sees."""

    top_quantile: Annotated[float, Range(0.9, 1)] = 0.9999
    """The histogram ends at this quantile, brighter pixels fall into its last bin: a single hot
    pixel would otherwise squeeze all others into a few bins. 1 is as published."""

    min_nuclear_fraction: Annotated[float, Range(0, 1)] = 0.25
    """A patch with a smaller share of nuclear area is flagged and gets no rate."""

    rate_ineligible: bool = False
    """Whether flagged patches get a rate nevertheless, wherever there is a nuclear pixel."""

    edges: EdgeRule = "keep"
    """Patches at the edge of the field: keep them, flag those with a nucleus that touches the
    edge (the paper), or flag the whole outer ring (the published code)."""

    min_rise_over_background: Annotated[float, Range(0, 100)] = 1.0
    """A warning is due where the threshold is below this many times the brightest dye outside
    nuclei (99th percentile): the dead are then hardly told from background."""

    def __post_init__(self) -> None:
        check_fields(self)
