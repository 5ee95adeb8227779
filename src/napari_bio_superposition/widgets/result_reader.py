"""A result folder as napari layers: image where it is, nuclei, patches, dead area. No Qt."""

from pathlib import Path
from typing import TYPE_CHECKING

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.widgets.preload import gentle_imports
from napari_bio_superposition.widgets.result_layers import make_result_layers

if TYPE_CHECKING:
    from napari_bio_superposition.core.types import MultichannelImage
    from napari_bio_superposition.widgets.image_layers import LayerData
    from napari_bio_superposition.workflows.result_folder import SavedResult

_STEP = "Opening the result"


def open_result(path: Path) -> "Job[list[LayerData]]":
    """Return the layers of a saved result, bottom first; of a run, those of its first image.

    Features need the networks: the dock Analyse loads them onto the open image.

    Parameters
    ----------
    path
        See `find_results`.

    Raises
    ------
    TableError
        Where the result is damaged.
    """
    yield Progress(_STEP)
    with gentle_imports():
        from napari_bio_superposition.workflows.result_folder import read_result
        from napari_bio_superposition.workflows.result_view import find_results, view_result

    folders = find_results(path)
    saved = read_result(folders[0])
    if len(folders) > 1:
        note = (
            f"{path.name} holds {len(folders)} images; {saved.values['id']} is shown. "
            "The dock Batch lists them all."
        )
        yield Progress(_STEP, notice=note)
    image = yield from _read_image(saved)
    analysis = view_result(saved, image)
    geometry = Geometry.of_image(analysis.image)
    layers = [] if image is None else make_image_layers(image)
    results = make_result_layers(analysis, geometry, analysis.image.id)
    return layers + [layer.as_layer_data_tuple() for layer in results]


def _read_image(saved: "SavedResult") -> "Job[MultichannelImage | None]":
    """Return the image, or ``None`` with a notice that says why it is missing."""
    from napari_bio_superposition.workflows.result_view import (
        explain_missing_image,
        read_source_image,
    )

    yield Progress(_STEP)
    try:
        return read_source_image(saved)
    except BioSuperpositionError as error:
        yield Progress(_STEP, notice=explain_missing_image(saved, error))
        return None
