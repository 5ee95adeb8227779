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
    from napari_bio_superposition.workflows.loading import LoadedModels

_STEP: Final = "Collecting the feature"
STRONGEST: Final = "Strongest"
_CAPTIONS: Final = {
    "top": STRONGEST,
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
    image_id
        Of which image.
    pixels
        What the model was given, ``(channel, side, side)`` in ``[0, 1]``; ``None`` where the image
        is not read.
    activation
        Map on the pixels, ``(side, side)``; ``None`` with it.
    reason
        Why there are no pixels, once that is known.
    """

    kind: str
    row: int
    title: str
    image_id: str
    pixels: FloatArray | None = None
    activation: FloatArray | None = None
    reason: str = ""


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
    table: "AnnData",
    images: Sequence[OpenImage],
    models: "LoadedModels | None",
    latent: int,
    groupby: str,
) -> Job[FeatureReport]:
    """Collect what is known of a feature; quick enough to be asked at each click.

    Parameters
    ----------
    table, images
        Of the study.
    models
        Where they are loaded; without them nothing is said of decoder directions.
    latent, groupby
        The feature, and the column with the classes.
    """
    yield Progress(_STEP)
    with gentle_imports():
        from napari_bio_superposition.features.column_statistics import robust_tops
        from napari_bio_superposition.features.feature_page import describe_feature
    yield Progress(_STEP)
    name = feature_name(latent)
    page = describe_feature(table, name, groupby=groupby)
    examples = yield from collect_examples(table, images, latent)
    roles = () if models is None else models.features.card.channel_roles
    by_direction = None if models is None else _nearest_directions(models, latent)
    top = float(robust_tops(table.var.iloc[[latent]])[0])
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


def _nearest_directions(models: "LoadedModels", latent: int) -> "pd.DataFrame":
    from napari_bio_superposition.features.similarity import nearest_by_direction

    directions = models.features.sae.W_dec.detach().cpu().numpy()
    is_turned = directions.shape[0] != models.features.card.n_latents
    rows: npt.NDArray[Any] = directions.T if is_turned else directions
    return nearest_by_direction(np.asarray(rows, np.float32), latent)


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
    of_image = chosen[Keys.IMAGE].astype(str)
    for row, kind, value, patch, image_id in zip(
        rows, chosen["kind"], chosen["activation"], chosen.index, of_image, strict=True
    ):
        pixels, activation = drawn.get(int(row), (None, None))
        caption = _CAPTIONS.get(str(kind), str(kind))
        title = f"{patch}: {float(value):.3g}"
        examples.append(ExamplePatch(caption, int(row), title, image_id, pixels, activation))
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
