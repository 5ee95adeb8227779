"""Points to pixels in numpy alone: where points fall, which lies on top, what a lasso holds. No Qt.

Nothing here grows with the number of points but what the caller hands in: points are worked through
in blocks, and what is kept is one number per pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

FloatVector = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int32]
"""Which point a pixel shows, by its place in the drawing order; -1 is none."""
EMPTY: Final = -1
_BLOCK: Final = 1 << 16
"""Points per block: their coordinates stay in a core's cache."""
_MARGIN: Final = 0.05
_MARGIN_WITH_NUMBERS: Final = 0.12
_SMALLEST_EXTENT: Final = 1e-12


@dataclass(frozen=True)
class Viewport:
    """The part of the plane that is shown, and how large.

    Parameters
    ----------
    width, height
        Size of the canvas, device pixels.
    centre
        ``(x, y)`` in data units that lies in the middle.
    scale
        Device pixels per data unit along x and y; y points up.
    """

    width: int
    height: int
    centre: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def fit(
        cls, points: npt.NDArray[np.floating], width: int, height: int, *, equal: bool = True
    ) -> Self:
        """Return the viewport that shows all finite *points* ``(n, 2)`` with a margin.

        Parameters
        ----------
        points
            Data coordinates; rows with nan or infinity do not count.
        width, height
            Size of the canvas, device pixels.
        equal
            Whether one unit is as long along x as along y, as in an embedding. Otherwise there is
            room for numbers along the edges.
        """
        finite = points[np.isfinite(points).all(axis=1)]
        if not len(finite):
            return cls(width, height)
        low, high = finite.min(axis=0).astype(float), finite.max(axis=0).astype(float)
        extent = np.maximum(high - low, _SMALLEST_EXTENT)
        extent[high - low <= 0] = 1.0
        margin = _MARGIN if equal else _MARGIN_WITH_NUMBERS
        scale = np.array([width, height]) * (1 - 2 * margin) / extent
        x, y = (scale.min(), scale.min()) if equal else scale
        middle = (low + high) / 2
        return cls(width, height, (float(middle[0]), float(middle[1])), (float(x), float(y)))

    def to_pixels(self, x: FloatVector, y: FloatVector) -> tuple[FloatVector, FloatVector]:
        """Return column and row of points as fractions of pixels, float32."""
        column = (x - np.float32(self.centre[0])) * np.float32(self.scale[0])
        row = (y - np.float32(self.centre[1])) * np.float32(-self.scale[1])
        column += np.float32(self.width / 2)
        row += np.float32(self.height / 2)
        return column, row

    def to_data(self, column: float, row: float) -> tuple[float, float]:
        """Return the data coordinates of a place on the canvas."""
        return (
            self.centre[0] + (column - self.width / 2) / self.scale[0],
            self.centre[1] - (row - self.height / 2) / self.scale[1],
        )

    def panned(self, columns: float, rows: float) -> Self:
        """Return the viewport after its content was dragged by so many pixels."""
        x, y = self.centre
        centre = (x - columns / self.scale[0], y + rows / self.scale[1])
        return replace(self, centre=centre)

    def zoomed(self, factor: float, column: float, row: float) -> Self:
        """Return the viewport enlarged by *factor*; what lies at the given pixel stays there."""
        x, y = self.to_data(column, row)
        scale = (self.scale[0] * factor, self.scale[1] * factor)
        centre = (
            x - (column - self.width / 2) / scale[0],
            y + (row - self.height / 2) / scale[1],
        )
        return replace(self, centre=centre, scale=scale)

    def resized(self, width: int, height: int) -> Self:
        """Return the viewport on a canvas of another size, showing the same part of the plane."""
        ratio = min(width / self.width, height / self.height)
        scale = (self.scale[0] * ratio, self.scale[1] * ratio)
        return replace(self, width=width, height=height, scale=scale)


def draw_ranks(x: FloatVector, y: FloatVector, viewport: Viewport, diameter: int = 1) -> Ranks:
    """Return which point each pixel shows, ``(height, width)``; later points lie on top.

    Parameters
    ----------
    x, y
        Data coordinates, in drawing order; points that are not finite are not drawn.
    viewport
        Where they fall.
    diameter
        Of a point, device pixels.
    """
    disc = disc_offsets(diameter)
    pad = int(np.abs(disc).max())
    shape = (viewport.height + 2 * pad, viewport.width + 2 * pad)
    ranks = np.full(shape, EMPTY, np.int32)
    flat = ranks.reshape(-1)
    # Few points are stamped one by one; many are drawn as pixels and these then grown.
    stamped = len(x) * len(disc) < flat.size
    stamp = disc[:, 0] * shape[1] + disc[:, 1] if stamped else np.zeros(1, np.int64)
    for first, places, kept in _blocks(x, y, viewport, pad):
        numbers = np.arange(first, first + _BLOCK, dtype=np.int32)[: len(kept)][kept]
        if len(stamp) > 1:
            flat[(places[:, None] + stamp).reshape(-1)] = np.repeat(numbers, len(stamp))
        else:
            flat[places] = numbers
    if not stamped:
        ranks = _grow(ranks, disc)
    return ranks[pad : pad + viewport.height, pad : pad + viewport.width]


def count_points(x: FloatVector, y: FloatVector, viewport: Viewport) -> npt.NDArray[np.int64]:
    """Return how many points fall on each pixel, ``(height, width)``."""
    n_pixels = viewport.height * viewport.width
    counts = np.zeros(n_pixels, np.int64)
    for _, places, _ in _blocks(x, y, viewport, 0):
        counts += np.bincount(places, minlength=n_pixels)
    return counts.reshape(viewport.height, viewport.width)


def points_in_mask(
    x: FloatVector, y: FloatVector, viewport: Viewport, mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return for each point whether its pixel is in *mask* ``(height, width)``."""
    inside = np.zeros(len(x), np.bool_)
    flat = mask.reshape(-1)
    for first, places, kept in _blocks(x, y, viewport, 0):
        inside[first : first + len(kept)][kept] = flat[places]
    return inside


def fill_polygon(corners: npt.ArrayLike, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return the pixels whose centre lies in a polygon, ``(height, width)``, by the even-odd rule.

    Parameters
    ----------
    corners
        Column and row, ``(n, 2)``, in pixels; pixel ``(0, 0)`` has its centre at ``(0.5, 0.5)``.
        The polygon closes itself and may cross itself.
    width, height
        Size of the canvas; what lies beyond is cut off.

    Notes
    -----
    Each edge flips all pixels right of where it crosses their row.
    """
    start = np.asarray(corners, float).reshape(-1, 2)
    if len(start) < 3:
        return np.zeros((height, width), np.bool_)
    end = np.roll(start, -1, axis=0)
    rows_from = np.ceil(np.minimum(start[:, 1], end[:, 1]) - 0.5).clip(0, height).astype(int)
    rows_to = np.ceil(np.maximum(start[:, 1], end[:, 1]) - 0.5).clip(0, height).astype(int)
    n_rows = rows_to - rows_from
    edge = np.repeat(np.arange(len(start)), n_rows)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + rows_from[edge]
    slope = np.divide(
        end[:, 0] - start[:, 0], end[:, 1] - start[:, 1],
        out=np.zeros(len(start)), where=n_rows > 0,
    )  # fmt: skip
    crossing = start[edge, 0] + (row + 0.5 - start[edge, 1]) * slope[edge]
    column = np.ceil(crossing - 0.5).clip(0, width).astype(int)
    flips = np.zeros((height, width + 1), np.uint8)
    np.bitwise_xor.at(flips, (row, column), 1)
    return np.bitwise_xor.accumulate(flips[:, :width], axis=1).view(np.bool_)


def nearest_rank(ranks: Ranks, column: int, row: int, reach: int) -> int:
    """Return the point that is drawn nearest to a pixel, within *reach*; ``-1`` where none is."""
    top, left = max(0, row - reach), max(0, column - reach)
    window = ranks[top : row + reach + 1, left : column + reach + 1]
    rows, columns = np.nonzero(window != EMPTY)
    if not len(rows):
        return EMPTY
    distances = (rows + top - row) ** 2 + (columns + left - column) ** 2
    nearest = int(distances.argmin())
    return int(window[rows[nearest], columns[nearest]])


def disc_offsets(diameter: int) -> npt.NDArray[np.int64]:
    """Return the pixels of a disc as offsets ``(n, 2)`` of row and column from its centre."""
    radius = max(1, diameter) / 2
    reach = int(radius)
    axis = np.arange(-reach, reach + 1)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    inside = rows**2 + columns**2 < radius**2 + (0 if diameter == 1 else 0.25)
    return np.stack([rows[inside], columns[inside]], axis=1).astype(np.int64)


def _blocks(
    x: FloatVector, y: FloatVector, viewport: Viewport, pad: int
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Yield for blocks of points: the first, the flat pixels of those kept, and which are kept.

    The canvas has a border of *pad* pixels on each side, so that discs need no clipping.
    """
    width = viewport.width + 2 * pad
    for first in range(0, len(x), _BLOCK):
        column, row = viewport.to_pixels(x[first : first + _BLOCK], y[first : first + _BLOCK])
        kept = (column >= 0) & (column < viewport.width) & (row >= 0) & (row < viewport.height)
        columns, rows = column[kept].astype(np.int64), row[kept].astype(np.int64)
        rows += pad
        rows *= width
        rows += columns
        rows += pad
        yield first, rows, kept


def _grow(ranks: Ranks, disc: npt.NDArray[np.int64]) -> Ranks:
    """Return the image in which every point covers a disc; the later of two points wins."""
    grown = ranks.copy()
    height, width = ranks.shape
    for down, right in disc:
        if down == 0 and right == 0:
            continue
        to_rows = slice(max(0, down), height + min(0, down))
        from_rows = slice(max(0, -down), height - max(0, down))
        to_columns = slice(max(0, right), width + min(0, right))
        from_columns = slice(max(0, -right), width - max(0, right))
        target = grown[to_rows, to_columns]
        np.maximum(target, ranks[from_rows, from_columns], out=target)
    return grown
