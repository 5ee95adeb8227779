"""Features over the image: maps put together, colours, a display of the channels. No models."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.types import (
    DEATH,
    LYSOSOMES,
    MITOCHONDRIA,
    NUCLEI,
    FloatArray,
    IntArray,
    MultichannelImage,
)
from napari_bio_superposition.features.column_statistics import robust_tops

Colour = tuple[float, float, float]
ROLE_COLOURS: Final[Mapping[str, Colour]] = {
    MITOCHONDRIA: (1.0, 0.25, 0.2),
    LYSOSOMES: (0.2, 0.9, 0.3),
    NUCLEI: (0.3, 0.45, 1.0),
    DEATH: (0.9, 0.9, 0.9),
}
"""Red, green, blue of each role, in ``[0, 1]``."""
_SPARE_COLOURS: Final[Sequence[Colour]] = ((1.0, 0.8, 0.2), (0.2, 0.9, 0.9), (0.9, 0.4, 0.9))
_ROWS_TOGETHER: Final = 64
"""Rows of a picture that are enlarged while they lie in the cache of the processor."""


def assemble_overlay(
    maps: FloatArray,
    origins: IntArray,
    side_px: int,
    image_shape: tuple[int, int],
    *,
    outside: float = float("nan"),
) -> FloatArray:
    """Put the maps of patches together as a picture of the field.

    Tokens are enlarged bilinearly with half-pixel alignment (a token in the middle of the pixels
    that it covers: 64 tokens over 128 px have a stride of 2 px), also from one patch to the next.
    Where patches overlap they are blended, each weighted by the distance to its edges, so that the
    grid of patches does not show.

    Parameters
    ----------
    maps
        Activation per patch and token, ``(n, h, w)``.
    origins
        Row and column of the top-left pixel of each patch, ``(n, 2)``.
    side_px
        Edge of a patch.
    image_shape
        Height and width of the field.
    outside
        Value where no patch lies.

    Returns
    -------
    FloatArray
        ``(height, width)``, in the unit of *maps*.

    Raises
    ------
    TableError
        Where maps and origins differ in number, or a patch lies outside.

    Notes
    -----
    Section 15 of the method specification (bilinear, ``align_corners`` false).
    """
    _check_places(maps, origins, side_px, image_shape)
    if _on_common_grid(maps.shape[1:], origins, side_px):
        return _assemble_on_grid(maps, origins, side_px, image_shape, outside)
    return _assemble_by_patch(maps, origins, side_px, image_shape, outside)


def _on_common_grid(map_shape: Sequence[int], origins: IntArray, side_px: int) -> bool:
    """Return whether the tokens of all patches fall on one grid of whole pixels."""
    pitches = {side_px / n for n in map_shape}
    pitch = int(min(pitches))
    return len(pitches) == 1 and pitch in pitches and not (np.asarray(origins) % pitch).any()


def _assemble_on_grid(
    maps: FloatArray,
    origins: IntArray,
    side_px: int,
    image_shape: tuple[int, int],
    outside: float,
) -> FloatArray:
    """Blend the tokens of all patches on one grid, and enlarge it at once: no seams."""
    height, width = maps.shape[1:]
    pitch = side_px // height
    total = np.zeros([-(-n // pitch) for n in image_shape], np.float32)
    weight = np.zeros_like(total)
    feather = _feather(height)[:, None] * _feather(width)
    for patch_map, (y, x) in zip(maps, (np.asarray(origins) // pitch).tolist(), strict=True):
        window = slice(y, y + height), slice(x, x + width)
        total[window] += feather * patch_map
        weight[window] += feather
    known = weight > 0
    np.divide(total, weight, out=total, where=known)
    picture = _enlarge(total, pitch, image_shape)
    if known.all():
        return picture
    share = _enlarge(known.astype(np.float32), pitch, image_shape)
    covered = known.repeat(pitch, 0).repeat(pitch, 1)[: image_shape[0], : image_shape[1]]
    np.divide(picture, share, out=picture, where=covered)
    picture[~covered] = outside
    return picture


def _enlarge(tokens: FloatArray, pitch: int, image_shape: tuple[int, int]) -> FloatArray:
    """Interpolate tokens of *pitch* pixels onto pixels, as `interpolation_weights` says."""
    height, width = image_shape
    tall = np.empty((len(tokens) * pitch, tokens.shape[1]), np.float32)
    _fill_between(tokens, tall, pitch)
    wide = np.empty((height, tokens.shape[1] * pitch), np.float32)
    for row in range(0, height, _ROWS_TOGETHER):
        some = slice(row, min(height, row + _ROWS_TOGETHER))
        _fill_between(tall[some].T, wide[some].T, pitch)
    return wide[:, :width]


def _fill_between(tokens: FloatArray, out: FloatArray, pitch: int) -> None:
    """Interpolate along the first axis: pixels at equal places in their token weigh alike."""
    padded = np.concatenate([tokens[:1], tokens, tokens[-1:]])
    for pixel in range(pitch):
        place = (pixel + 0.5) / pitch + 0.5  # in padded tokens, of the pixel of the first token
        first, weight = int(place), np.float32(place % 1)
        before, behind = (padded[i : i + len(tokens)] for i in (first, first + 1))
        if weight == 0:
            out[pixel::pitch] = before
        else:
            np.add((1 - weight) * before, weight * behind, out=out[pixel::pitch])


def _assemble_by_patch(
    maps: FloatArray,
    origins: IntArray,
    side_px: int,
    image_shape: tuple[int, int],
    outside: float,
) -> FloatArray:
    """Enlarge each map by itself, and blend the patches pixel by pixel."""
    rows = interpolation_weights(maps.shape[1], side_px)
    columns = interpolation_weights(maps.shape[2], side_px)
    feather = _feather(side_px)[:, None] * _feather(side_px)
    total = np.zeros(image_shape, np.float32)
    weight = np.zeros(image_shape, np.float32)
    for patch_map, (y, x) in zip(maps, origins.tolist(), strict=True):
        window = slice(y, y + side_px), slice(x, x + side_px)
        total[window] += feather * (rows @ patch_map.astype(np.float32, copy=False) @ columns.T)
        weight[window] += feather
    known = weight > 0
    np.divide(total, weight, out=total, where=known)
    total[~known] = outside
    return total


def _feather(n: int) -> FloatArray:
    """Return weights that rise from the edges of a patch to its middle, ``(n,)``.

    Where patches overlap, each then counts more the deeper a place lies in it, and none begins
    with a step; where a place has one patch only, the weight cancels.
    """
    return (np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5).astype(np.float32)


def _check_places(
    maps: FloatArray, origins: IntArray, side_px: int, image_shape: tuple[int, int]
) -> None:
    if len(maps) != len(origins):
        raise TableError(
            f"{len(maps)} maps for {len(origins)} patches. Give one map per accepted patch."
        )
    is_inside = (origins >= 0) & (origins + side_px <= np.array(image_shape))
    if not is_inside.all():
        raise TableError(
            f"A patch lies outside of the image of {image_shape[0]}x{image_shape[1]} px. "
            "Show the features on the image that they were computed from."
        )


def interpolation_weights(n_tokens: int, n_pixels: int) -> FloatArray:
    """Return the matrix that interpolates tokens linearly onto pixels, ``(n_pixels, n_tokens)``.

    Pixel ``p`` looks at the token coordinate ``(p + 0.5) n_tokens / n_pixels - 0.5``, held within
    the outermost tokens.
    """
    place = (np.arange(n_pixels) + 0.5) * n_tokens / n_pixels - 0.5
    place = np.clip(place, 0, n_tokens - 1)
    left = np.minimum(place.astype(int), max(n_tokens - 2, 0))
    weight = place - left
    weights = np.zeros((n_pixels, n_tokens), np.float32)
    pixels = np.arange(n_pixels)
    weights[pixels, left] = 1 - weight
    weights[pixels, np.minimum(left + 1, n_tokens - 1)] += weight
    return weights


def fixed_scale(adata: AnnData, feature: str) -> tuple[float, float]:
    """Return the colour scale of a feature: 0 to its strong activations in the whole table.

    Strong is what `robust_tops` says, so that one odd token does not darken all images.

    The same activation has the same colour in every image, unlike with the published scaling by
    each image's own percentiles, which hides how strong a feature is.

    Raises
    ------
    TableError
        Where the table has no such feature.
    """
    if feature not in adata.var_names:
        raise TableError(
            f"There is no feature {feature!r} among {adata.n_vars}. Choose one such as "
            f"{list_choices(adata.var_names[:3])}."
        )
    top = float(robust_tops(adata.var.loc[[feature]])[0])
    return 0.0, top if top > 0 else 1.0


def image_scale(overlay: FloatArray, percentile: float = 99.0) -> tuple[float, float]:
    """Return the colour scale of one image alone: 0 to a high percentile of what is active.

    It shows where a feature is, and hides how strong it is in comparison with other images.
    """
    active = overlay[overlay > 0]
    top = float(np.percentile(active, percentile)) if active.size else 0.0
    return 0.0, top if top > 0 else 1.0


def contour_lines(overlay: FloatArray, level: float) -> list[npt.NDArray[np.float64]]:
    """Return the outlines of what is above a level, each ``(n, 2)``: row and column in pixels.

    Places without a patch count as below.
    """
    from skimage.measure import find_contours

    # A frame of zeros closes the lines at the edges of the image.
    framed = np.pad(np.nan_to_num(overlay, nan=0.0), 1)
    return [np.asarray(line) - 1 for line in find_contours(framed, level)]


def render_overlay(
    base_rgb: FloatArray,
    overlay: FloatArray,
    scale: tuple[float, float],
    *,
    colours: str | npt.NDArray[Any] = "inferno",
    opacity: float = 0.7,
    fade: bool = True,
) -> FloatArray:
    """Blend an overlay with a colour picture.

    Parameters
    ----------
    base_rgb
        Picture below, ``(height, width, 3)`` in ``[0, 1]``.
    overlay
        Activation, ``(height, width)``; nan shows the picture alone.
    scale
        Activations of the first and the last colour, for instance from `fixed_scale`.
    colours
        Name of a matplotlib colour map, or a table of colours ``(n, 3)`` in ``[0, 1]``.
    opacity
        Weight of the overlay where it is strongest.
    fade
        Whether weak activation is also more transparent; otherwise *opacity* holds everywhere, as
        in the paper's overlays (0.5).

    Returns
    -------
    FloatArray
        ``(height, width, 3)`` in ``[0, 1]``.
    """
    low, high = scale
    strength = np.clip((overlay - low) / (high - low if high > low else 1.0), 0, 1)
    known = np.isfinite(overlay)
    strength = np.where(known, strength, 0.0)
    table = _colour_table(colours)
    heat = table[np.rint(strength * (len(table) - 1)).astype(int)]
    weight = opacity * (strength if fade else known.astype(np.float32))
    blended = base_rgb + weight[..., np.newaxis] * (heat - base_rgb)
    picture: FloatArray = np.clip(blended, 0, 1).astype(np.float32)
    return picture


def _colour_table(colours: str | npt.NDArray[Any]) -> FloatArray:
    if isinstance(colours, str):
        from matplotlib import colormaps

        if colours not in colormaps:
            raise TableError(
                f"There is no colour map {colours!r}. Choose one such as inferno, viridis, magma."
            )
        colours = np.asarray(colormaps[colours](np.linspace(0, 1, 256)))[:, :3]
    return np.asarray(colours, dtype=np.float32)


def composite(
    image: MultichannelImage,
    colours: Mapping[str, Colour] | None = None,
    *,
    percentiles: tuple[float, float] = (10.0, 99.5),
) -> FloatArray:
    """Return a brightened colour picture of the channels that play a role, for reports.

    Parameters
    ----------
    image
        The field; channels are loaded one after the other.
    colours
        Role or channel name to red, green, blue in ``[0, 1]``; all roles of the image where
        ``None``.
    percentiles
        Of each channel, that become black and full colour (section 15 of the method
        specification: 10 and 99.5).

    Returns
    -------
    FloatArray
        ``(height, width, 3)`` in ``[0, 1]``; colours add up.
    """
    picture = np.zeros((*image.shape, 3), np.float32)
    for name, colour in (colours or choose_colours(image)).items():
        plane = image.channel(name).astype(np.float32)
        low, high = np.percentile(plane, percentiles)
        if high <= low:  # mostly empty: whatever there is, is signal
            high = plane.max()
        if high > low:
            stretched = np.clip((plane - low) / (high - low), 0, 1)
            picture += stretched[..., np.newaxis] * np.array(colour, np.float32)
    return np.minimum(picture, 1, out=picture)


def choose_colours(image: MultichannelImage) -> dict[str, Colour]:
    """Return a colour for each role of *image*; nothing else is shown."""
    spare = itertools.cycle(_SPARE_COLOURS)
    return {
        role: ROLE_COLOURS[role] if role in ROLE_COLOURS else next(spare) for role in image.roles
    }
