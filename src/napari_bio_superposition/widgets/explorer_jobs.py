"""What the Features dock runs in a thread: jobs over arrays, never over layers. No Qt, no torch.

The libraries are imported when a job runs: a widget opens without torch and without scanpy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, FloatArray
from napari_bio_superposition.widgets.feature_report import (
    STRONGEST,
    ExamplePatch,
    collect_examples,
)
from napari_bio_superposition.widgets.image_shelf import ImageShelf
from napari_bio_superposition.widgets.preload import gentle_imports
from napari_bio_superposition.widgets.study import OpenImage

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from napari_bio_superposition.features.differential_config import DifferentialConfig
    from napari_bio_superposition.features.notes import NoteBook
    from napari_bio_superposition.models.activation_maximization import MaximizedImages
    from napari_bio_superposition.workflows.explore_channels import (
        ExplainedChannel,
        MatchedChannel,
    )
    from napari_bio_superposition.workflows.steering import FeatureEffect


@dataclass(frozen=True, eq=False)
class RankedRegions:
    """The answer to "which features live here?", one table per region."""

    image_id: str
    tables: Mapping[str, "pd.DataFrame"]


@dataclass(frozen=True, eq=False)
class ComparedGroups:
    """Which features differ between two groups."""

    title: str
    config: "DifferentialConfig"
    table: "pd.DataFrame"
    """From `compare_groups`."""
    volcano: "pd.DataFrame"


@dataclass(frozen=True, eq=False)
class DrawnChannel:
    """The map of a CNN channel over an image, ``(height, width)``."""

    image_id: str
    channel: int
    values: FloatArray


@dataclass(frozen=True, eq=False)
class MaximizedFeature:
    """Images made for a feature, and the real patches that show it most."""

    images: "MaximizedImages"
    examples: tuple[ExamplePatch, ...]
    channel_roles: tuple[str, ...]


def draw_map(image: OpenImage, latent: int) -> Job[tuple[str, int, FloatArray]]:
    """Compute the map of a feature; returns the image's id, the latent, and the map."""
    yield Progress("Drawing the feature")
    return image.analysis.image.id, latent, image.overlay(latent)


def rank_regions(image: OpenImage, regions: Mapping[str, BoolArray]) -> Job[RankedRegions]:
    """Rank the features of each region, ``(height, width)`` masks by name."""
    yield Progress("Asking the region")
    with gentle_imports():
        from napari_bio_superposition.workflows.region_query import rank_latents

    tables = {}
    for done, (name, mask) in enumerate(regions.items()):
        yield Progress("Asking the region", done, len(regions), "regions")
        tables[name] = rank_latents(image.analysis, image.models, mask)
    return RankedRegions(image.analysis.image.id, tables)


def compare(
    table: "AnnData", first: BoolArray, second: BoolArray, config: "DifferentialConfig", title: str
) -> Job[ComparedGroups]:
    """Compare two groups of the table's rows."""
    yield Progress("Comparing groups")
    with gentle_imports():
        from napari_bio_superposition.features.differential import compare_groups, volcano

    yield Progress("Comparing groups")
    compared = compare_groups(table, first, second, config)
    return ComparedGroups(title, config, compared, volcano(compared, config.level))


def explain(
    image: OpenImage, place: BoolArray | None, channel: int | None
) -> Job["ExplainedChannel"]:
    """Split a CNN channel at a place ``(height, width)`` into features.

    The strongest channel of the place where *channel* is ``None``, all patches where *place* is.
    """
    yield Progress("Explaining the channel")
    with gentle_imports():
        from napari_bio_superposition.workflows.explore_channels import explain_channel

    yield Progress("Explaining the channel")
    return explain_channel(image.analysis, image.models, place, channel)


def match(image: OpenImage, place: BoolArray | None, channel: int | None) -> Job["MatchedChannel"]:
    """Match the map of a CNN channel greedily with those of features, as published."""
    yield Progress("Matching maps")
    with gentle_imports():
        from napari_bio_superposition.workflows.explore_channels import match_channel

    yield Progress("Matching maps")
    return match_channel(image.analysis, image.models, place, channel)


def draw_channel(image: OpenImage, channel: int) -> Job[DrawnChannel]:
    """Compute the map of a CNN channel over an image."""
    yield Progress("Drawing the channel")
    with gentle_imports():
        from napari_bio_superposition.workflows.explore_channels import channel_overlay

    values = channel_overlay(image.analysis, image.models, channel)
    return DrawnChannel(image.analysis.image.id, channel, values)


def list_features(
    table: "AnnData", correlate: Sequence[str], compared: "pd.DataFrame | None", notes: "NoteBook"
) -> "Job[pd.DataFrame]":
    """Gather what is known of all features."""
    yield Progress("Listing features")
    with gentle_imports():
        from napari_bio_superposition.features.search import list_features as list_all

    yield Progress("Listing features")
    return list_all(table, correlate=correlate, differential=compared, notes=notes)


def maximize(shelf: ImageShelf, latent: int, config: Any) -> Job[MaximizedFeature]:
    """Make images that excite a feature, beside the patches of the table that show it most.

    Parameters
    ----------
    shelf
        The table and its images.
    latent, config
        The feature, and a `MaximizationConfig`.
    """
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.features.similarity import column_of
        from napari_bio_superposition.models.activation_maximization import maximize_activation

    models, _ = yield from shelf.open()
    real = column_of(shelf.table, feature_name(latent)).astype(np.float32)
    rng = np.random.default_rng(0)
    made = yield from maximize_activation(models.features, latent, config, real=real, rng=rng)
    examples = yield from collect_examples(shelf.table, shelf.images, latent)
    strongest = [one for one in examples if one.kind == STRONGEST]
    absent = [one for one in strongest if one.pixels is None]
    found = (yield from shelf.read_examples(absent, latent)) if absent and shelf.places else {}
    shown = tuple(found.get(one.row, one) for one in strongest)
    return MaximizedFeature(made, shown, models.features.card.channel_roles)


def steer(
    image: OpenImage,
    table: "AnnData",
    latent: int,
    factor: float,
    rows: BoolArray | None,
) -> Job["FeatureEffect"]:
    """Change a feature in patches of an image, and read what class, death and place do.

    Parameters
    ----------
    image
        With tokens.
    table
        On which the read-outs are fitted.
    latent, factor
        The feature, and what it is multiplied with.
    rows
        Of the table; all patches of the image where ``None``.
    """
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.workflows.steering import measure_effect

    chosen = image.rows >= 0
    if rows is not None:
        chosen &= rows[np.maximum(image.rows, 0)]
    patches = np.flatnonzero(chosen)
    if not patches.size:
        raise RegionError("No patch of this image is selected. Click some, or select nothing.")
    return (
        yield from measure_effect(
            image.analysis, image.models, table, latent, factor=factor, patches=patches
        )
    )


def write_gallery(
    shelf: ImageShelf, latents: Sequence[int], notes: "NoteBook", path: Path
) -> Job[Path]:
    """Write a page of HTML with some features and pictures of all images that are found.

    Parameters
    ----------
    shelf
        The table and its images.
    latents
        The features, in order.
    notes
        Names and notes.
    path
        The page.
    """
    models, library = yield from shelf.open()
    from napari_bio_superposition.workflows.feature_gallery import Gallery
    from napari_bio_superposition.workflows.feature_gallery import write_gallery as write

    gallery = Gallery([feature_name(int(latent)) for latent in latents], notes)
    return (yield from write(shelf.table, gallery, path, library=library, models=models))
