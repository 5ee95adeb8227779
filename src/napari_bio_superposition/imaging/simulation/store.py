"""Writing a simulated study: images, truth, table, RNA; resumable, nothing half written."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import hash_config, package_versions
from napari_bio_superposition.imaging.simulation.camera import CHANNELS
from napari_bio_superposition.imaging.simulation.field import SimulatedField
from napari_bio_superposition.imaging.simulation.study import Study
from napari_bio_superposition.imaging.write import write_image, write_labels

_README: Final = """\
SYNTHETIC DATA - not measured on any organism.

Simulated by napari-bio-superposition {version}. It exists to check tools against known truth; the
genotypes are names of simulated classes, and the genes (SIM-...) do not exist.

images/        one OME-TIFF per field: {channels}; {pixel_size_um} um per pixel
table.csv      image, plate, well, field, line, genotype
truth/         per field: *_nuclei.tif (labels), *_masks.npz (dead, mitochondria, lysosomes),
               *_cells.csv (one row per label: place, latent state, nuisance)
rna.h5ad       simulated counts of other cells of the same kind (absent when none were asked for)
study.json     configuration and seed from which all of this follows
"""
_MASKS: Final = ("dead", "mitochondria", "lysosomes")


@dataclass(frozen=True)
class StudyFolder:
    """A simulated study on disk."""

    path: Path

    @property
    def images(self) -> tuple[Path, ...]:
        """All images, in the order of the table."""
        return tuple(self.image_path(name) for name in self.table["image"])

    @property
    def table(self) -> pd.DataFrame:
        """One row per field: ``image``, ``plate``, ``well``, ``field``, ``line``, ``genotype``."""
        return pd.read_csv(self.path / "table.csv", dtype=str)

    @property
    def rna(self) -> Path:
        """The count matrix; the file is absent where the study has no RNA."""
        return self.path / "rna.h5ad"

    def image_path(self, image: str) -> Path:
        """Return the file of one image."""
        return self.path / "images" / f"{image}.ome.tif"

    def truth_paths(self, image: str) -> tuple[Path, Path, Path]:
        """Return the label image, the masks (npz) and the cell table of one image."""
        truth = self.path / "truth"
        names = ("nuclei.tif", "masks.npz", "cells.csv")
        nuclei, masks, cells = (truth / f"{image}_{name}" for name in names)
        return nuclei, masks, cells

    def is_complete(self, image: str) -> bool:
        """Whether an image and its truth are there; each file appears only when it is whole."""
        return self.image_path(image).exists() and all(
            path.exists() for path in self.truth_paths(image)
        )


def write_study(study: Study, out: str | Path) -> Job[StudyFolder]:
    """Write a study into a folder; fields that are there already are not drawn again.

    Parameters
    ----------
    study
        What to draw.
    out
        Folder to write into, made where it is missing.

    Returns
    -------
    StudyFolder
        Through the job: what was written.

    Raises
    ------
    ImageReadError
        Where the folder holds a different study.
    OutputError
        Where a file cannot be written.
    """
    folder = StudyFolder(Path(out))
    _claim_folder(study, folder)
    for done, spec in enumerate(study.specs):
        yield Progress("Simulating fields", done, len(study), "images")
        if not folder.is_complete(spec.id):
            _write_field(study.field(done), folder)
    if study.config.rna.n_cells and not folder.rna.exists():
        yield Progress("Simulating RNA", len(study), len(study), "images")
        adata = study.rna()
        _write_whole(folder.rna, lambda path: adata.write_h5ad(path, compression="gzip"))
    yield Progress("Simulating fields", len(study), len(study), "images")
    return folder


def _claim_folder(study: Study, folder: StudyFolder) -> None:
    """Note which study the folder holds, or refuse it where it holds another one."""
    config = dataclasses.asdict(study.config)
    about = {"config": config, "config_hash": hash_config(config), "entropy": str(study.entropy)}
    note = folder.path / "study.json"
    if note.exists():
        if not _describes(note, about):
            raise ImageReadError(
                f"{folder.path} holds a study simulated with another configuration or seed. "
                "Choose an empty folder, or the same configuration and seed to go on with it."
            )
        return
    table = study.table
    readme = _README.format(
        version=package_versions().get("napari-bio-superposition", "(development version)"),
        channels=", ".join(CHANNELS),
        pixel_size_um=study.config.pixel_size_um,
    )
    _write_whole(folder.path / "table.csv", lambda path: table.to_csv(path, index=False))
    _write_whole(folder.path / "README.txt", lambda path: path.write_text(readme, "utf-8"))
    text = json.dumps(about, indent=2)
    _write_whole(note, lambda path: path.write_text(text, "utf-8"))


def _describes(note: Path, about: Mapping[str, object]) -> bool:
    """Whether the note of a folder tells of this very study; an unreadable note does not."""
    try:
        return bool(json.loads(note.read_text(encoding="utf-8")) == about)
    except (OSError, ValueError):
        return False


def _write_field(field: SimulatedField, folder: StudyFolder) -> None:
    """Write the truth first: an image in the folder then always has its truth."""
    image = field.image
    nuclei, masks, cells = folder.truth_paths(image.id)
    write_labels(field.labels, nuclei, pixel_size_um=image.pixel_size_um)
    arrays = {name: getattr(field, name) for name in _MASKS}
    _write_whole(masks, lambda path: np.savez_compressed(path, **arrays))
    _write_whole(cells, lambda path: field.cells.to_csv(path, index=False))
    write_image(
        image.pixels,
        folder.image_path(image.id),
        channel_names=image.channel_names,
        pixel_size_um=image.pixel_size_um,
    )


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    with replaced_file(path) as temporary:
        write(temporary)
