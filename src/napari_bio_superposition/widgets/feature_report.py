"""Everything the page of one feature shows, collected by a job over arrays. No Qt, no layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.widgets.preload import gentle_imports
from napari_bio_superposition.widgets.study import OpenImage

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from napari_bio_superposition.features.feature_page import FeaturePage

_STEP: Final = "Collecting the feature"
_CAPTIONS: Final = {
    "top": "Strongest",
    "q95": "Around the 95th percentile",
    "q75": "Around the 75th percentile",
    "q50": "Around the median",
    "q25": "Around the 25th percentile",
    "random": "Random patches in which it is active",
    "inactive": "Random patches in which it is silent",
}
N_EACH: Final = 4


@dataclass(frozen=True, eq=False)
class ExamplePatch:
    """One patch that stands for a feature.

    Parameters
    ----------
    kind
        Why it was chosen, in words.
    row
        Of the study's table.
    title
        Identity and activation.
    pixels
        What the model was given, ``(channel, side, side)`` in ``[0, 1]``; ``None`` where the image
        is not open.
    activation
        Map on the pixels, ``(side, side)``; ``None`` with it.
    """

    kind: str
    row: int
    title: str
    pixels: FloatArray | None = None
    activation: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class FeatureReport:
    """What is known of one feature."""

    latent: int
    page: "FeaturePage"
    by_direction: "pd.DataFrame | None"
    """Nearest decoder directions; ``None`` without networks."""
    examples: tuple[ExamplePatch, ...]
    channel_roles: tuple[str, ...]
    top: float
    """Of the fixed scale."""


def collect_report(
    table: "AnnData", images: Sequence[OpenImage], latent: int, groupby: str
) -> Job[FeatureReport]:
    """Collect what is known of a feature; quick enough to be asked at each click."""
    yield Progress(_STEP)
    with gentle_imports():
        from napari_bio_superposition.features.feature_page import describe_feature
    yield Progress(_STEP)
    name = feature_name(latent)
    page = describe_feature(table, name, groupby=groupby)
    examples = yield from collect_examples(table, images, latent)
    roles: tuple[str, ...] = ()
    by_direction = None
    if images:
        roles = images[0].analysis.patches.channel_roles
        by_direction = _nearest_directions(images[0], latent)
    top = float(table.var[Keys.MAX_ACTIVATION].iloc[latent])
    return FeatureReport(latent, page, by_direction, tuple(examples), roles, max(top, 1e-6))


def collect_examples(
    table: "AnnData", images: Sequence[OpenImage], latent: int
) -> Job[list[ExamplePatch]]:
    """Choose patches that stand for a feature; those of open images with pixels and map."""
    yield Progress(_STEP)
    from napari_bio_superposition.features.examples import choose_examples

    chosen = choose_examples(table, feature_name(latent), n_each=N_EACH)
    yield Progress(_STEP)
    return (yield from _draw_examples(chosen, images, latent))


def _nearest_directions(image: OpenImage, latent: int) -> "pd.DataFrame":
    from napari_bio_superposition.features.similarity import nearest_by_direction

    directions = image.models.features.sae.W_dec.detach().cpu().numpy()
    return nearest_by_direction(_as_rows(directions, image), latent)


def _as_rows(directions: npt.NDArray[Any], image: OpenImage) -> FloatArray:
    """Return the decoder with one row per latent."""
    is_turned = directions.shape[0] != image.models.features.card.n_latents
    return np.asarray(directions.T if is_turned else directions, np.float32)


def _draw_examples(
    chosen: "pd.DataFrame", images: Sequence[OpenImage], latent: int
) -> Job[list[ExamplePatch]]:
    rows = chosen["row"].to_numpy(int)
    drawn: dict[int, tuple[FloatArray, FloatArray]] = {}
    for image in images:
        here = np.flatnonzero(np.isin(image.rows, rows))
        if here.size and image.analysis.tokens is not None:
            drawn |= _draw_patches(image, here, latent)
            yield Progress(_STEP)
    examples = []
    for row, kind, value, patch in zip(
        rows, chosen["kind"], chosen["activation"], chosen.index, strict=True
    ):
        pixels, activation = drawn.get(int(row), (None, None))
        caption = _CAPTIONS.get(str(kind), str(kind))
        title = f"{patch}: {float(value):.3g}"
        examples.append(ExamplePatch(caption, int(row), title, pixels, activation))
    return examples


def _draw_patches(
    image: OpenImage, patches: IntArray, latent: int
) -> Mapping[int, tuple[FloatArray, FloatArray]]:
    """Return pixels and map of some patches by their row; only these are decoded."""
    from napari_bio_superposition.features.overlays import interpolation_weights
    from napari_bio_superposition.models.inference import TokenCache, latent_maps

    analysis = image.analysis
    tokens = analysis.tokens
    if tokens is None:
        return {}
    some = TokenCache(tokens.unit[patches], tokens.norms[patches], tokens.map_shape)
    maps = latent_maps(image.models.features, some, [latent])[0]
    side = image.side_px
    down, across = (interpolation_weights(n, side) for n in tokens.map_shape)
    places = np.flatnonzero(analysis.patches.accepted)[patches]
    return {
        int(row): (analysis.patches.pixels[place], down @ one @ across.T)
        for row, place, one in zip(image.rows[patches], places, maps, strict=True)
    }
