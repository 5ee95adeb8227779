"""How a large image is cut into overlapping tiles. Arithmetic on sizes only, no pixels kept."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Tile", "TileGrid"]


@dataclass(frozen=True)
class Span:
    """A range of pixels along one axis: the core that a tile answers for, and what it looks at."""

    start: int
    stop: int
    read_start: int
    read_stop: int


@dataclass(frozen=True)
class Tile:
    """One tile: its spans along y and x, in pixels of the padded image."""

    y: Span
    x: Span

    def read(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the pixels the tile looks at; beyond the image they are mirrored."""
        window = plane[self.y.read_start : self.y.read_stop, self.x.read_start : self.x.read_stop]
        missing = [
            (0, span.read_stop - span.read_start - size)
            for span, size in zip((self.y, self.x), window.shape, strict=True)
        ]
        return np.pad(window, missing, mode="reflect") if any(map(any, missing)) else window


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """A cover of an image by tiles that do not overlap in their cores.

    Parameters
    ----------
    shape
        Height and width of the image in pixels.
    divisor
        The network needs sizes, and its poolings need starts, that are multiples of this, (y, x).
    halo
        Pixels, (y, x), that a tile looks at beyond its core; at least the receptive radius of the
        network, so that a core is the same as without tiling.
    """

    shape: tuple[int, int]
    divisor: tuple[int, int]
    halo: tuple[int, int]

    @property
    def padded_shape(self) -> tuple[int, int]:
        """Height and width, padded at the end to multiples of the divisor."""
        y, x = (
            math.ceil(size / div) * div for size, div in zip(self.shape, self.divisor, strict=True)
        )
        return y, x

    def cover(self, tile_px: int) -> list[Tile]:
        """Return tiles whose cores have at most about ``tile_px`` pixels a side, row by row."""
        whole = self._tile((0, self.padded_shape[0]), (0, self.padded_shape[1]))
        return list(self.split(whole, tile_px))

    def split(self, tile: Tile, tile_px: int) -> Iterator[Tile]:
        """Yield smaller tiles that cover the core of one tile."""
        ys = list(self._cuts(0, tile.y, tile_px))
        xs = list(self._cuts(1, tile.x, tile_px))
        for y in ys:
            for x in xs:
                yield self._tile(y, x)

    def _cuts(self, axis: int, span: Span, tile_px: int) -> Iterator[tuple[int, int]]:
        length, div = span.stop - span.start, self.divisor[axis]
        n_parts = math.ceil(length / max(tile_px, div))
        step = math.ceil(length / n_parts / div) * div
        for start in range(span.start, span.stop, step):
            yield start, min(start + step, span.stop)

    def _tile(self, y: tuple[int, int], x: tuple[int, int]) -> Tile:
        return Tile(self._span(0, *y), self._span(1, *x))

    def _span(self, axis: int, start: int, stop: int) -> Span:
        div = self.divisor[axis]
        # Whole divisors, so that the poolings of a tile fall on the same pixels as without tiling.
        halo = math.ceil(self.halo[axis] / div) * div
        end = self.padded_shape[axis]
        return Span(start, stop, max(0, start - halo), min(end, stop + halo))
