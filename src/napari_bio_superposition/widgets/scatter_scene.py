"""The state of a scatter plot and its picture: points, colours, selection, view. No Qt."""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.widgets.scatter_colour import Colouring, colour_plainly
from napari_bio_superposition.widgets.scatter_raster import (
    EMPTY,
    Ranks,
    Viewport,
    count_points,
    draw_ranks,
    fill_polygon,
    nearest_rank,
    points_in_mask,
)

Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint32]
"""``(height, width)``, each pixel ``0xffrrggbb``."""

DRAFT_POINTS: Final = 200_000
"""Points of a draft, which is drawn while the view moves: any more and frames are missed."""
_DIMMED: Final = 0.72
"""Share of the background in the colour of points that are not selected while others are."""
_REACH_PX: Final = 4


class ScatterScene:
    """What a scatter plot shows.

    Points are drawn in a random order that never changes, so that no group hides another one, and
    so that the first points of the order are a fair sample: this is the draft of a moving view.

    Parameters
    ----------
    width, height
        Size of the canvas, device pixels.
    """

    def __init__(self, width: int = 1, height: int = 1) -> None:
        self.viewport = self._fitted = Viewport(width, height)
        self.diameter = 3
        self.equal_axes = True
        self._order = np.zeros(0, np.int32)
        self._x = self._y = np.zeros(0, np.float32)
        self._corners = np.zeros((0, 2), np.float32)
        self._colouring = colour_plainly(0)
        self._codes = np.zeros(1, np.uint16)
        self._selected = np.zeros(0, np.int32)
        self._ranks: Ranks = np.zeros((0, 0), np.int32)

    def __len__(self) -> int:
        return len(self._x)

    @property
    def colouring(self) -> Colouring:
        """How points are coloured."""
        return self._colouring

    @property
    def is_heavy(self) -> bool:
        """Whether a moving view is to be drawn as a draft."""
        return len(self) > DRAFT_POINTS

    def set_points(self, points: npt.NDArray[np.floating], *, equal_axes: bool = True) -> None:
        """Show other points ``(n, 2)``, plainly coloured, all in view, none selected."""
        self._order = order = _drawing_order(len(points))
        self._x = np.ascontiguousarray(points[:, 0], np.float32)[order]
        self._y = np.ascontiguousarray(points[:, 1], np.float32)[order]
        self._corners = _corners(self._x, self._y)
        self.equal_axes = equal_axes
        self._selected = np.zeros(0, np.int32)
        self.set_colouring(colour_plainly(len(points)))
        self.fit()

    def set_colouring(self, colouring: Colouring) -> None:
        """Colour the points otherwise.

        Raises
        ------
        ValueError
            Where it was made for another number of points.
        """
        if len(colouring.codes) != len(self):
            raise ValueError(f"{len(colouring.codes)} colours for {len(self)} points")
        self._colouring = colouring
        # One code more than points: pixels without a point, rank -1, find theirs at the end.
        background = np.array([len(colouring.table)], np.uint16)
        self._codes = np.concatenate([colouring.codes[self._order], background])

    def set_selected(self, mask: Mask | None) -> None:
        """Draw the points of *mask* ``(n,)`` on top and dim the others; ``None`` selects none."""
        if mask is None:
            self._selected = np.zeros(0, np.int32)
        else:
            self._selected = np.flatnonzero(mask[self._order]).astype(np.int32)

    def fit(self) -> None:
        """Bring all points into view."""
        width, height = self.viewport.width, self.viewport.height
        self.viewport = Viewport.fit(self._corners, width, height, equal=self.equal_axes)
        self._fitted = self.viewport

    def resize(self, width: int, height: int) -> None:
        """Draw on a canvas of another size."""
        if (width, height) == (self.viewport.width, self.viewport.height):
            return
        if self.equal_axes and self.viewport != self._fitted:  # the user moved it
            self.viewport = self.viewport.resized(width, height)
        else:
            self.viewport = Viewport(width, height)
            self.fit()

    def render(self, background: tuple[int, int, int], *, draft: bool = False) -> Picture:
        """Return the picture of all points, or of a sample of them as a *draft*."""
        limit = DRAFT_POINTS if draft else len(self)
        x, y = self._x[:limit], self._y[:limit]
        self._ranks = draw_ranks(x, y, self.viewport, self.diameter)
        table = _pack(self._colouring.table, background)
        rest = _dim(table, background) if len(self._selected) else table
        if self._colouring.is_density:
            picture = rest[self._density_codes(x, y)]
        else:
            picture = rest[self._codes[self._ranks]]
        if len(self._selected):
            self._draw_selected(picture, table, limit)
        return picture

    def _density_codes(
        self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.intp]:
        from scipy.ndimage import uniform_filter

        counts = count_points(x, y, self.viewport).astype(np.float32)
        smooth = np.log1p(uniform_filter(counts, 2 * self.diameter + 1, mode="constant"))
        n_shades = len(self._colouring.table) - 1
        top = float(smooth.max(initial=0.0)) or 1.0
        codes: npt.NDArray[np.intp] = 1 + (smooth * ((n_shades - 1) / top)).astype(np.intp)
        codes[smooth <= 0] = n_shades + 1
        return codes

    def _draw_selected(self, picture: Picture, table: Picture, limit: int) -> None:
        chosen = self._selected[: np.searchsorted(self._selected, limit)]
        over = draw_ranks(self._x[chosen], self._y[chosen], self.viewport, self.diameter)
        is_drawn = over != EMPTY
        ranks = chosen[over[is_drawn]]
        is_density = self._colouring.is_density
        codes = np.full(len(ranks), len(table) - 2) if is_density else self._codes[ranks]
        picture[is_drawn] = table[codes]
        self._ranks[is_drawn] = ranks

    def row_at(self, column: int, row: int) -> int | None:
        """Return the point drawn at a pixel of the last picture, or near it."""
        rank = nearest_rank(self._ranks, column, row, self.diameter // 2 + _REACH_PX)
        return None if rank == EMPTY else int(self._order[rank])

    def place_of(self, row: int) -> tuple[float, float] | None:
        """Return column and row of a point on the canvas; ``None`` where it has no place."""
        rank = np.flatnonzero(self._order == row)
        if not len(rank):
            return None
        column, line = self.viewport.to_pixels(self._x[rank], self._y[rank])
        place = float(column[0]), float(line[0])
        return place if np.isfinite(place).all() else None

    def rows_in_polygon(self, corners: npt.ArrayLike) -> Mask:
        """Return for each point whether its pixel lies in a polygon drawn on the canvas."""
        viewport = self.viewport
        area = fill_polygon(corners, viewport.width, viewport.height)
        inside = np.empty(len(self), np.bool_)
        inside[self._order] = points_in_mask(self._x, self._y, viewport, area)
        return inside


@lru_cache(maxsize=2)
def _drawing_order(n_points: int) -> npt.NDArray[np.int32]:
    """Return the same random order for every plot of so many points; a million take 0.1 s."""
    return np.random.default_rng(0).permutation(n_points).astype(np.int32)


def _corners(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the two corners of the rectangle around all finite points; none around none."""
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return np.zeros((0, 2), np.float32)
    sides = [axis if known.all() else axis[known] for axis in (x, y)]
    return np.array([[part.min() for part in sides], [part.max() for part in sides]], np.float32)


def _pack(table: npt.NDArray[np.uint8], background: tuple[int, int, int]) -> Picture:
    """Return colours as numbers ``0xffrrggbb``, that of the background last."""
    colours = np.concatenate([table, np.array([background], np.uint8)]).astype(np.uint32)
    packed: Picture = (
        np.uint32(0xFF000000)
        | (colours[:, 0] << np.uint32(16))
        | (colours[:, 1] << np.uint32(8))
        | colours[:, 2]
    )
    return packed


def _dim(packed: Picture, background: tuple[int, int, int]) -> Picture:
    parts = np.stack([(packed >> np.uint32(shift)) & np.uint32(255) for shift in (16, 8, 0)], -1)
    mixed = parts * (1 - _DIMMED) + np.array(background) * _DIMMED
    return _pack(mixed.round().astype(np.uint8)[:-1], background)
