"""Exploring features without a window: lists, comparisons, regions, galleries, made images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.features.differential import compare_groups
from napari_bio_superposition.features.notes import (
    NoteBook,
    change_notes,
    notes_path,
    read_notes,
)
from napari_bio_superposition.features.search import filter_features, list_features, write_list
from napari_bio_superposition.features.similarity import column_of
from napari_bio_superposition.features.table import read_table
from napari_bio_superposition.models.activation_maximization import maximize_activation
from napari_bio_superposition.models.card import read_card
from napari_bio_superposition.models.catalogue import bundled_folder, find_model, user_folder
from napari_bio_superposition.workflows.explore_config import ExploreConfig
from napari_bio_superposition.workflows.explore_image import (
    ask_image,
    open_library,
    settings_of,
)
from napari_bio_superposition.workflows.explore_result import ExploreResult
from napari_bio_superposition.workflows.feature_gallery import Gallery, write_gallery
from napari_bio_superposition.workflows.loading import load_models

_OF_IMAGE: Final = ("region", "channel", "match", "effect", "overlay")
"""Questions that need the tokens of one image."""


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
        The images behind the table, or folders that `analyze` or `batch` wrote: for pictures, and
        for questions about one image.
    mask
        An image of whole numbers, each a region; 0 is background. Regions need it; channels and
        effects are otherwise about all patches.

    Raises
    ------
    TableError, RegionError, ConfigError
        Where the question cannot be answered, with what to do.
    """
    yield Progress("Reading the table")
    table = open_table(source)
    if config.do == "compare":
        return _compare(table, config, out)
    if config.do == "note":
        return _take_note(table, config)
    if config.do in ("region", "channel", "match"):
        job = ask_image(table, (), config, out, images=images, mask=mask)
        return (yield from job)
    notes = read_notes(notes_of_model(config.model))
    listed = filter_features(list_features(table, groupby=config.groupby), config.find, notes)
    if config.do == "list":
        return _keep_list(listed, config, out)
    chosen = list(config.features) or listed["feature"].head(config.n_shown).tolist()
    if not chosen:
        raise TableError("No feature fits the filter. Widen it, or name some with --features.")
    if config.do in _OF_IMAGE:
        return (yield from ask_image(table, chosen, config, out, images=images, mask=mask))
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


def _keep_list(listed: pd.DataFrame, config: ExploreConfig, out: Path) -> ExploreResult:
    files = [write_list(listed, out / "features.csv")]
    if config.keep_list:
        latents = listed["latent"].tolist()
        change_notes(
            _own_notes(config.model), lambda book: book.with_list(config.keep_list, latents)
        )
    return ExploreResult(listed.head(config.n_shown), tuple(files))


def _take_note(table: AnnData, config: ExploreConfig) -> ExploreResult:
    """Name a feature, or write a note, for all images of the model."""
    if len(config.features) != 1:
        raise TableError("A note is about one feature. Name it with --features latent_00042.")
    latent = latent_of(config.features[0])
    if not 0 <= latent < table.n_vars:
        raise TableError(f"There is no feature {config.features[0]} among {table.n_vars}.")

    def change(book: NoteBook) -> NoteBook:
        book = book.with_name(latent, config.name) if config.name else book
        return book.with_note(latent, config.note) if config.note else book

    path = _own_notes(config.model)
    book = change_notes(path, change)
    found = pd.DataFrame(
        {
            "feature": config.features,
            "name": [book.names.get(latent, "")],
            "note": [book.notes.get(latent, "")],
        }
    )
    return ExploreResult(found, (path,))


def _own_notes(model: str) -> Path:
    path = notes_of_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


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
        models, library = yield from open_library(table, config, images)
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
    models = yield from load_models(settings_of(table, config.model, config.device))
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
