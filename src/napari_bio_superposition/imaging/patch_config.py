"""Settings of the patch grid and of its quality control. No images, no computing."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError

IntensityScaling: TypeAlias = Literal["dtype", "field_percentile"]
QualityMethod: TypeAlias = Literal["relative", "published", "none"]


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """How a field is cut into patches, scaled, and sorted into good and bad ones.

    The settings named ``published_...`` act only with ``quality="published"``, in counts of a
    16-bit camera; those of the relative method have no prefix and no unit of intensity.
    """

    side_px: Annotated[int, Range(16, 1024, unit="px")] = 128
    """Edge of a square patch."""

    overlap_px: Annotated[int, Range(0, 1023, unit="px")] = 0
    """How far neighbouring patches overlap."""

    cover_edges: bool = False
    """Whether to add patches aligned with the right and bottom edges; otherwise the rest that
    does not fill a patch is left out, as published."""

    intensity_scaling: IntensityScaling = "dtype"
    """What becomes 1.0: the full scale of the camera, or a high percentile of the channel in its
    field (0.0 is then a low one). It has to be what the model was trained with."""

    low_percentile: Annotated[float, Range(0, 50, unit="%")] = 1.0
    """Percentile of the field that becomes 0, with scaling by percentiles."""

    high_percentile: Annotated[float, Range(50, 100, unit="%")] = 99.9
    """Percentile of the field that becomes 1, with scaling by percentiles."""

    quality: QualityMethod = "relative"
    """Rules of the quality control: independent of exposure and camera offset, those of the
    paper in absolute counts, or none."""

    min_signal_fraction: Annotated[float, Range(0, 1)] = 0.05
    """A patch with a smaller share of signal, over all channels, is too empty."""

    min_contrast_to_noise: Annotated[float, Range(0, 1000)] = 5.0
    """A patch whose smoothed channels all vary less than this many times the noise is flat."""

    min_sharpness: Annotated[float, Range(0, 10)] = 0.08
    """A patch is blurred where its fine detail is a smaller share of its contrast, in the
    sharpest channel. Cells in focus measure 0.10 and more at 0.66 um per pixel (BBBC022), 0.3 and
    more where objects are smaller; blurring by 4 px takes BBBC022 to 0.05."""

    max_saturated_fraction: Annotated[float, Range(0, 1)] = 0.05
    """A patch with a larger share of pixels at the channel's ceiling is saturated."""

    smoothing_px: Annotated[float, Range(0.5, 10, unit="px")] = 1.5
    """Scale of the detail that sharpness looks at, and smoothing before signal is looked for."""

    signal_over_noise: Annotated[float, Range(0, 100)] = 3.0
    """Signal is at least this many standard deviations of the noise above the field's floor."""

    signal_over_range: Annotated[float, Range(0, 1)] = 0.05
    """Signal is also at least this share of the field's robust range above its floor."""

    published_min_variation: Annotated[float, Range(0, unit="counts")] = 3500.0
    """Rule 0: smallest sum over channels of the standard deviation."""

    published_min_top_signal: Annotated[float, Range(0, unit="counts")] = 8000.0
    """Rule 1: smallest sum of the brightest 15 % of the pixels, over channels."""

    published_min_laplacian_variance: Annotated[float, Range(0, unit="counts²")] = 50_000.0
    """Rule 2: smallest variance of the Laplacian of the maximum over channels."""

    published_min_channel_deviation: Annotated[float, Range(0, unit="counts")] = 655.0
    """Rule 3: a channel that varies less is not stretched."""

    published_signal_level: Annotated[float, Range(0, 65535, unit="counts")] = 4000.0
    """Rule 3: a pixel above this in any stretched channel is signal."""

    published_max_background_fraction: Annotated[float, Range(0, 1)] = 0.65
    """Rule 3: largest share of pixels without signal."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.overlap_px >= self.side_px:
            raise ConfigError(
                f"PatchConfig.overlap_px is {self.overlap_px} px with patches of {self.side_px} px."
                f" Choose an overlap below {self.side_px} px."
            )
        if self.low_percentile >= self.high_percentile:
            raise ConfigError(
                f"PatchConfig.low_percentile is {self.low_percentile} and high_percentile "
                f"{self.high_percentile}. Choose a low percentile below the high one."
            )

    @property
    def stride_px(self) -> int:
        """Distance between neighbouring patches."""
        return self.side_px - self.overlap_px
