"""What napari's File > Open and File > Open Sample call. Thin: reading is in `imaging`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.progress import Job, Progress, run

if TYPE_CHECKING:
    from napari_bio_superposition.widgets.image_layers import LayerData

_ZARR_FILES: Final = ("zarr.json", ".zattrs", ".zgroup")
_RESULT: Final = "result.json"
"""What every result folder holds; `result_folder` says it too, but brings pandas."""


def get_reader(path: str | list[str]) -> "Callable[[str | list[str]], list[LayerData]] | None":
    """Return a reader for *path*, or ``None`` where napari should ask another plugin.

    Parameters
    ----------
    path
        A TIFF or OME-TIFF, an OME-Zarr folder, the index of a Harmony export or its folder; a
        result of ``analyze`` or ``batch``: an image's folder, its ``result.json``, or a whole run.
    """
    paths = [path] if isinstance(path, str) else path
    return read_layers if all(_is_ours(Path(one)) for one in paths) else None


def read_layers(path: str | list[str]) -> "list[LayerData]":
    """Read images as one layer per channel, with names, roles, pixel size and identity.

    Raises
    ------
    ImageReadError
        Where a file cannot be read; the message says why.
    """
    paths = [path] if isinstance(path, str) else path
    return [layer for one in paths for layer in run(open_layers(Path(one)), _tell)]


def open_layers(path: Path) -> "Job[list[LayerData]]":
    """Read one image, or a result; of an export or a run with several fields, the first."""
    yield Progress("Opening the image")
    if _is_result(path):
        from napari_bio_superposition.widgets.result_reader import open_result

        return (yield from open_result(path))
    from napari_bio_superposition.imaging.read import open_fields, read_field
    from napari_bio_superposition.widgets.image_layers import make_image_layers

    if path.name in _ZARR_FILES:
        path = path.parent  # a dialog chooses files, and an OME-Zarr image is a folder
    fields = open_fields(path)
    yield Progress("Opening the image")
    image = read_field(fields[0])
    if len(fields) > 1:
        note = f"{path.name} holds {len(fields)} fields; the first is shown."
        yield Progress("Opening the image", notice=note)
    return make_image_layers(image)


def open_sample() -> "list[LayerData]":
    """Return the embedded sample: one simulated field of neurons in four channels."""
    from napari_bio_superposition.imaging.simulate import sample_image
    from napari_bio_superposition.widgets.image_layers import make_image_layers

    image, _ = sample_image()
    return make_image_layers(image)


def _is_ours(path: Path) -> bool:
    """Whether *path* is one image, export or result; a folder of images is left to others."""
    if _is_result(path):
        return True
    from napari_bio_superposition.imaging.fields import choose_format

    try:
        choose_format(path)
    except ImageReadError:
        return False
    return True


def _is_result(path: Path) -> bool:
    """Whether *path* is what `analyze` or `batch` wrote; told by names, nothing is imported."""
    if path.name == _RESULT:
        return path.is_file()
    return path.is_dir() and (
        (path / _RESULT).is_file() or next(path.glob(f"images/*/{_RESULT}"), None) is not None
    )


def _tell(progress: Progress) -> None:
    if progress.notice:
        from napari.utils.notifications import show_info

        show_info(progress.notice)
