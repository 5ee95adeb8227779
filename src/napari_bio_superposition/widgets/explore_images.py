"""Opens the image behind a row of a table, with its saved result where there is one. No Qt."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.preload import gentle_imports

if TYPE_CHECKING:
    from napari_bio_superposition.core.types import MultichannelImage
    from napari_bio_superposition.workflows.analyze import ImageAnalysis
    from napari_bio_superposition.workflows.loading import LoadedModels

_STEP = "Opening the image"


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image that was found, with what is known of it.

    Parameters
    ----------
    image
        As its file says.
    analysis, models
        Its saved result with tokens, and the networks that made it; ``None`` without one.
    """

    image: "MultichannelImage"
    analysis: "ImageAnalysis | None" = None
    models: "LoadedModels | None" = None


def open_image(
    image_id: str, images: Path, results: Path | None, models: "LoadedModels | None" = None
) -> Job[OpenedImage]:
    """Find an image by its id, and its result beside the table.

    Parameters
    ----------
    image_id
        As the table names it.
    images
        Folder of images, export, or file.
    results
        Folder that `analyze` wrote, with the table in it; ``None`` where it is not known.
    models
        Networks that are loaded already.

    Raises
    ------
    ImageReadError
        Where no image has this id.
    """
    yield Progress(_STEP)
    with gentle_imports():
        from napari_bio_superposition.imaging.read import open_fields, read_field
        from napari_bio_superposition.workflows.collect import IMAGES
        from napari_bio_superposition.workflows.result_folder import folder_name

    fields = open_fields(images)
    reference = next((field for field in fields if field.id == image_id), None)
    if reference is None:
        raise ImageReadError(
            f"None of the {len(fields)} images in {images} is {image_id}. "
            "Choose the folder of the images that were analysed."
        )
    yield Progress(_STEP)
    image = read_field(reference)
    if results is None or not (results / IMAGES / folder_name(image_id)).is_dir():
        return OpenedImage(image)
    folder = results / IMAGES / folder_name(image_id)
    return (yield from _with_result(image, folder, models))


def _with_result(
    image: "MultichannelImage", folder: Path, models: "LoadedModels | None"
) -> Job[OpenedImage]:
    yield Progress("Reading the result")
    with gentle_imports():
        from napari_bio_superposition.workflows.analyze import restore_tokens
        from napari_bio_superposition.workflows.loading import load_models
        from napari_bio_superposition.workflows.result_folder import (
            load_analysis,
            read_result,
            saved_config,
        )

    analysis = load_analysis(folder, image)
    if models is None:
        models = yield from load_models(saved_config(read_result(folder)))
    if analysis.table is not None:
        analysis = yield from restore_tokens(analysis, models)
    return OpenedImage(image, analysis, models)
