"""The settings of a batch run. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig


@dataclass(frozen=True, kw_only=True)
class ResourceConfig:
    """Where the work of a batch run is done; says nothing about its result."""

    processes: Annotated[int, Range(1, 1024, unit="processes")] = 1
    """Worker processes on this computer; each loads the models once. 1 works in this process."""

    devices: tuple[str, ...] = ()
    """Devices that the workers take in turn, as cuda:0 cuda:1; the analysis' own where empty."""

    scheduler: str = ""
    """Address of a dask scheduler (tcp://host:8786) whose workers do the fields; they have to see
    the same paths."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.scheduler and self.processes > 1:
            raise ConfigError(
                "Choose either processes on this computer or a scheduler, not both: "
                "the scheduler's own workers decide how many fields are done at once."
            )


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What a batch run does with every field, where the work is done, and what it writes."""

    # The flags of analysis and resources have no prefix: those of `analyze` are the same here.
    analysis: Annotated[AnalyzeConfig, tyro.conf.arg(name="")] = field(
        default_factory=AnalyzeConfig
    )
    """How each field is analysed."""

    resources: Annotated[ResourceConfig, tyro.conf.arg(name="")] = field(
        default_factory=ResourceConfig
    )
    """Where the work is done."""

    overlays: tuple[int, ...] = ()
    """Numbers of the latents whose overlays are written for every field."""

    image_format: Literal["ome-tiff", "ome-zarr"] = "ome-tiff"
    """How overlays, and nuclei beside them, are written."""

    write_labels: bool = False
    """Write the nuclei of every field as images for other programs too; a plain TIFF is written
    in any case."""

    table_format: Literal["h5ad", "zarr"] = "h5ad"
    """How the table of all patches is written."""

    positive: str = ""
    """Wells with the known strong effect, as column=value (treatment=staurosporine)."""

    negative: str = ""
    """Wells without effect, as column=value (treatment=DMSO)."""

    def __post_init__(self) -> None:
        check_fields(self)
        if any(latent < 0 for latent in self.overlays):
            raise ConfigError("BatchConfig.overlays holds a negative number; latents count from 0.")
        for name in ("positive", "negative"):
            if (text := getattr(self, name)) and not all(text.partition("=")):
                raise ConfigError(
                    f"BatchConfig.{name} is {text!r}. Write column=value, as treatment=DMSO."
                )
