"""Where a layer lies in the world: what every layer made from it has to keep. No Qt."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from napari.layers import Layer

from napari_bio_superposition.core.errors import ImageReadError
from napari_bio_superposition.core.types import MultichannelImage

_MICROMETRE = "micrometer"
_SQUARE_WITHIN = 0.01
"""Relative difference of height and width up to which a pixel counts as square."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Placement of an image plane ``(y, x)`` in the world, as napari takes it.

    Parameters
    ----------
    scale, translate
        ``(y, x)``, in `units`.
    units
        One pint unit per axis.
    rotate
        ``(2, 2)``.
    affine
        ``(3, 3)``, applied after everything else.
    """

    scale: tuple[float, float]
    units: tuple[Any, Any]
    translate: tuple[float, float]
    rotate: Any
    affine: Any

    @classmethod
    def of_layer(cls, layer: Layer) -> Self:
        """Return the placement of the last two axes of *layer*, whatever leads them."""
        affine = np.asarray(layer.affine.affine_matrix)
        return cls(
            scale=(float(layer.scale[-2]), float(layer.scale[-1])),
            units=(layer.units[-2], layer.units[-1]),
            translate=(float(layer.translate[-2]), float(layer.translate[-1])),
            rotate=np.asarray(layer.rotate)[-2:, -2:],
            affine=affine[-3:, -3:],
        )

    @classmethod
    def of_image(cls, image: MultichannelImage) -> Self:
        """Return the placement of an image that no layer shows: its pixel size, or pixels."""
        size = image.pixel_size_um
        unit = "pixel" if size is None else _MICROMETRE
        return cls(
            scale=(size or 1.0, size or 1.0),
            units=(unit, unit),
            translate=(0.0, 0.0) if size is None else image.translate_um,
            rotate=np.eye(2),
            affine=np.eye(3),
        )

    def layer_options(self) -> dict[str, Any]:
        """Return the keyword arguments of a layer that is to lie exactly here."""
        return {
            "scale": self.scale,
            "units": self.units,
            "translate": self.translate,
            "rotate": self.rotate,
            "affine": self.affine,
        }

    def to_pixels(self, position: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the place in pixels ``(y, x)`` of a position in the world.

        Parameters
        ----------
        position
            As napari gives it; the last two axes count.
        """
        world = np.append(np.asarray(position, float)[-2:], 1.0)
        plane = np.linalg.solve(np.asarray(self.affine, float), world)[:2]
        moved = np.asarray(self.rotate, float).T @ (plane - np.asarray(self.translate))
        return np.asarray(moved / np.asarray(self.scale), np.float64)

    def to_world(self, pixel: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the position in the world of a place in pixels ``(y, x)``."""
        scaled = np.asarray(pixel, float) * np.asarray(self.scale)
        plane = np.asarray(self.rotate, float) @ scaled + np.asarray(self.translate)
        world = np.asarray(self.affine, float) @ np.append(plane, 1.0)
        return np.asarray(world[:2], np.float64)

    @property
    def pixel_size_um(self) -> float | None:
        """Edge of a pixel in micrometre; ``None`` where the layer's unit is no length.

        Raises
        ------
        ImageReadError
            Where pixels are not square.
        """
        factors = [_micrometres_per(unit) for unit in self.units]
        if None in factors:
            return None
        height, width = (s * f for s, f in zip(self.scale, factors, strict=True) if f is not None)
        if abs(height - width) > _SQUARE_WITHIN * max(abs(height), abs(width)):
            raise ImageReadError(
                f"The pixels of this layer are {height:g} x {width:g} um, not square. "
                "Resample the image, or correct the scale of the layer."
            )
        return abs(height)

    @property
    def translate_um(self) -> tuple[float, float]:
        """Place of the first pixel in micrometre; zero where the layer's unit is no length."""
        y, x = (_micrometres_per(unit) for unit in self.units)
        if y is None or x is None:
            return 0.0, 0.0
        return self.translate[0] * y, self.translate[1] * x

    @property
    def signature(self) -> tuple[float, ...]:
        """Numbers that are equal for layers that lie on one another."""
        numbers = np.concatenate([self.scale, self.translate, np.ravel(self.affine)])
        return tuple(float(number) for number in np.round(numbers, 9))


def _micrometres_per(unit: Any) -> float | None:
    """Return how many micrometres one *unit* is, or ``None`` where it is no length."""
    if str(getattr(unit, "dimensionality", "")) != "[length]":
        return None
    return float((1.0 * unit).to(_MICROMETRE).magnitude)
