"""Which colour a point has and what the legend says: one small table of colours per plot. No Qt.

A colouring is a code per point and a look-up table, so that neither a selection nor another theme
touches the points.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Codes = npt.NDArray[np.uint16]
ColourTable = npt.NDArray[np.uint8]
MISSING: Final = 0
"""Code of a point without a value."""
MISSING_COLOUR: Final = (140, 140, 140)
ROBUST_PERCENTILES: Final = (1.0, 99.0)
_N_SHADES: Final = 256
_PLAIN: Final = (74, 144, 217)
# Told apart by most colour-blind readers, on white as on black (after Okabe and Ito, 2008).
_PALETTE: Final = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (214, 200, 50),
    (148, 103, 189),
)
_GOLDEN_ANGLE: Final = 0.381966
_MOST_COLOURS: Final = 4096


@dataclass(frozen=True, eq=False)
class LegendEntry:
    """One category: its name, its colour and how many points have it."""

    name: str
    colour: tuple[int, int, int]
    count: int


@dataclass(frozen=True, eq=False)
class Colouring:
    """How the points of a plot are coloured.

    Parameters
    ----------
    title
        What the colour shows; empty for one plain colour.
    codes
        Row of *table* for each point, ``(n,)``.
    table
        Colours, ``(k, 3)``; row 0 is that of points without a value.
    entries
        The categories, most frequent first; empty for numbers.
    limits
        Value of the lowest and of the highest colour; ``None`` for categories.
    is_density
        Whether colour shows how many points fall on a pixel; codes then do not matter.
    """

    title: str
    codes: Codes
    table: ColourTable
    entries: tuple[LegendEntry, ...] = ()
    limits: tuple[float, float] | None = None
    is_density: bool = False

    @cached_property
    def n_missing(self) -> int:
        """How many points have no value."""
        return int(np.count_nonzero(self.codes == MISSING))


def colour_plainly(n_points: int) -> Colouring:
    """Return one colour for all points."""
    return Colouring("", np.ones(n_points, np.uint16), _table([_PLAIN]))


def colour_by_density(n_points: int) -> Colouring:
    """Return the colouring by how many points fall on a pixel, on a logarithmic scale."""
    return Colouring("density", np.ones(n_points, np.uint16), _shades(), is_density=True)


def colour_by_values(title: str, values: npt.ArrayLike) -> Colouring:
    """Return the colouring by numbers, between robust limits.

    Parameters
    ----------
    title
        Name of what is shown.
    values
        One number per point; nan and infinity are drawn grey. The limits are the percentiles 1 and
        99 of the others, so that one outlier does not wash out the rest.
    """
    numbers = np.asarray(values, np.float32)
    low, high = robust_limits(numbers)
    known = np.isfinite(numbers)
    shares = np.zeros(len(numbers), np.float32)
    np.divide(numbers - np.float32(low), np.float32(high - low), out=shares, where=known)
    codes = (shares.clip(0, 1) * (_N_SHADES - 1) + 1.5).astype(np.uint16)
    codes[~known] = MISSING
    return Colouring(title, codes, _shades(), limits=(low, high))


def colour_by_category(title: str, column: Any, palette: Sequence[str] | None = None) -> Colouring:
    """Return the colouring by categories.

    Parameters
    ----------
    title
        Name of what is shown.
    column
        One category per point: anything that `pandas.Categorical` takes.
    palette
        Colours as ``#rrggbb`` in the order of the categories, as scanpy keeps them in ``uns``.
    """
    import pandas as pd

    column = _plain_series(column)
    categories = column.cat.categories
    counts = column.cat.codes.to_numpy()
    totals = np.bincount(counts[counts >= 0], minlength=len(categories))
    colours = _category_colours(len(categories), palette)
    table = _table(colours)
    codes = np.where(counts < 0, MISSING, counts % len(colours) + 1).astype(np.uint16)
    entries = [
        LegendEntry(str(name), colours[index % len(colours)], int(totals[index]))
        for index, name in enumerate(categories)
        if totals[index]
    ]
    if not isinstance(categories, pd.RangeIndex) and not column.cat.ordered:
        entries.sort(key=lambda entry: -entry.count)
    return Colouring(title, codes, table, tuple(entries))


def colour_by_column(
    title: str, column: "pd.Series[Any]", palette: Sequence[str] | None = None
) -> Colouring:
    """Return the colouring by a column of ``obs``: numbers by shade, anything else by category."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return colour_by_values(title, column.to_numpy(np.float32, na_value=np.nan))
    return colour_by_category(title, column, palette)


def robust_limits(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Return the percentiles 1 and 99 of the finite values, widened where they are equal.

    Values that are zero more often than not, as most SAE features, would have no range left; the
    highest value then is the upper limit.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(finite, ROBUST_PERCENTILES))
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low, low + 1.0)


def _plain_series(column: Any) -> Any:
    import pandas as pd

    series = pd.Series(np.asarray(column)) if not isinstance(column, pd.Series) else column
    return series if isinstance(series.dtype, pd.CategoricalDtype) else series.astype("category")


def _category_colours(n: int, palette: Sequence[str] | None) -> list[tuple[int, int, int]]:
    if palette is not None and len(palette) >= n > 0:
        parsed = [_parse_colour(text) for text in palette[:n]]
        if all(colour is not None for colour in parsed):
            return [colour for colour in parsed if colour is not None]
    if n <= len(_PALETTE):
        return list(_PALETTE[: max(1, n)])
    return [_spread_colour(index) for index in range(min(n, _MOST_COLOURS))]


def _parse_colour(text: str) -> tuple[int, int, int] | None:
    digits = str(text).removeprefix("#")[:6]
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        return None
    return red, green, blue


def _spread_colour(index: int) -> tuple[int, int, int]:
    """Return one of endlessly many colours; neighbours in the list differ most."""
    lightness = (0.45, 0.6, 0.72)[index % 3]
    parts = colorsys.hls_to_rgb((index * _GOLDEN_ANGLE) % 1.0, lightness, 0.7)
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def _shades() -> ColourTable:
    from napari.utils.colormaps import ensure_colormap

    colours = np.asarray(ensure_colormap("viridis").map(np.linspace(0, 1, _N_SHADES)))
    return _table([tuple(row) for row in (255 * colours[:, :3]).round().astype(int)])


def _table(colours: Sequence[Any]) -> ColourTable:
    return np.array([MISSING_COLOUR, *colours], np.uint8)
