"""Settings of nucleus segmentation. No computing, no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError

__all__ = ["SegmentationConfig"]


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """How nuclei are found in the nuclear channel."""

    method: Literal["stardist", "watershed"] = "stardist"
    """StarDist's network, or Otsu threshold with distance-transform watershed."""

    weights: str = "bundled"
    """StarDist weights: `bundled` (works offline), `2D_versatile_fluo` (downloaded once, checked),
    or a folder with config.json and weights (.h5 of StarDist, or .safetensors)."""

    prob_threshold: Annotated[float, Range(0.01, 0.99, step=0.01)] | None = None
    """Least object probability of a nucleus; the model's own value where not set. StarDist only."""

    nms_threshold: Annotated[float, Range(0.0, 1.0, step=0.05)] | None = None
    """Largest overlap that two nuclei may have, relative to the smaller one; the model's own value
    where not set. StarDist only."""

    scale: Annotated[float, Range(0.05, 8.0, step=0.05)] | None = None
    """Factor by which the image is resized for the network; labels keep the image's size. Where not
    set, images with pixels below 0.4 um are brought to 0.4 um, because nuclei should be 10 to 90 px
    across; others stay as they are. StarDist only."""

    tile_px: Annotated[int, Range(128, 8192, unit="px", step=128)] = 1024
    """Largest side of a tile that goes through the network at once: less needs less memory and
    does not change the result. StarDist only."""

    smoothing_px: Annotated[float, Range(0.0, 20.0, unit="px", step=0.5)] = 1.0
    """Standard deviation of the Gaussian filter before the Otsu threshold. Watershed only."""

    split_depth_px: Annotated[float, Range(0.0, 50.0, unit="px", step=0.25)] = 0.75
    """Depth of the neck, on the distance transform, that divides touching nuclei: less splits
    more. Watershed only."""

    min_area_px: Annotated[int, Range(0, 1_000_000, unit="px", step=10)] = 40
    """Smaller objects are dropped. The paper keeps nuclei of 40 px and more."""

    exclude_border: bool = False
    """Drop nuclei that touch the border of the image."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.weights.strip():
            raise ConfigError(
                "SegmentationConfig.weights is empty. Choose bundled, 2D_versatile_fluo or a "
                "folder with a StarDist model."
            )
