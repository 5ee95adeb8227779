"""Patches of a table as pictures, cut from their images when they are wanted. No Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from anndata import AnnData

from napari_bio_superposition.core.errors import (
    BioSuperpositionError,
    ImageReadError,
    ModelError,
    list_choices,
)
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, LabelImage, MultichannelImage, PatchSet
from napari_bio_superposition.features.overlays import assemble_overlay
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.inference import TokenCache, encode_patches, latent_maps
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import adapt_to_card, assign_roles, cut_patches
from napari_bio_superposition.workflows.batch_summary import find_fields
from napari_bio_superposition.workflows.collect import IMAGES
from napari_bio_superposition.workflows.loading import LoadedModels
from napari_bio_superposition.workflows.result_folder import (
    SavedResult,
    folder_name,
    read_result,
)
from napari_bio_superposition.workflows.result_view import find_results, read_source_image


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
    """Images by their id, read when they are asked for; the last one is kept.

    Parameters
    ----------
    fields
        Where images lie on disk.
    config
        How they are read and cut.
    at_hand
        Images that are in memory already.
    results
        Folders that `analyze` or `batch` wrote, whose results say where their images are.
    """

    fields: Mapping[str, FieldReference]
    config: AnalyzeConfig
    at_hand: Mapping[str, MultichannelImage] = field(default_factory=dict)
    results: tuple[Path, ...] = ()
    _last: dict[str, MultichannelImage] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        config: AnalyzeConfig,
        at_hand: Mapping[str, MultichannelImage] | None = None,
    ) -> "ImageLibrary":
        """List the images of files and folders, results among them; no pixel is read."""
        results = tuple(path for path in paths if (path / IMAGES).is_dir() and find_results(path))
        others = [str(path) for path in paths if path not in results]
        fields = find_fields(others, config.reading) if others or not (results or at_hand) else ()
        by_id = {reference.id: reference for reference in fields}
        return cls(by_id, config, at_hand or {}, results)

    def read(self, image_id: str) -> MultichannelImage:
        """Return one image.

        Raises
        ------
        ImageReadError
            Where it is not among the images.
        """
        if image_id in self.at_hand:
            return self.at_hand[image_id]
        if image_id not in self._last:
            image = self._read(image_id)
            self._last.clear()
            self._last[image_id] = image
        return self._last[image_id]

    def _read(self, image_id: str) -> MultichannelImage:
        if image_id in self.fields:
            return read_field(self.fields[image_id], config=self.config.reading)
        if (found := self._find_result(image_id)) is not None:
            return read_source_image(found)
        known = [*self.at_hand, *self.fields]
        among = f"is not among {list_choices(known[:5])}" if known else "is in none of the results"
        raise ImageReadError(
            f"The image {image_id} of the table {among}. Give the folder with the images that "
            "were analysed."
        )

    def read_nuclei(self, image_id: str) -> LabelImage | None:
        """Return the nuclei that a result has of an image; ``None`` where none has any."""
        found = self._find_result(image_id)
        return None if found is None else found.labels()

    def _find_result(self, image_id: str) -> SavedResult | None:
        folders = (folder / IMAGES / folder_name(image_id) for folder in self.results)
        found = next((folder for folder in folders if folder.is_dir()), None)
        return None if found is None else read_result(found)


def cut_thumbnails(
    table: AnnData,
    rows: Sequence[int],
    feature: str,
    library: ImageLibrary,
    models: LoadedModels,
    *,
    missing: dict[str, str] | None = None,
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
    missing
        Takes the reason, by image, why its patches are left out; without it that is an error.

    Returns
    -------
    dict of int to Thumbnail
        By row.
    """
    cut = yield from cut_examples(table, {feature: rows}, library, models, missing=missing)
    return cut[feature]


def cut_examples(
    table: AnnData,
    wanted: Mapping[str, Sequence[int]],
    library: ImageLibrary,
    models: LoadedModels,
    *,
    missing: dict[str, str] | None = None,
) -> Job[dict[str, dict[int, Thumbnail]]]:
    """Cut patches for several features: each image is read once, each patch encoded once.

    Parameters
    ----------
    table, library, models, missing
        As for `cut_thumbnails`.
    wanted
        Rows of the table by feature.

    Returns
    -------
    dict of str to dict of int to Thumbnail
        By feature and row.
    """
    images = table.obs[Keys.IMAGE].astype(str).to_numpy()
    by_image: dict[str, list[int]] = {}
    for row in dict.fromkeys(int(row) for rows in wanted.values() for row in rows):
        by_image.setdefault(str(images[row]), []).append(row)
    cut: dict[str, dict[int, Thumbnail]] = {feature: {} for feature in wanted}
    for done, (image_id, members) in enumerate(by_image.items()):
        yield Progress("Cutting patches", done, len(by_image), "images")
        here = {name: [row for row in members if row in set(rows)] for name, rows in wanted.items()}
        try:
            found = yield from _cut_from_image(table, image_id, here, library, models)
        except (BioSuperpositionError, OSError) as error:
            if missing is None:
                raise
            missing[image_id] = str(error)
            continue
        for feature, thumbnails in found.items():
            cut[feature] |= thumbnails
    return cut


def _cut_from_image(
    table: AnnData,
    image_id: str,
    wanted: Mapping[str, Sequence[int]],
    library: ImageLibrary,
    models: LoadedModels,
) -> Job[dict[str, dict[int, Thumbnail]]]:
    card = models.features.card
    image = assign_roles(library.read(image_id), library.config, card)
    yield Progress("Cutting patches")
    patches = cut_patches(image, card.channel_roles, adapt_to_card(library.config, card))
    rows = list(dict.fromkeys(row for some in wanted.values() for row in some))
    names = [str(table.obs_names[row]) for row in rows]
    pixels = _pixels_of(patches, names)
    place = {row: index for index, row in enumerate(rows)}
    maps = yield from _activations(pixels, wanted, place, models)
    seen = [see(one, card) for one in pixels]
    return {
        feature: {
            row: Thumbnail(names[place[row]], pixels[place[row]], seen[place[row]], one)
            for row, one in zip(some, maps[feature], strict=True)
        }
        for feature, some in wanted.items()
    }


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


def _activations(
    pixels: FloatArray,
    wanted: Mapping[str, Sequence[int]],
    place: Mapping[int, int],
    models: LoadedModels,
) -> Job[dict[str, list[FloatArray]]]:
    """Return the map of each feature on the pixels of its patches, which are encoded once."""
    encoded = yield from encode_patches(models.features, pixels, keep_tokens=True)
    tokens = encoded.tokens
    if tokens is None:
        raise ModelError("The model kept no tokens. This is a defect; please report it.")
    side, corner = pixels.shape[-1], np.zeros((1, 2), np.int64)
    drawn: dict[str, list[FloatArray]] = {}
    for feature, rows in wanted.items():
        some = [place[row] for row in rows]
        part = TokenCache(tokens.unit[some], tokens.norms[some], tokens.map_shape)
        maps = latent_maps(models.features, part, [latent_of(feature)])[0] if some else ()
        drawn[feature] = [assemble_overlay(one[None], corner, side, (side, side)) for one in maps]
    return drawn
