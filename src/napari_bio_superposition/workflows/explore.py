"""Exploring features without a window: lists, comparisons, regions, galleries, made images."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import RegionError, TableError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.features.differential import compare_groups
from napari_bio_superposition.features.notes import NoteBook, notes_path, read_notes
from napari_bio_superposition.features.regions import split_regions
from napari_bio_superposition.features.search import filter_features, list_features, write_list
from napari_bio_superposition.features.similarity import column_of
from napari_bio_superposition.features.table import read_provenance, read_table
from napari_bio_superposition.models.activation_maximization import maximize_activation
from napari_bio_superposition.models.card import read_card
from napari_bio_superposition.models.catalogue import bundled_folder, find_model, user_folder
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import (
    ImageAnalysis,
    adapt_to_card,
    assign_roles,
    cut_patches,
    restore_tokens,
)
from napari_bio_superposition.workflows.config_files import config_from_plain
from napari_bio_superposition.workflows.explore_config import ExploreConfig
from napari_bio_superposition.workflows.explore_images import ImageLibrary
from napari_bio_superposition.workflows.feature_gallery import Gallery, write_gallery
from napari_bio_superposition.workflows.loading import LoadedModels, load_models
from napari_bio_superposition.workflows.region_query import rank_latents


@dataclass(frozen=True, eq=False)
class ExploreResult:
    """What was found: a table for a person, and the files that were written."""

    found: pd.DataFrame
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "rows": self.found.to_dict("records"),
            "files": [str(path) for path in self.files],
            "notes": list(self.notes),
        }


def explore(
    source: Path,
    config: ExploreConfig,
    out: Path,
    *,
    images: Sequence[Path] = (),
    mask: Path | None = None,
) -> Job[ExploreResult]:
    """Answer one question about the features of a table.

    Parameters
    ----------
    source
        A table (``.h5ad``, ``.zarr``) or a folder that `analyze` wrote.
    config
        The question.
    out
        Folder for what is written.
    images
        The images behind the table: for regions and for pictures.
    mask
        For regions: an image of whole numbers, each a region; 0 is background.

    Raises
    ------
    TableError, RegionError, ConfigError
        Where the question cannot be answered, with what to do.
    """
    yield Progress("Reading the table")
    table = open_table(source)
    if config.do == "region":
        return (yield from _ask_region(table, config, out, images, mask))
    if config.do == "compare":
        return _compare(table, config, out)
    notes = read_notes(notes_of_model(config.model))
    listed = filter_features(list_features(table, groupby=config.groupby), config.find, notes)
    if config.do == "list":
        return ExploreResult(
            listed.head(config.n_shown), (write_list(listed, out / "features.csv"),)
        )
    chosen = list(config.features) or listed["feature"].head(config.n_shown).tolist()
    if config.do == "gallery":
        return (yield from _draw_gallery(table, chosen, notes, config, (out, images)))
    return (yield from _maximize(table, chosen[0], config, out))


def open_table(source: Path) -> AnnData:
    """Read a table, or that of a folder that `analyze` wrote.

    Raises
    ------
    TableError
        Where there is none.
    """
    path = source / "patches.h5ad" if source.is_dir() and source.suffix != ".zarr" else source
    if not path.exists():
        raise TableError(
            f"{source} holds no table (patches.h5ad). Give a table, or a folder that `analyze` "
            "wrote."
        )
    return read_table(path)


def notes_of_model(model: str) -> Path:
    """Return where the notes of a model lie: beside it, or in the user's folder."""
    folder = find_model(model)
    sha256 = read_card(folder).weights_sha256
    own = folder if bundled_folder() not in folder.resolve().parents else None
    return notes_path(own, sha256, user_folder().parent / "notes")


def _compare(table: AnnData, config: ExploreConfig, out: Path) -> ExploreResult:
    if config.groupby not in table.obs:
        raise TableError(
            f"The table has no column {config.groupby!r}. Choose one of: {list_choices(table.obs)}."
        )
    classes = table.obs[config.groupby].astype(str).to_numpy()
    names = np.unique(classes).tolist()
    for name in filter(None, (config.first, config.second)):
        if name not in names:
            raise TableError(
                f"There is no class {name!r} in {config.groupby!r}. "
                f"Choose one of: {list_choices(names)}."
            )
    if not config.first:
        raise TableError(f"Say which class is compared, with --first: {list_choices(names)}.")
    second = classes == config.second if config.second else None
    found = compare_groups(table, classes == config.first, second, config.differential)
    warning = str(found["warning"].iloc[0]) if len(found) else ""
    path = write_list(found, out / "differential.csv")
    shown = found.drop(columns="warning").head(config.n_shown)
    return ExploreResult(shown, (path,), (warning,) if warning else ())


def _ask_region(
    table: AnnData,
    config: ExploreConfig,
    out: Path,
    images: Sequence[Path],
    mask: Path | None,
) -> Job[ExploreResult]:
    if mask is None or not images:
        raise RegionError(
            "A region needs the painted mask and the image. Give --mask and --images."
        )
    models, library = yield from _load(table, config, images)
    ids = table.obs[Keys.IMAGE].astype(str).unique().tolist()
    if not config.image and len(ids) > 1:
        raise RegionError(f"Say in which image, with --image: {list_choices(ids[:8])}.")
    analysis = yield from _encode_image(table, config.image or ids[0], models, library)
    found = rank_latents(
        analysis,
        models,
        _read_mask(mask),
        config.query,
        rng=np.random.default_rng(config.seed),
    )
    path = write_list(found, out / "region.csv")
    shown = found.groupby("region", sort=False).head(config.n_shown)
    notes = [f"{name}: {counts}" for name, counts in found.attrs.items()]
    return ExploreResult(shown, (path,), tuple(notes))


def _encode_image(
    table: AnnData, image_id: str, models: LoadedModels, library: ImageLibrary
) -> Job[ImageAnalysis]:
    card = models.features.card
    image = assign_roles(library.read(image_id), library.config, card)
    patches = cut_patches(image, card.channel_roles, adapt_to_card(library.config, card))
    is_row = np.isin(np.array(patches.ids), table.obs_names.to_numpy(str))
    patches = dataclasses.replace(patches, accepted=is_row)
    if not is_row.any():
        raise RegionError(f"The table has no patch of the image {image_id}. Choose another image.")
    provenance = Provenance({}, {}, library.config.seed, models.device, {}, {}, card.flags)
    analysis = ImageAnalysis(
        image=image,
        labels=None,
        patches=patches,
        dye=None,
        death=None,
        table=None,
        tokens=None,
        provenance=provenance,
    )
    return (yield from restore_tokens(analysis, models))


def _read_mask(path: Path) -> dict[str, BoolArray]:
    from skimage.io import imread

    try:
        painted = np.squeeze(np.asarray(imread(path)))
    except Exception as error:  # readers raise whatever a damaged byte leads to
        raise RegionError(
            f"{path.name} cannot be read as a mask ({type(error).__name__}: {error}). "
            "Save the Labels layer as TIFF or PNG."
        ) from error
    return split_regions(painted)


def _draw_gallery(
    table: AnnData,
    features: Sequence[str],
    notes: NoteBook,
    config: ExploreConfig,
    places: tuple[Path, Sequence[Path]],
) -> Job[ExploreResult]:
    out, images = places
    models, library = None, None
    if images:
        models, library = yield from _load(table, config, images)
    job = write_gallery(
        table,
        Gallery(features, notes, config.groupby),
        out / "gallery.html",
        library=library,
        models=models,
        rng=np.random.default_rng(config.seed),
    )
    path = yield from job
    hint = () if images else ("Without --images the page has no pictures.",)
    return ExploreResult(pd.DataFrame({"feature": features}), (path,), hint)


def _maximize(table: AnnData, feature: str, config: ExploreConfig, out: Path) -> Job[ExploreResult]:
    models = yield from load_models(_analysis_config(table, config))
    made = yield from maximize_activation(
        models.features,
        latent_of(feature),
        config.maximize,
        real=column_of(table, feature).astype(np.float32),
        rng=np.random.default_rng(config.seed),
    )
    path = out / f"maximized_{feature}.npz"
    with replaced_file(path) as part, part.open("wb") as stream:
        arrays = {name: value for name, value in vars(made).items() if name != "latent"}
        np.savez_compressed(stream, **arrays)
    found = pd.DataFrame(
        {
            name: getattr(made, name)
            for name in ("decay", "jitter_px", "seed", "score", "robust_score", "percentile")
        }
    )
    found.insert(0, "feature", feature)
    return ExploreResult(found.head(config.n_shown), (path,))


def _load(
    table: AnnData, config: ExploreConfig, images: Sequence[Path]
) -> Job[tuple[LoadedModels, ImageLibrary]]:
    settings = _analysis_config(table, config)
    models = yield from load_models(settings)
    made_with = read_provenance(table).models.values()
    sha256 = models.features.card.weights_sha256
    if sha256 and sha256 not in made_with:
        raise TableError(
            f"The table was made with another model than {config.model}. Give that one with "
            "--model."
        )
    return models, ImageLibrary.open(images, settings)


def _analysis_config(table: AnnData, config: ExploreConfig) -> AnalyzeConfig:
    """Return the settings that the table was made with, on the wanted device."""
    plain = dict(read_provenance(table).config)
    plain = plain["differing"][0] if "differing" in plain else plain
    known = {entry.name for entry in dataclasses.fields(AnalyzeConfig)}
    own = {name: value for name, value in plain.items() if name in known}  # a demo has more
    settings = config_from_plain(own, AnalyzeConfig)
    segmentation = dataclasses.replace(settings.segmentation, method="watershed")
    return dataclasses.replace(
        settings, model=config.model, device=config.device, segmentation=segmentation
    )
