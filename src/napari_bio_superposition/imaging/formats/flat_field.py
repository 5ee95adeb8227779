"""Flat-field profiles as Harmony writes them: illumination as a polynomial. No files."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.imaging.formats.stack import Plane

_KINDS: Final = ("Background", "Foreground")
_ROWS: Final = re.compile(r"\[([^\[\]]*)\]")
_MAX_DEGREE: Final = 12
_SMALLEST: Final = 0.05
"""Where a profile falls below this share of its mean it is no illumination."""


@dataclass(frozen=True)
class FlatField:
    """Illumination over the field as a polynomial.

    Parameters
    ----------
    coefficients
        Row ``i`` holds the ``i + 1`` terms of degree ``i``: ``x^i, x^(i-1) y, ..., y^i``.
    origin, scale
        A pixel ``(column, row)`` has the coordinates ``(pixel - origin) * scale``.
    size
        Width and height that the profile was measured on; other sizes are binned or enlarged.
    """

    coefficients: tuple[tuple[float, ...], ...]
    origin: tuple[float, float]
    scale: tuple[float, float]
    size: tuple[float, float]

    def evaluate(self, shape: tuple[int, int]) -> FloatArray:
        """Return the illumination ``(height, width)`` with a mean of 1."""
        height, width = shape
        x, y = (
            ((np.arange(n) + 0.5) * size / n - 0.5 - origin) * scale
            for n, size, origin, scale in zip(
                (width, height), self.size, self.origin, self.scale, strict=True
            )
        )
        total = np.zeros(shape)
        for degree, row in enumerate(self.coefficients):
            for power, value in enumerate(row):
                total += value * np.outer(y**power, x ** (degree - power))
        relative = total / total.mean()
        illumination: FloatArray = np.maximum(relative, _SMALLEST).astype(np.float32)
        return illumination


def parse_flat_fields(text: str) -> dict[str, FlatField]:
    """Return the profiles in the text of a ``FlatfieldProfile``: "background", "foreground".

    A profile that is flat, or is written in a way that is not known, is left out.
    """
    fields = {}
    for kind in _KINDS:
        start = text.find(f"{kind}: {{")
        if start < 0:
            continue
        ends = [text.find(f"{other}: {{", start + 1) for other in _KINDS]
        part = text[start : min((end for end in ends if end > 0), default=len(text))]
        if (field := _parse_profile(part)) is not None:
            fields[kind.lower()] = field
    return fields


def _parse_profile(text: str) -> FlatField | None:
    if "Type: Polynomial" not in text:
        return None
    try:
        coefficients = re.search(r"Coefficients: \[(.*?)\]\s*\]", text, re.DOTALL)
        if coefficients is None:
            return None
        rows = tuple(_numbers(match[1]) for match in _ROWS.finditer(f"{coefficients[1]}]"))
        origin, scale, size = (_pair(text, name) for name in ("Origin", "Scale", "Dims"))
    except (ValueError, TypeError):
        return None
    are_triangle = all(len(row) == degree + 1 for degree, row in enumerate(rows))
    if not rows or len(rows) > _MAX_DEGREE or not are_triangle or min(size) < 1:
        return None
    return FlatField(rows, origin, scale, size)


def _pair(text: str, name: str) -> tuple[float, float]:
    match = re.search(rf"{name}: \[([^\]]*)\]", text)
    x, y = _numbers(match[1] if match else "")
    return x, y


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(word) for word in text.split(","))
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("not finite")
    return numbers


@dataclass(frozen=True)
class FlattenedPlanes:
    """Planes divided by the illumination of their channel, in the type of the camera.

    Parameters
    ----------
    load
        Takes the channel and the plane, returns ``(height, width)``.
    fields
        Channel number to profile; channels without one stay as they are.
    """

    load: Callable[[int, int], Plane]
    fields: Mapping[int, FlatField]

    def __call__(self, channel: int, plane: int) -> Plane:
        """Return the corrected plane; counts beyond the camera's range are cut off."""
        counts = self.load(channel, plane)
        field = self.fields.get(channel)
        if field is None:
            return counts
        height, width = counts.shape
        corrected = counts / field.evaluate((height, width))
        if counts.dtype.kind not in "iu":
            return corrected.astype(counts.dtype)
        limits = np.iinfo(counts.dtype)
        return np.clip(np.rint(corrected), limits.min, limits.max).astype(counts.dtype)
