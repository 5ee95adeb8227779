"""A saved result as it is, for looking at: nuclei, patches, its image where it still is. No Qt."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_bio_superposition.core.errors import BioSuperpositionError, ImageReadError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.core.types import Acquisition, MultichannelImage, PatchSet
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.naming import natural_key
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.imaging.read_config import ReadConfig
from napari_bio_superposition.workflows.analyze import ImageAnalysis
from napari_bio_superposition.workflows.batch_plan import PLAN, read_plan
from napari_bio_superposition.workflows.collect import IMAGES
from napari_bio_superposition.workflows.hashing import hash_image
from napari_bio_superposition.workflows.result_folder import (
    RESULT,
    SavedResult,
    saved_config,
)


def find_results(path: Path) -> list[Path]:
    """Return the result folders behind a path, in natural order; none where there is no result.

    Parameters
    ----------
    path
        Folder of one image's result, its ``result.json``, or the folder of a run of ``analyze`` or
        ``batch`` with one such folder per image under ``images``.
    """
    if path.name == RESULT:
        path = path.parent
    if (path / RESULT).is_file():
        return [path]
    inside = path if path.name == IMAGES else path / IMAGES
    return sorted((file.parent for file in inside.glob(f"*/{RESULT}")), key=natural_key)


def read_source_image(saved: SavedResult) -> MultichannelImage:
    """Read the image that a result was made from, where its file still is.

    Raises
    ------
    ImageReadError
        Where the result does not say which file it was, the file is gone, or its pixels differ.
    """
    reference, reading = _find_source(saved)
    reading = replace(reading, series=reference.field) if reference.field else reading
    image = read_field(reference, reading)
    if hash_image(image) not in saved.values["provenance"]["inputs"].values():
        raise ImageReadError(f"the pixels of {reference.path} are not those that were analysed")
    return image.with_roles(saved.values["roles"])


def view_result(saved: SavedResult, image: MultichannelImage | None) -> ImageAnalysis:
    """Return what a result folder says of nuclei and patches, without cutting patches again.

    Features are not part of it: `load_analysis` brings them back to the image.

    Parameters
    ----------
    saved
        From `read_result`.
    image
        From `read_source_image`; ``None`` where it is missing, and blank pixels stand in.

    Raises
    ------
    TableError
        Where a file of the result is damaged.
    """
    try:
        return _view(saved, image or _blank_image(saved))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{saved.folder.name} cannot be shown ({type(error).__name__}: {error}). "
            "Analyse its image again."
        ) from error


def _find_source(saved: SavedResult) -> tuple[FieldReference, ReadConfig]:
    acquisition = Acquisition(**saved.values["acquisition"])
    source, run = saved.values.get("source"), saved.folder.parent.parent
    if source is None and (run / PLAN).is_file():
        units = {unit.id: unit for unit in read_plan(run).units}
        if (unit := units.get(acquisition.id)) is not None:
            source = {"path": unit.path, "entry": unit.entry}
    if source is None:
        raise ImageReadError("the result does not say which file it was")
    path = Path(source["path"])
    if not path.exists():
        raise ImageReadError(f"{path} is not there any more")
    reading = saved_config(saved).reading
    return FieldReference(acquisition.id, path, source["entry"], acquisition), reading


def _blank_image(saved: SavedResult) -> MultichannelImage:
    values = saved.values
    names = tuple(values["channel_names"])
    return MultichannelImage(
        pixels=np.broadcast_to(np.uint8(0), (len(names), *values["shape"])),
        channel_names=names,
        roles=values["roles"],
        full_scale=255.0,
        pixel_size_um=values["pixel_size_um"],
        acquisition=Acquisition(**values["acquisition"]),
        translate_um=tuple(values.get("translate_um", (0.0, 0.0))),
    )


def _view(saved: SavedResult, image: MultichannelImage) -> ImageAnalysis:
    manifest = saved.manifest()
    measured = manifest.set_index("patch_id").iloc[:, list(manifest).index("reason") :]
    side = saved_config(saved).patches.side_px
    roles = tuple(saved.values["patch_roles"])
    patches = PatchSet(
        image=image,
        pixels=np.broadcast_to(np.float32(0), (len(manifest), len(roles), side, side)),
        channel_roles=roles,
        origins=manifest[[Keys.Y, Keys.X]].to_numpy(np.int64),
        accepted=manifest["accepted"].to_numpy(bool),
        reasons=tuple(manifest["reason"].astype(str)),
        quality={str(name): values.to_numpy() for name, values in measured.items()},
    )
    return ImageAnalysis(
        image=image,
        labels=saved.labels(),
        patches=patches,
        dye=None,
        death=measured if Keys.DEATH in measured else None,
        table=None,
        tokens=None,
        provenance=Provenance(**saved.values["provenance"]),
        skipped=saved.values["skipped"],
        warnings=tuple(saved.values["warnings"]),
    )


def explain_missing_image(saved: SavedResult, error: BioSuperpositionError) -> str:
    """Return one sentence on why a result is shown without its image."""
    return (
        f"{saved.values['id']} is shown without its image: {str(error).rstrip('.')}. Open the "
        "image and load the result in the dock Analyse."
    )
