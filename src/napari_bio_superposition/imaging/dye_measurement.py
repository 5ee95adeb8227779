"""What one field says about its death dye, on disk and in memory. No thresholds, no images."""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray

N_COUNT_BINS: Final = 65_536
"""Bins of the additive histogram: one per count of a 16-bit camera."""
_FORMAT: Final = 2
_ARRAYS: Final = ("n_nuclei", "nuclear_area_px", "at_edge", "values", "starts")


@dataclass(frozen=True, eq=False)
class DyeMeasurement:
    """The background-subtracted death dye inside the nuclei of one field.

    Rates can be computed from it for any threshold, without the image: thresholds are chosen over
    a plate, after all of its fields have been measured.
    """

    image_id: str
    plate: str
    full_scale: float
    """The count at the upper end of the histogram."""
    patch_ids: tuple[str, ...]
    patch_area_px: int
    n_nuclei: IntArray
    """Nuclei whose centroid lies in the patch, ``(n,)``."""
    nuclear_area_px: IntArray
    """Nuclear pixels in the patch, ``(n,)``."""
    at_edge: BoolArray
    """Whether the rule for edges flags the patch, ``(n,)``."""
    values: FloatArray
    """Dye of all nuclear pixels, counts, patch after patch."""
    starts: IntArray
    """Where the pixels of each patch begin in ``values``, and the end, ``(n + 1,)``."""
    histogram: IntArray
    """Nuclear pixels of the whole field, each once, per count bin; adds up over fields."""
    background_level: float
    """99th percentile of the dye outside nuclei, counts; nan where all is nucleus."""

    def __len__(self) -> int:
        return len(self.patch_ids)

    def values_of(self, patch: int) -> FloatArray:
        """Return the dye at the nuclear pixels of one patch, counts."""
        return self.values[self.starts[patch] : self.starts[patch + 1]]

    def save(self, path: Path) -> None:
        """Write the measurement as an ``.npz`` file, whole or not at all."""
        about = {
            "format": _FORMAT,
            "image_id": self.image_id,
            "plate": self.plate,
            "full_scale": self.full_scale,
            "patch_area_px": self.patch_area_px,
            "background_level": self.background_level,
            "patch_ids": list(self.patch_ids),
        }
        parts: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        parts["about"] = np.array(json.dumps(about))
        # Nearly all bins are empty. Values are noise, of which packing takes off a tenth in 10 ms.
        parts["bins"] = np.flatnonzero(self.histogram)
        parts["counts"] = self.histogram[parts["bins"]]
        with replaced_file(path) as part, part.open("wb") as stream:
            np.savez(stream, **parts)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        TableError
            Where the file is missing, damaged, or something else.
        """
        with _explaining(path):
            about, arrays = _read(path, _ARRAYS)
            about["patch_ids"] = tuple(about["patch_ids"])
            measurement = cls(**about, **arrays)
            _check_lengths(measurement)
        return measurement


@dataclass(frozen=True, eq=False)
class DyeShare:
    """What one field adds to a `DyePool`: a measurement without its pixels, quicker to read."""

    plate: str
    full_scale: float
    histogram: IntArray
    background_level: float

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the share of what `DyeMeasurement.save` wrote.

        Raises
        ------
        TableError
            Where the file is missing, damaged, or something else.
        """
        with _explaining(path):
            about, arrays = _read(path)
            kept = {name: about[name] for name in ("plate", "full_scale", "background_level")}
            return cls(**kept, **arrays)


def _read(path: Path, names: Iterable[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what describes a measurement, and its histogram with the arrays of these names."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        if about.pop("format") != _FORMAT:
            raise ValueError("another format")
        arrays = {name: stored[name] for name in names}
        histogram = np.zeros(N_COUNT_BINS, np.int64)
        histogram[stored["bins"]] = stored["counts"]
    return about, arrays | {"histogram": histogram}


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise TableError(
            f"{path.name} holds no measurement of the death dye that can be read ({error}). "
            "Analyse the image again."
        ) from error


def _check_lengths(measurement: DyeMeasurement) -> None:
    n = len(measurement)
    per_patch = (measurement.n_nuclei, measurement.nuclear_area_px, measurement.at_edge)
    complete = (
        all(len(column) == n for column in per_patch)
        and len(measurement.starts) == n + 1
        and measurement.starts[-1] == len(measurement.values)
    )
    if not complete:
        raise ValueError("its parts do not belong together")


@dataclass(eq=False)
class DyePool:
    """What a threshold needs to know of many fields; grows by one number per field, not more.

    Parameters
    ----------
    full_scale
        The count at the upper end of the histogram, the same for all fields.
    """

    full_scale: float
    histogram: IntArray = field(default_factory=lambda: np.zeros(N_COUNT_BINS, np.int64))
    """Nuclear pixels of all fields per count bin."""
    background_levels: list[float] = field(default_factory=list)
    """99th percentile of the dye outside nuclei of each field that has one, counts."""

    @property
    def bin_width(self) -> float:
        """Width of a bin in counts."""
        return self.full_scale / (N_COUNT_BINS - 1)

    def add(self, measurement: DyeMeasurement | DyeShare) -> None:
        """Take in one more field.

        Raises
        ------
        TableError
            Where its camera has another full scale.
        """
        if measurement.full_scale != self.full_scale:
            raise TableError(
                "The death dye was recorded on different count scales (full scales "
                f"{self.full_scale:g}, {measurement.full_scale:g}). "
                "Choose thresholds for each apart."
            )
        self.histogram += measurement.histogram
        if not np.isnan(measurement.background_level):
            self.background_levels.append(measurement.background_level)


def pool_measurements(measurements: Iterable[DyeMeasurement]) -> DyePool:
    """Return the pool of fields that share a threshold.

    Raises
    ------
    TableError
        Where there is nothing to pool, or the cameras have different full scales.
    """
    pool: DyePool | None = None
    for measurement in measurements:
        pool = pool or DyePool(measurement.full_scale)
        pool.add(measurement)
    if pool is None:
        raise TableError(
            "There is no measurement of the death dye to pool. Measure an image first."
        )
    return pool


def count_values(values: FloatArray, full_scale: float) -> IntArray:
    """Return the additive histogram of *values*: bin ``k`` is centred at ``k`` bin widths."""
    bins = np.rint(values.astype(np.float64) * ((N_COUNT_BINS - 1) / full_scale)).astype(np.int64)
    return np.bincount(np.clip(bins, 0, N_COUNT_BINS - 1), minlength=N_COUNT_BINS)
