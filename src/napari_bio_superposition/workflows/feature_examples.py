"""The patches that show a feature most: their pictures and activation maps, from the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from anndata import AnnData

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, MultichannelImage
from napari_bio_superposition.features.overlays import assemble_overlay, choose_colours, composite
from napari_bio_superposition.models.inference import encode_patches, latent_maps
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import adapt_to_card, cut_patches
from napari_bio_superposition.workflows.loading import LoadedModels


@dataclass(frozen=True, eq=False)
class FeatureExample:
    """One patch that shows a feature."""

    patch_id: str
    picture: FloatArray
    """Composite of what the model sees, ``(side, side, 3)`` in ``[0, 1]``."""
    activation: FloatArray
    """``(side, side)``, on the scale of the table."""


def find_examples(
    table: AnnData,
    features: Sequence[str],
    images: Mapping[str, MultichannelImage],
    models: LoadedModels,
    config: AnalyzeConfig,
    *,
    n_examples: int = 6,
) -> Job[dict[str, list[FeatureExample]]]:
    """Return the patches with the highest mean activation of each feature, at most two an image.

    Only these patches are encoded again, and only the wanted columns of the SAE are computed.
    """
    chosen = {name: _top_patches(table, name, n_examples) for name in features}
    examples: dict[str, list[FeatureExample]] = {}
    for done, (name, rows) in enumerate(chosen.items()):
        yield Progress("Collecting examples", done, len(chosen), "features")
        examples[name] = []
        for row in rows:
            example = yield from _draw_example(table, row, name, images, models, config)
            examples[name].append(example)
    return examples


def _top_patches(table: AnnData, feature: str, n_examples: int) -> list[int]:
    values = np.asarray(table[:, feature].to_df().to_numpy()).ravel()
    taken: dict[str, int] = {}
    rows = []
    for row in np.argsort(-values, kind="stable"):
        image = str(table.obs[Keys.IMAGE].iloc[row])
        if taken.get(image, 0) < 2 and values[row] > 0:
            taken[image] = taken.get(image, 0) + 1
            rows.append(int(row))
        if len(rows) == n_examples:
            break
    return rows


def _draw_example(
    table: AnnData,
    row: int,
    feature: str,
    images: Mapping[str, MultichannelImage],
    models: LoadedModels,
    config: AnalyzeConfig,
) -> Job[FeatureExample]:
    obs = table.obs.iloc[row]
    card = models.features.card
    image = images[str(obs[Keys.IMAGE])]
    patches = cut_patches(image, card.channel_roles, adapt_to_card(config, card))
    index = patches.ids.index(str(table.obs_names[row]))
    pixels = patches.pixels[index : index + 1]
    encoded = yield from encode_patches(models.features, pixels, keep_tokens=True)
    if encoded.tokens is None:
        raise ModelError("The model kept no tokens. This is a defect; please report it.")
    maps = latent_maps(models.features, encoded.tokens, [latent_of(feature)])[0]
    side = patches.side
    activation = assemble_overlay(maps, np.zeros((1, 2), np.int64), side, (side, side))
    y, x = (int(value) for value in patches.origins[index])
    colours = {role: c for role, c in choose_colours(image).items() if role in card.channel_roles}
    picture = composite(image, colours)[y : y + side, x : x + side]
    return FeatureExample(patches.ids[index], picture, activation)
