"""Patches of a table as pictures, cut from their images when they are wanted. No Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from anndata import AnnData

from napari_bio_superposition.core.errors import ImageReadError, ModelError, list_choices
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, MultichannelImage, PatchSet
from napari_bio_superposition.features.overlays import assemble_overlay
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.inference import encode_patches, latent_maps
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import adapt_to_card, assign_roles, cut_patches
from napari_bio_superposition.workflows.batch_summary import find_fields
from napari_bio_superposition.workflows.loading import LoadedModels


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """One patch as pictures.

    Parameters
    ----------
    patch_id
        Its row in the table.
    channels
        As the model gets them, ``(channel, side, side)`` in ``[0, 1]``, in the order of the card.
    seen
        What the network sees: instance-normalised, then one stretch of all channels from their
        percentiles 1 and 99 to ``[0, 1]``; a channel's contrast is gone, its pattern stays.
    activation
        Of one feature, ``(side, side)``; on the scale of the table.
    """

    patch_id: str
    channels: FloatArray
    seen: FloatArray
    activation: FloatArray


@dataclass(frozen=True, eq=False)
class ImageLibrary:
    """Images by their id, read when they are asked for; the last one is kept."""

    fields: Mapping[str, FieldReference]
    config: AnalyzeConfig
    _last: dict[str, MultichannelImage] = field(default_factory=dict)

    @classmethod
    def open(cls, paths: Sequence[Path], config: AnalyzeConfig) -> "ImageLibrary":
        """List the images of files and folders; no pixel is read."""
        fields = find_fields([str(path) for path in paths], config.reading)
        return cls({reference.id: reference for reference in fields}, config)

    def read(self, image_id: str) -> MultichannelImage:
        """Return one image.

        Raises
        ------
        ImageReadError
            Where it is not among the images.
        """
        if image_id not in self._last:
            if image_id not in self.fields:
                raise ImageReadError(
                    f"The image {image_id} of the table is not among "
                    f"{list_choices(list(self.fields)[:5])}. Give the folder with the images that "
                    "were analysed."
                )
            self._last.clear()
            self._last[image_id] = read_field(self.fields[image_id], config=self.config.reading)
        return self._last[image_id]


def cut_thumbnails(
    table: AnnData,
    rows: Sequence[int],
    feature: str,
    library: ImageLibrary,
    models: LoadedModels,
) -> Job[dict[int, Thumbnail]]:
    """Cut patches of a table from their images, with the activation of one feature.

    Images are read one after the other, each once; only the wanted patches are encoded, and only
    the feature's column of the SAE is computed.

    Parameters
    ----------
    table
        A feature table.
    rows
        Which of its rows.
    feature
        Name of a column.
    library
        The images behind the table.
    models
        Those of the table.

    Returns
    -------
    dict of int to Thumbnail
        By row.
    """
    card = models.features.card
    images = table.obs[Keys.IMAGE].astype(str).to_numpy()
    by_image: dict[str, list[int]] = {}
    for row in dict.fromkeys(int(row) for row in rows):
        by_image.setdefault(str(images[row]), []).append(row)
    found: dict[int, Thumbnail] = {}
    for done, (image_id, members) in enumerate(by_image.items()):
        yield Progress("Cutting patches", done, len(by_image), "images")
        image = assign_roles(library.read(image_id), library.config, card)
        patches = cut_patches(image, card.channel_roles, adapt_to_card(library.config, card))
        pixels = _pixels_of(patches, [str(table.obs_names[row]) for row in members])
        activations = yield from _activations(pixels, feature, models)
        for row, one, activation in zip(members, pixels, activations, strict=True):
            found[row] = Thumbnail(str(table.obs_names[row]), one, see(one, card), activation)
    return found


def see(pixels: FloatArray, card: ModelCard) -> FloatArray:
    """Return what the network sees of a patch ``(channel, side, side)``, stretched for display."""
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    std = pixels.std(axis=(1, 2), keepdims=True, ddof=1)
    normalized = (pixels - mean) / np.maximum(std, card.std_floor)
    if card.instance_normalization == "bypass":
        normalized = np.where(std < card.std_floor, pixels, normalized)
    low, high = np.percentile(normalized, [1, 99])
    stretched: FloatArray = np.clip((normalized - low) / max(high - low, 1e-6), 0, 1)
    return stretched.astype(np.float32)


def _pixels_of(patches: PatchSet, ids: Sequence[str]) -> FloatArray:
    position = {patch: index for index, patch in enumerate(patches.ids)}
    if missing := [patch for patch in ids if patch not in position]:
        raise ImageReadError(
            f"The patch {missing[0]} is not in the image as it is cut now. Use the settings that "
            "the table was made with."
        )
    return patches.pixels[[position[patch] for patch in ids]]


def _activations(pixels: FloatArray, feature: str, models: LoadedModels) -> Job[FloatArray]:
    encoded = yield from encode_patches(models.features, pixels, keep_tokens=True)
    if encoded.tokens is None:
        raise ModelError("The model kept no tokens. This is a defect; please report it.")
    maps = latent_maps(models.features, encoded.tokens, [latent_of(feature)])[0]
    side, corner = pixels.shape[-1], np.zeros((1, 2), np.int64)
    return np.stack([assemble_overlay(one[None], corner, side, (side, side)) for one in maps])
