"""From a folder of images and a table to a store of patches, resumable. No training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from napari_bio_superposition.core.errors import ConfigError, ImageReadError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import hash_config, hash_file
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.patch_store import (
    STORE_FILE,
    PatchStore,
    PatchWriter,
    StoreInfo,
)
from napari_bio_superposition.imaging.patches import extract_patches
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.workflows.batch_summary import FailureLog, attempt, find_fields
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.hashing import hash_image
from napari_bio_superposition.workflows.metadata import Metadata, read_column, read_metadata
from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig

KNOWN_CLASSES = (Keys.GENOTYPE, Keys.LINE, Keys.TREATMENT, Keys.PLATE, Keys.WELL)


def build_patch_store(
    folder: str | Path | Sequence[str | Path],
    table: str | Path | None,
    out: str | Path,
    config: TrainingDataConfig | None = None,
) -> Job[PatchStore]:
    """Cut the accepted patches of all images into one memory-mapped store.

    Images are read one after the other; memory holds one. A store that is there, made of the same
    files with the same settings and table, is opened as it is; an unfinished one is gone on with.

    Parameters
    ----------
    folder
        Images, folders of images, or Harmony export folders.
    table
        CSV with what file names do not say; see `read_metadata`. ``None`` where they say all.
    out
        Folder of the store.
    config
        Channels, classes, reading and patches.

    Returns
    -------
    PatchStore
        With the failures by image in its ``info``; a bad image does not stop the others.

    Raises
    ------
    ImageReadError
        Where no image gave a patch.
    ConfigError
        Where the class column does not exist.
    """
    config, out = config or TrainingDataConfig(), Path(out)
    fields = find_fields(folder, config.reading)
    known = Metadata() if table is None else read_metadata(Path(table))
    own = _read_own_classes(table, config.class_column)
    info = _describe(fields, table, config, tuple(known.explain_gaps(fields)))
    if (out / STORE_FILE).is_file() and StoreInfo.read(out).key == info.key:
        return PatchStore.open(out)
    writer, failures = PatchWriter(out, info), FailureLog()
    for done, reference in enumerate(fields):
        yield Progress("Cutting patches", done, len(fields), "images")
        if reference.id not in writer.done:
            job = _append(writer, reference, known, config)
            yield from attempt(job, failures.of(reference.id))
    yield Progress("Cutting patches", len(fields), len(fields), "images")
    if not writer.n_patches:
        raise ImageReadError(_explain_nothing(failures.reasons))
    obs = writer.obs()
    column, classes = choose_classes(obs, config.class_column, own)
    return writer.finish(classes, class_column=column, failures=failures.reasons)


@dataclass(frozen=True, eq=False)
class TrainingPreview:
    """What a training would see, known without reading a pixel.

    Parameters
    ----------
    counts
        One row per class, line and plate with the number of ``wells`` and ``images``.
    class_column
        Where the classes come from; empty where there are none.
    warnings
        What looks wrong, one sentence each.
    """

    counts: pd.DataFrame
    class_column: str
    warnings: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        """Images in all."""
        return int(self.counts["images"].sum())


def preview_training(
    folder: str | Path | Sequence[str | Path],
    table: str | Path | None,
    config: TrainingDataConfig | None = None,
) -> Job[TrainingPreview]:
    """Count images and wells by class, line and plate; see `build_patch_store`."""
    config = config or TrainingDataConfig()
    yield Progress("Listing images")
    fields = find_fields(folder, config.reading)
    known = Metadata() if table is None else read_metadata(Path(table))
    own = _read_own_classes(table, config.class_column)
    places = [known.describe(field.acquisition) for field in fields]
    obs = pd.DataFrame([asdict(place) | {Keys.GROUP: place.group} for place in places])
    obs = obs.rename(columns={"id": Keys.IMAGE})
    column, obs["class"] = choose_classes(obs, config.class_column, own)
    keys = ["class", Keys.LINE, Keys.PLATE]
    groups = obs.groupby(keys, sort=True)
    counts = groups.agg(wells=(Keys.GROUP, "nunique"), images=(Keys.IMAGE, "size")).reset_index()
    warnings = (*known.explain_gaps(fields), *_explain_counts(counts, column))
    return TrainingPreview(counts, column, warnings)


def _explain_counts(counts: pd.DataFrame, class_column: str) -> list[str]:
    """Return what the counts say about a training on them."""
    if not class_column:
        return ["There are no classes: the encoder learns from two views of each patch alone."]
    warnings = []
    wells = counts.groupby("class")["wells"].sum()
    if few := [name for name in wells.index[wells < 3] if name]:
        warnings.append(
            f"Fewer than 3 wells of {list_choices(few)}: not enough to train, choose and test by "
            "wells."
        )
    plates = counts[counts["class"] != ""].groupby("plate")["class"].nunique()
    if len(plates) > 1 and (plates == 1).all():
        warnings.append(
            "Each plate holds one class: what the encoder learns may be the plate. No split can "
            "tell the two apart."
        )
    return warnings


def _append(
    writer: PatchWriter, reference: FieldReference, known: Metadata, config: TrainingDataConfig
) -> Job[None]:
    """Cut one image into the store."""
    image = read_field(
        reference, config.reading, roles=config.roles, extra_roles=config.channel_roles
    )
    image = known.complete(image)
    yield Progress("Cutting patches", notice="")
    patches = extract_patches(image, config.channel_roles, config.patches)
    writer.append(patches, content_hash=hash_image(image))


def choose_classes(
    obs: pd.DataFrame, class_column: str, own: Metadata | None = None
) -> tuple[str, list[str]]:
    """Return the column that gives the classes, and the class of each row.

    Parameters
    ----------
    obs
        Rows of patches with genotype, line and so on.
    class_column
        A column, ``auto`` (genotype, else line, else none) or ``none``.
    own
        Classes by image or well of a column that obs does not have; see `read_column`.

    Returns
    -------
    tuple
        ``("", ["", ...])`` where there are no classes.
    """
    if own is not None:
        return class_column, [own.look_up(*place) for place in _places(obs)]
    if class_column == "auto":
        filled = [name for name in (Keys.GENOTYPE, Keys.LINE) if obs[name].nunique() > 1]
        class_column = filled[0] if filled else "none"
    if class_column == "none":
        return "", [""] * len(obs)
    return class_column, obs[class_column].tolist()


def _places(obs: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(zip(obs[Keys.IMAGE], obs[Keys.PLATE], obs[Keys.WELL], strict=True))


def _read_own_classes(table: str | Path | None, column: str) -> Metadata | None:
    """Return the values of a column that only the user's table has."""
    if column in ("auto", "none", *KNOWN_CLASSES):
        return None
    if table is None:
        raise ConfigError(
            f"The class column {column!r} is none of {list_choices(KNOWN_CLASSES)}, and there is "
            "no table that could have it. Choose one of these, or give a table."
        )
    return read_column(Path(table), column)


def _describe(
    fields: Sequence[FieldReference],
    table: str | Path | None,
    config: TrainingDataConfig,
    warnings: tuple[str, ...],
) -> StoreInfo:
    """Return what the store will say of itself; its key changes when any input does."""
    settings = config_to_plain(config)
    inputs: Mapping[str, Any] = {reference.id: _stamp(reference.path) for reference in fields}
    table_hash = "" if table is None else hash_file(Path(table))
    return StoreInfo(
        key=hash_config({"settings": settings, "inputs": inputs, "table": table_hash}),
        channel_roles=config.channel_roles,
        side_px=config.patches.side_px,
        intensity_scaling=config.patches.intensity_scaling,
        low_percentile=config.patches.low_percentile,
        high_percentile=config.patches.high_percentile,
        settings=settings,
        warnings=warnings,
    )


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file, which tell cheaply that it is still the same."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _explain_nothing(failures: Mapping[str, str]) -> str:
    if failures:
        name, reason = next(iter(failures.items()))
        return f"No image gave a patch; {name} failed: {reason}"
    return (
        "No patch passed the quality control. Look at the images with `analyze`, which gives the "
        "reason of each patch, or relax the rules (data.patches.quality)."
    )
