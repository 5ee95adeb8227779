"""One analysed image as one folder on disk: complete or absent, never half written."""

import csv
import dataclasses
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import replaced_folder
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.provenance import Provenance, hash_config, hash_file
from napari_bio_superposition.core.types import LabelImage, MultichannelImage
from napari_bio_superposition.features.table import build_manifest, read_table, write_table
from napari_bio_superposition.imaging.cell_death import (
    DyeMeasurement,
    DyeShare,
    score_cell_death,
)
from napari_bio_superposition.imaging.write import write_labels
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import ImageAnalysis, cut_patches
from napari_bio_superposition.workflows.config_files import config_from_plain
from napari_bio_superposition.workflows.hashing import hash_image

RESULT = "result.json"
LABELS = "nuclei.tif"
TABLE = "patches.h5ad"
MANIFEST = "manifest.csv"
DYE = "death_dye.npz"
_FORMAT = 2
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{p}{n}" for p in ("COM", "LPT") for n in range(10))}
"""Names that Windows keeps for itself."""
_TEXT = (
    "patch_id",
    "reason",
    Keys.IMAGE,
    Keys.PLATE,
    Keys.WELL,
    Keys.FIELD,
    Keys.LINE,
    Keys.GENOTYPE,
    Keys.TREATMENT,
    Keys.GROUP,
)
"""Columns of the manifest that stay text: a plate may be called 0012."""
_RATES = {
    "area_rate": Keys.DEATH,
    "intensity_rate": Keys.DEATH_INTENSITY,
    "intensity_per_pixel": Keys.DEATH_PER_PIXEL,
}


def folder_name(image_id: str) -> str:
    """Return a name for an image's folder that every file system takes, distinct per id."""
    safe = re.sub(r"[^\w.-]", "_", image_id).strip(". ") or "image"
    if safe.split(".")[0].upper() in _RESERVED:
        safe = f"_{safe}"
    if safe == image_id:
        return shorten_name(safe, 100)
    return shorten_name(safe, 100, always=image_id)


def shorten_name(name: str, max_bytes: int = 200, *, always: str = "") -> str:
    """Return *name*, where it is too long its beginning with a hash in place of the rest.

    File systems count bytes, of which a character may need four, and take 255 of them; *max_bytes*
    leaves room for the hash, for endings, and for what a temporary file adds. Where *always* is
    given, its hash is put behind the name in any case.
    """
    kept = name.encode()[:max_bytes].decode("utf-8", "ignore")
    if kept == name and not always:
        return name
    return f"{kept}-{hashlib.sha256((always or name).encode()).hexdigest()[:8]}"


def result_key(provenance: Provenance, image: MultichannelImage) -> str:
    """Return what a result depends on as one short text; device and versions are not part of it.

    The pixels are in *provenance*; what else the file says counts here: names of the channels,
    which give roles, and sizes, which give places.
    """
    settings = {name: value for name, value in provenance.config.items() if name != "device"}
    return hash_config(
        {
            "settings": settings,
            "models": provenance.models,
            "inputs": provenance.inputs,
            "acquisition": dataclasses.asdict(image.acquisition),
            "channel_names": image.channel_names,
            "full_scale": image.full_scale,
            "pixel_size_um": image.pixel_size_um,
            "translate_um": image.translate_um,
        }
    )


def save_analysis(
    analysis: ImageAnalysis,
    folder: str | Path,
    *,
    measurements: Mapping[str, Any] | None = None,
    write_more: Callable[[Path], None] | None = None,
) -> Path:
    """Write the analysis of one image as a folder; an existing result there is replaced.

    Parameters
    ----------
    analysis
        What `analyze_image` returned.
    folder
        Target; its parent is made where needed.
    measurements
        Further values for ``result.json``, such as the peak memory.
    write_more
        Called with the folder while it is being written, to put further files into it.

    Returns
    -------
    Path
        The folder, with ``result.json`` (settings, versions, hashes, counts), ``manifest.csv``
        (every patch), and, where they exist, ``nuclei.tif``, ``patches.h5ad``, ``death_dye.npz``.
    """
    folder = Path(folder)
    with replaced_folder(folder) as part:
        if analysis.labels is not None:
            write_labels(analysis.labels, part / LABELS, pixel_size_um=analysis.image.pixel_size_um)
        if analysis.table is not None:
            write_table(analysis.table, part / TABLE)
        if analysis.dye is not None:
            analysis.dye.save(part / DYE)
        manifest = build_manifest(analysis.patches, analysis.death)
        manifest.to_csv(part / MANIFEST, index=False)
        if write_more is not None:
            write_more(part)
        files = {path.relative_to(part).as_posix(): hash_file(path) for path in _files_below(part)}
        result = describe_result(analysis) | dict(measurements or {}) | {"files": files}
        (part / RESULT).write_text(to_json(result, indent=2), encoding="utf-8")
    return folder


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def describe_result(analysis: ImageAnalysis) -> dict[str, Any]:
    """Return what ``result.json`` says about one image, as JSON values."""
    image, patches, provenance = analysis.image, analysis.patches, analysis.provenance
    reasons = pd.Series([reason for reason in patches.reasons if reason], dtype=str)
    return {
        "format": _FORMAT,
        "id": image.id,
        "key": result_key(provenance, image),
        "acquisition": dataclasses.asdict(image.acquisition),
        "channel_names": list(image.channel_names),
        "roles": dict(image.roles),
        "pixel_size_um": image.pixel_size_um,
        "translate_um": list(image.translate_um),
        "shape": list(image.shape),
        "n_nuclei": None if analysis.labels is None else int(analysis.labels.max()),
        "patch_roles": list(patches.channel_roles),
        "patches": {
            "total": len(patches),
            "accepted": int(patches.accepted.sum()),
            "rejected": {str(k): int(v) for k, v in reasons.value_counts().items()},
        },
        "death": {} if analysis.death is None else summarize_death(analysis.death),
        "skipped": dict(analysis.skipped),
        "warnings": list(analysis.warnings),
        "seconds": dict(analysis.seconds),
        "provenance": dataclasses.asdict(provenance),
    }


def summarize_death(death: pd.DataFrame) -> dict[str, Any]:
    """Return the death rates of one image over its eligible patches, pooled by nuclear area."""
    eligible = death[death[Keys.DEATH_ELIGIBLE]]
    area = eligible[Keys.NUCLEAR_AREA].to_numpy(float)
    summary: dict[str, Any] = {
        "threshold": float(death[Keys.DEATH_THRESHOLD].iloc[0]),
        "n_eligible_patches": len(eligible),
    }
    if eligible.empty:
        summary["skipped"] = (
            "no patch has enough nuclear area (see death.min_nuclear_fraction and death.edges)"
        )
    for name, key in _RATES.items():
        rate = eligible[key].to_numpy(float)
        known = np.isfinite(rate)
        total = area[known].sum()
        summary[name] = float((rate * area)[known].sum() / total) if total else None
    return summary


@dataclasses.dataclass(frozen=True, eq=False)
class SavedResult:
    """What a result folder holds; large parts are read when they are asked for."""

    folder: Path
    values: Mapping[str, Any]
    """Content of ``result.json``."""

    @property
    def key(self) -> str:
        """What the result depends on; see `result_key`."""
        return str(self.values["key"])

    @property
    def manifest_path(self) -> Path:
        """Where the table of all patches lies."""
        return self.folder / MANIFEST

    def is_sound(self) -> bool:
        """Whether every file is there with the bytes that were written."""
        try:
            files = self.values["files"].items()
            return all(hash_file(self.folder / name) == digest for name, digest in files)
        except (OSError, KeyError, AttributeError):
            return False

    @property
    def id(self) -> str:
        """Identity of the image."""
        return str(self.values["id"])

    def manifest(self) -> pd.DataFrame:
        """Return the table of all patches."""
        return read_manifests([self])

    def manifest_columns(self) -> tuple[str, ...]:
        """Return the columns of `manifest` without reading its rows."""
        with self.manifest_path.open(encoding="utf-8", newline="") as stream:
            return tuple(next(csv.reader(stream), ()))

    def table(self) -> AnnData | None:
        """Return accepted patches x features, where the features were computed."""
        path = self.folder / TABLE
        return read_table(path) if path.exists() else None

    def labels(self) -> LabelImage | None:
        """Return the nuclei, where they were segmented."""
        path = self.folder / LABELS
        return tifffile.imread(path).astype(np.int32) if path.exists() else None

    def dye(self) -> DyeMeasurement | None:
        """Return the death dye inside nuclei, where it was measured."""
        path = self.folder / DYE
        return DyeMeasurement.load(path) if path.exists() else None

    def dye_share(self) -> DyeShare | None:
        """Return what the dye of this image adds to a pool, without its pixels."""
        path = self.folder / DYE
        return DyeShare.load(path) if path.exists() else None


def read_manifests(results: Sequence[SavedResult]) -> pd.DataFrame:
    """Return the patches of some images, whose manifests have the same columns, as one table."""
    text = io.StringIO(newline="")
    for number, result in enumerate(results):
        with result.manifest_path.open(encoding="utf-8", newline="") as stream:
            if number:
                stream.readline()  # no column's name has a line break
            shutil.copyfileobj(stream, text)
    text.seek(0)
    table = pd.read_csv(text, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values="")
    return table.fillna(dict.fromkeys(_TEXT, ""))


def read_result(folder: Path) -> SavedResult:
    """Read what `save_analysis` wrote.

    Raises
    ------
    TableError
        Where the folder holds no complete result.
    """
    path = folder / RESULT
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError("another format")
    except (OSError, ValueError) as error:
        raise TableError(
            f"{folder.name} holds no analysis that can be read ({RESULT}: {error}). "
            "Choose a folder that `save` or `analyze` wrote."
        ) from error
    return SavedResult(folder, values)


def find_result(folder: Path, key: str) -> SavedResult | None:
    """Return the result in *folder*, where it is that of *key* and all its parts are there.

    A result that is damaged, or from which a part was taken away, counts as none: it is made again.
    """
    try:
        saved = read_result(folder)
    except TableError:
        return None
    return saved if saved.values.get("key") == key and saved.is_sound() else None


def load_analysis(folder: str | Path, image: MultichannelImage) -> ImageAnalysis:
    """Bring a saved analysis back to the image that it was made from.

    Tokens are not saved; call `restore_tokens` before asking for overlays.

    Raises
    ------
    TableError
        Where the folder holds no result, or the image is another one.
    """
    folder = Path(folder)
    saved = read_result(folder)
    provenance = Provenance(**saved.values["provenance"])
    if hash_image(image) not in provenance.inputs.values():
        raise TableError(
            f"The result {folder.name} was made from the image {saved.values['id']}, whose pixels "
            f"differ from those of {image.id}. Open that image first."
        )
    config = saved_config(saved)
    image = image.with_roles(saved.values["roles"])
    patches = cut_patches(image, saved.values["patch_roles"], config)
    dye, death = saved.dye(), None
    if dye is not None:
        threshold = saved.values["death"]["threshold"]
        threshold = float("nan") if threshold is None else threshold
        death = score_cell_death(dye, threshold, config.death)
    return ImageAnalysis(
        image=image,
        labels=saved.labels(),
        patches=patches,
        dye=dye,
        death=death,
        table=saved.table(),
        tokens=None,
        provenance=provenance,
        skipped=saved.values["skipped"],
        warnings=tuple(saved.values["warnings"]),
        seconds=saved.values["seconds"],
    )


def saved_config(saved: SavedResult) -> AnalyzeConfig:
    """Return the settings that a saved result was made with."""
    return config_from_plain(saved.values["provenance"]["config"], AnalyzeConfig)
