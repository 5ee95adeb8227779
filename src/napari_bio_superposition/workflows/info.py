"""What is on this computer, and what an image or a result holds."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from napari_bio_superposition.core.errors import BioSuperpositionError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.features.table import read_table
from napari_bio_superposition.imaging.read import read_field
from napari_bio_superposition.models.card import CARD_FILE, read_card
from napari_bio_superposition.models.catalogue import find_model, list_models
from napari_bio_superposition.models.device import choose_device, list_devices
from napari_bio_superposition.workflows.analyze_files import SUMMARY
from napari_bio_superposition.workflows.batch_summary import find_fields, name_skipped
from napari_bio_superposition.workflows.info_config import InfoConfig
from napari_bio_superposition.workflows.result_folder import RESULT, read_result


def describe_computer(config: InfoConfig | None = None) -> dict[str, Any]:
    """Return versions, devices and feature models.

    Raises
    ------
    DeviceError
        Where the device that was asked for is not there.
    """
    config = config or InfoConfig()
    return {
        "versions": package_versions(),
        "devices": list_devices(),
        "device chosen": choose_device(config.device),
        "models": list(list_models()),
    }


def describe_path(path: Path, config: InfoConfig | None = None) -> dict[str, Any]:
    """Return what an image, a result folder, a table or a model holds, as JSON values.

    A model is given by its folder or, where no file is called so, by its name.

    Raises
    ------
    BioSuperpositionError
        Where *path* is none of these.
    """
    config = config or InfoConfig()
    if (path / CARD_FILE).is_file():
        return dataclasses.asdict(read_card(path))
    if not path.exists() and str(path) in list_models():
        return dataclasses.asdict(read_card(find_model(str(path))))
    if (path / RESULT).is_file():
        return dict(read_result(path).values)
    if (path / SUMMARY).is_file():
        return _describe_summary(path / SUMMARY)
    if path.suffix == ".h5ad" or _is_table(path):
        return _describe_table(path)
    return _describe_images(path, config)


def _describe_summary(path: Path) -> dict[str, Any]:
    """Return what a run over many images has written about itself."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {
            "images": {image["id"]: _shorten(image) for image in values["images"]},
            **{name: values[name] for name in ("failures", "warnings", "outputs", "settings")},
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{path} is no summary that can be read ({type(error).__name__}: {error}). "
            "Choose a folder that `analyze` wrote."
        ) from error


def _shorten(image: dict[str, Any]) -> dict[str, Any]:
    shown = ("n_nuclei", "patches", "death", "skipped", "warnings")
    return {name: image[name] for name in shown}


def _is_table(path: Path) -> bool:
    """Whether a .zarr folder holds an AnnData rather than an image."""
    for name in (".zattrs", "zarr.json"):
        file = path / name
        if file.is_file() and '"anndata"' in file.read_text(encoding="utf-8", errors="replace"):
            return True
    return False


def _describe_table(path: Path) -> dict[str, Any]:
    table = read_table(path)
    provenance = table.uns.get(Keys.PROVENANCE)
    if provenance is None:
        raise TableError(f"{path.name} is an AnnData table, but not one of ours.")
    return {
        "patches": table.n_obs,
        "features": table.n_vars,
        "columns": list(table.obs.columns),
        "embeddings": list(table.obsm),
        "provenance": json.loads(provenance),
    }


def _describe_images(path: Path, config: InfoConfig) -> dict[str, Any]:
    fields = find_fields([path], config.reading)
    described: dict[str, Any] = {}
    unread = name_skipped(fields)
    for reference in fields:
        try:
            image = read_field(reference, config=config.reading)
        except BioSuperpositionError as error:
            if len(fields) == 1:
                raise
            unread[reference.id] = str(error)
            continue
        described[reference.id] = {
            "shape (y, x)": list(image.shape),
            "type": str(image.pixels.dtype),
            "channels": list(image.channel_names),
            "roles": dict(image.roles),
            "pixel size (um)": image.pixel_size_um,
            "plate": image.acquisition.plate,
            "well": image.acquisition.well,
            "field": image.acquisition.field,
            "warnings": list(image.warnings),
        }
    return {"images": described, "not read": unread}
