"""What the Features dock runs in a thread: jobs over arrays, never over layers. No Qt, no torch.

The libraries are imported when a job runs: a widget opens without torch and without scanpy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.widgets.feature_report import ExamplePatch, collect_examples
from napari_bio_superposition.widgets.preload import gentle_imports
from napari_bio_superposition.widgets.study import OpenImage

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from napari_bio_superposition.features.differential_config import DifferentialConfig
    from napari_bio_superposition.features.notes import NoteBook
    from napari_bio_superposition.models.activation_maximization import MaximizedImages
    from napari_bio_superposition.models.attribution import ChannelAttribution
    from napari_bio_superposition.workflows.steering import FeatureEffect

_N_CHANNELS: Final = 20
"""Channels that are listed for a place."""


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
class AttributedChannel:
    """The strongest CNN channels of a place, and one of them split into features.

    Parameters
    ----------
    channels
        Strongest first, ``(n,)``.
    strength
        Root mean square of each over the place, ``(n,)``.
    attribution
        Of one channel.
    """

    channels: IntArray
    strength: FloatArray
    attribution: "ChannelAttribution"


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


def attribute(image: OpenImage, place: BoolArray, channel: int | None) -> Job[AttributedChannel]:
    """Split a CNN channel at a place into features.

    Parameters
    ----------
    image
        With tokens.
    place
        ``(height, width)``.
    channel
        Its number; the strongest of the place where ``None``.
    """
    yield Progress("Explaining the channel")
    with gentle_imports():
        from napari_bio_superposition.features.regions import tokens_in_region
        from napari_bio_superposition.models.attribution import attribute_channel

    tokens = image.analysis.tokens
    if tokens is None:
        raise RegionError("This result has no features. Run the analysis with a model.")
    inside = tokens_in_region(image.origins, image.side_px, tokens.map_shape, place)
    rows = np.flatnonzero(inside)
    if not rows.size:
        raise RegionError("The place lies on no accepted patch. Choose another one.")
    yield Progress("Explaining the channel")
    rng = np.random.default_rng(0)
    some = rng.choice(rows, min(len(rows), 4096), replace=False)
    width = tokens.unit.shape[-1]
    unit = tokens.unit.reshape(-1, width)[some].astype(np.float32)
    strength = np.sqrt(np.mean(np.square(unit * tokens.norms.reshape(-1)[some, None]), axis=0))
    channels = np.argsort(-strength, kind="stable")[:_N_CHANNELS]
    chosen = int(channels[0]) if channel is None else channel
    yield Progress("Explaining the channel")
    found = attribute_channel(image.models.features, tokens, chosen, rows, rng=rng)
    return AttributedChannel(channels, strength[channels], found)


def list_features(
    table: "AnnData", correlate: Sequence[str], compared: "pd.DataFrame | None", notes: "NoteBook"
) -> "Job[pd.DataFrame]":
    """Gather what is known of all features."""
    yield Progress("Listing features")
    with gentle_imports():
        from napari_bio_superposition.features.search import list_features as list_all

    yield Progress("Listing features")
    return list_all(table, correlate=correlate, differential=compared, notes=notes)


def maximize(
    images: Sequence[OpenImage], table: "AnnData", latent: int, config: Any
) -> Job[MaximizedFeature]:
    """Make images that excite a feature, scored against the patches of the table.

    Parameters
    ----------
    images
        The open ones, for real examples; the first one's networks are used.
    table
        Of all patches.
    latent, config
        The feature, and a `MaximizationConfig`.
    """
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.features.similarity import column_of
        from napari_bio_superposition.models.activation_maximization import maximize_activation

    real = column_of(table, feature_name(latent)).astype(np.float32)
    rng = np.random.default_rng(0)
    model = images[0].models.features
    made = yield from maximize_activation(model, latent, config, real=real, rng=rng)
    examples = yield from collect_examples(table, images, latent)
    return MaximizedFeature(made, tuple(examples), model.card.channel_roles)


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
    images: Sequence[OpenImage],
    table: "AnnData",
    latents: Sequence[int],
    notes: "NoteBook",
    path: Path,
) -> Job[Path]:
    """Write a page of HTML with some features; its pictures come from the open images.

    Parameters
    ----------
    images
        The open ones, of one model.
    table
        Of all patches; those of images that are not open are left out.
    latents
        The features, in order.
    notes
        Names and notes.
    path
        The page.
    """
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
        from napari_bio_superposition.workflows.config_files import config_from_plain
        from napari_bio_superposition.workflows.explore_images import ImageLibrary
        from napari_bio_superposition.workflows.feature_gallery import Gallery
        from napari_bio_superposition.workflows.feature_gallery import write_gallery as write

    config = config_from_plain(dict(images[0].analysis.provenance.config), AnalyzeConfig)
    rows = np.unique(np.concatenate([image.rows[image.rows >= 0] for image in images]))
    gallery = Gallery([feature_name(int(latent)) for latent in latents], notes)
    library = ImageLibrary(
        {}, config, {one.analysis.image.id: one.analysis.image for one in images}
    )
    return (yield from write(table[rows], gallery, path, library=library, models=images[0].models))
