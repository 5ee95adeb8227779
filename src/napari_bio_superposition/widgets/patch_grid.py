"""Patches as a label image whose colours are looked up, so that selecting is quick. No study."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap

from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.result_layers import result_metadata

_SELECTED_FILL: Final = (1.0, 0.9, 0.2, 0.22)
_SELECTED_EDGE: Final = (1.0, 0.9, 0.2, 1.0)
_EDGE_SHARE: Final = 0.03
"""Width of a patch's frame as a share of its edge."""


def frame_patches(
    origins: IntArray, side_px: int, shape: tuple[int, int]
) -> npt.NDArray[np.uint16] | npt.NDArray[np.int32]:
    """Return a label image with two labels per patch: ``2 i + 1`` inside, ``2 i + 2`` its frame.

    Frames lie above insides, so that the frame of a patch is whole where patches overlap little.

    Parameters
    ----------
    origins
        Row and column of the top-left pixels, ``(n, 2)``.
    side_px
        Edge of a patch.
    shape
        Height and width of the image.
    """
    fits = 2 * len(origins) <= np.iinfo(np.uint16).max
    labels = np.zeros(shape, np.uint16 if fits else np.int32)
    edge = max(1, round(_EDGE_SHARE * side_px))
    places = [(int(y), int(x)) for y, x in origins]
    for index, (y, x) in enumerate(places):
        labels[y : y + side_px, x : x + side_px] = 2 * index + 1
    for index, (y, x) in enumerate(places):
        end_y, end_x = y + side_px, x + side_px
        for window in (
            (slice(y, y + edge), slice(x, end_x)),
            (slice(end_y - edge, end_y), slice(x, end_x)),
            (slice(y, end_y), slice(x, x + edge)),
            (slice(y, end_y), slice(end_x - edge, end_x)),
        ):
            labels[window] = 2 * index + 2
    return labels


def selection_colours(selected: BoolArray) -> FloatArray:
    """Return red, green, blue and opacity of each label of `frame_patches`, background first."""
    colours = np.zeros((2 * len(selected) + 1, 4), np.float32)
    colours[1::2][selected] = _SELECTED_FILL
    colours[2::2][selected] = _SELECTED_EDGE
    return colours


class PatchGrid:
    """The layer that marks selected patches; changing marks swaps a table of colours only.

    Parameters
    ----------
    origins, side_px, shape
        As in `frame_patches`.
    geometry
        Where the image lies.
    name
        Of the layer.
    """

    def __init__(
        self,
        origins: IntArray,
        side_px: int,
        shape: tuple[int, int],
        geometry: Geometry,
        name: str,
    ) -> None:
        self._n_patches = len(origins)
        self.layer = Labels(
            frame_patches(origins, side_px, shape),
            name=name,
            colormap=_look_up(selection_colours(np.zeros(self._n_patches, bool))),
            opacity=1.0,
            metadata=result_metadata("selection"),
            **geometry.layer_options(),
        )
        self.layer.editable = False

    def mark(self, selected: BoolArray) -> None:
        """Mark patches, ``(n_patches,)``; all others are left as the image shows them."""
        self.layer.colormap = _look_up(selection_colours(selected))


def _look_up(colours: FloatArray) -> Any:
    """Return a map with one colour per label; the direct map, made for this, is slow."""
    return CyclicLabelColormap(colors=colours)
