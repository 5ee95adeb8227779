"""Regions of interest on patches and on tokens, and where a random one would lie. No models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import RegionError, list_choices
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray

NOWHERE: Final = -1
"""Stands for a place without a token in rows of tokens."""
_COVERED: Final = 0.5
"""A token belongs to a region that covers at least this share of its pixels."""


def patches_in_region(origins: IntArray, side_px: int, mask: BoolArray) -> FloatArray:
    """Return which share of each patch a region covers.

    Parameters
    ----------
    origins
        Row and column of the top-left pixel of each patch, ``(n, 2)``.
    side_px
        Edge of a patch.
    mask
        Pixels of the region, ``(height, width)``.

    Returns
    -------
    FloatArray
        ``(n,)`` in ``[0, 1]``; ``patches_in_region(...) > 0`` selects what it touches.

    Raises
    ------
    RegionError
        Where the mask is empty or does not belong to the image of the patches.
    """
    mask = _check_mask(mask, origins, side_px)
    shares = _share_of_boxes(mask, origins, side_px, (1, 1))
    return shares.reshape(len(origins))


def tokens_in_region(
    origins: IntArray, side_px: int, map_shape: tuple[int, int], mask: BoolArray
) -> BoolArray:
    """Return which tokens a region covers by at least half.

    A patch of 128 px with 64 x 64 tokens has a token on every 2 x 2 px.

    Parameters
    ----------
    origins, side_px, mask
        As for `patches_in_region`.
    map_shape
        Tokens of a patch in height and width.

    Returns
    -------
    BoolArray
        ``(n, tokens)``, tokens row by row.

    Raises
    ------
    RegionError
        Where the mask is empty, or does not belong to the image of the patches.
    """
    mask = _check_mask(mask, origins, side_px)
    shares = _share_of_boxes(mask, origins, side_px, map_shape)
    covered: BoolArray = (shares >= _COVERED).reshape(len(origins), -1)
    return covered


def nuclei_region(labels: npt.NDArray[Any], chosen: Iterable[int]) -> BoolArray:
    """Return the pixels of chosen nuclei, ``(height, width)``.

    Raises
    ------
    RegionError
        Where none is chosen, or one does not exist.
    """
    numbers = sorted({int(number) for number in chosen} - {0})
    if not numbers:
        raise RegionError("No nucleus is chosen. Click one, or select some in the table.")
    present = np.unique(labels)
    if missing := sorted(set(numbers) - set(present.tolist())):
        raise RegionError(
            f"There is no nucleus {missing[0]} in this image; the nuclei are 1 to "
            f"{int(present.max(initial=0))}. Choose among these."
        )
    return np.asarray(np.isin(labels, numbers))


def patches_region(
    origins: IntArray, side_px: int, chosen: BoolArray, image_shape: tuple[int, int]
) -> BoolArray:
    """Return the pixels of chosen patches, ``(height, width)``.

    Raises
    ------
    RegionError
        Where no patch is chosen.
    """
    if not np.any(chosen):
        raise RegionError("No patch is chosen. Click one, or draw around some in a plot.")
    mask = np.zeros(image_shape, bool)
    for y, x in np.asarray(origins)[np.asarray(chosen, bool)].tolist():
        mask[y : y + side_px, x : x + side_px] = True
    return mask


def split_regions(
    painted: npt.NDArray[Any], names: Mapping[int, str] | None = None
) -> dict[str, BoolArray]:
    """Return the mask of each colour of a painted Labels layer.

    Parameters
    ----------
    painted
        ``(height, width)`` whole numbers; 0 is background.
    names
        Number to name; ``ROI 1`` and so on where there is none.

    Raises
    ------
    RegionError
        Where nothing is painted.
    """
    numbers = [int(number) for number in np.unique(painted) if number]
    if not numbers:
        raise RegionError(_NOTHING_PAINTED)
    names = names or {}
    return {names.get(number, f"ROI {number}"): painted == number for number in numbers}


_NOTHING_PAINTED: Final = (
    "The region is empty. Paint on a Labels layer, draw a shape, or select patches or nuclei."
)


@dataclass(frozen=True, eq=False)
class TokenGrid:
    """Which token lies where on a field: a raster with the pitch of the tokens.

    Parameters
    ----------
    rows
        Number of the token (``patch * tokens + token``) at each place, ``(h, w)``; `NOWHERE` where
        no accepted patch lies. Where patches overlap, the last one counts.
    pitch_px
        Distance of tokens.
    """

    rows: IntArray
    pitch_px: float

    @classmethod
    def of_patches(
        cls,
        origins: IntArray,
        side_px: int,
        map_shape: tuple[int, int],
        image_shape: tuple[int, int],
    ) -> "TokenGrid":
        """Lay out the tokens of the patches of one field."""
        height, width = map_shape
        pitch = side_px / height
        raster = np.full([max(1, int(n / pitch)) for n in image_shape], NOWHERE, np.int64)
        of_patch = np.arange(height * width).reshape(height, width)
        for patch, (y, x) in enumerate(np.rint(np.asarray(origins) / pitch).astype(int).tolist()):
            window = raster[y : y + height, x : x + width]
            window[:] = (of_patch + patch * height * width)[: window.shape[0], : window.shape[1]]
        return cls(raster, pitch)

    def move_randomly(
        self, places: IntArray, n_moves: int, *, rng: np.random.Generator
    ) -> IntArray:
        """Return the tokens under random translations, turns and mirrorings of some places.

        The field is taken as a torus, so that a shape of any size and any number of pieces fits
        everywhere and keeps its form.

        Parameters
        ----------
        places
            Row and column on the raster, ``(m, 2)``.
        n_moves
            How many random positions.
        rng
            Draws them.

        Returns
        -------
        IntArray
            Numbers of tokens, ``(n_moves, m)``; `NOWHERE` where a place has none.
        """
        height, width = self.rows.shape
        span = np.ptp(places, axis=0) + 1
        can_turn = span[0] <= width and span[1] <= height
        shifts = rng.integers(0, [height, width], size=(n_moves, 2))
        flips = rng.choice([-1, 1], size=(n_moves, 2))
        moved = places[None] * flips[:, None]
        if can_turn:
            turned = rng.random(n_moves) < 0.5
            moved[turned] = moved[turned][..., ::-1]
        moved = (moved + shifts[:, None]) % [height, width]
        tokens: IntArray = self.rows[moved[..., 0], moved[..., 1]]
        return tokens

    def places_of(self, tokens: IntArray) -> IntArray:
        """Return row and column on the raster of each token that is shown, ``(m, 2)``."""
        wanted = np.zeros(int(max(self.rows.max(), tokens.max(initial=0))) + 1, bool)
        wanted[tokens] = True
        shown = self.rows >= 0
        shown[shown] = wanted[self.rows[shown]]
        return np.argwhere(shown)


def _check_mask(mask: BoolArray, origins: IntArray, side_px: int) -> BoolArray:
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise RegionError(
            f"A region is one plane of pixels; this one has the shape {mask.shape}. "
            f"Give a mask with the axes {list_choices(['height', 'width'])}."
        )
    if not mask.any():
        raise RegionError(_NOTHING_PAINTED)
    lowest = np.asarray(origins).max(axis=0, initial=0) + side_px
    if len(origins) and (lowest > mask.shape).any():
        raise RegionError(
            f"The region has {mask.shape[0]}x{mask.shape[1]} px, and the patches reach to "
            f"{lowest[0]}x{lowest[1]} px. Paint on the image that was analysed."
        )
    return mask


def _share_of_boxes(
    mask: BoolArray, origins: IntArray, side_px: int, boxes: tuple[int, int]
) -> FloatArray:
    """Return the covered share of a grid of boxes in each patch, ``(n, rows, columns)``."""
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    mask.cumsum(0, dtype=np.int64).cumsum(1, out=total[1:, 1:])
    edges = [np.rint(np.arange(n + 1) * side_px / n).astype(np.int64) for n in boxes]
    origins = np.asarray(origins, np.int64).reshape(-1, 2)
    y = (origins[:, :1] + edges[0])[:, :, None]
    x = (origins[:, 1:] + edges[1])[:, None, :]
    corners = total[y, x]
    counts = corners[:, 1:, 1:] - corners[:, :-1, 1:] - corners[:, 1:, :-1] + corners[:, :-1, :-1]
    areas = np.diff(edges[0])[:, None] * np.diff(edges[1])
    shares: FloatArray = (counts / areas).astype(np.float32)
    return shares
