"""Selected patches and their nuclei as one label image with a table of colours. No study."""

from typing import Any, Final

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap

from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray, LabelImage
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.result_layers import result_metadata

_FILL: Final = (1.0, 0.9, 0.2, 0.22)
_EDGE: Final = (1.0, 0.9, 0.2, 1.0)
_NUCLEUS: Final = (1.0, 0.9, 0.2, 0.65)
_EDGE_SHARE: Final = 0.03
"""Width of a patch's frame as a share of its edge."""


def frame_patches(origins: IntArray, side_px: int, shape: tuple[int, int]) -> LabelImage:
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
    labels = np.zeros(shape, np.int32)
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


def cut_nuclei(framed: LabelImage, nuclei: LabelImage) -> IntArray:
    """Give each piece of a nucleus within one label of `frame_patches` a label of its own.

    Parameters
    ----------
    framed
        What `frame_patches` returned; the pieces are written into it, numbered from its largest
        label onwards.
    nuclei
        Label image of the same shape; 0 is background.

    Returns
    -------
    numpy.ndarray
        For each piece the label below it and its nucleus, ``(n_pieces, 2)``.
    """
    places = np.flatnonzero(nuclei)
    below, nucleus = framed.ravel()[places], nuclei.ravel()[places].astype(np.int64)
    n_nuclei = int(nucleus.max(initial=0)) + 1
    pairs, piece = np.unique(below * n_nuclei + nucleus, return_inverse=True)
    framed.ravel()[places] = int(framed.max(initial=0)) + 1 + piece
    return np.stack([pairs // n_nuclei, pairs % n_nuclei], axis=1)


def nuclei_in_patches(nuclei: LabelImage, origins: IntArray, side_px: int) -> IntArray:
    """Return which nucleus lies in which patch: pairs of label and patch, ``(n_pairs, 2)``.

    Parameters
    ----------
    nuclei
        Label image, ``(height, width)``; 0 is background.
    origins, side_px
        As in `frame_patches`. A nucleus lies where its centroid does; in several patches where
        these overlap.
    """
    rows, columns = np.nonzero(nuclei)
    labels = nuclei[rows, columns]
    areas = np.bincount(labels)
    known = np.flatnonzero(areas)
    sums = [np.bincount(labels, weights=places)[known] for places in (rows, columns)]
    centres = np.stack(sums, axis=1) / areas[known, None]
    pairs = [np.zeros((0, 2), np.int64)]
    for patch, origin in enumerate(origins):
        inside = ((centres >= origin) & (centres < origin + side_px)).all(axis=1)
        pairs.append(np.stack([known[inside], np.full(inside.sum(), patch)], axis=1))
    return np.concatenate(pairs)


class SelectionMarks:
    """The layer that marks selected patches; changing marks swaps a table of colours only.

    The layer is hidden until something is first marked. From then on it is the user's to hide.

    Parameters
    ----------
    origins, side_px
        As in `frame_patches`.
    nuclei
        Label image; ``None`` where there is none.
    shape
        Height and width of the image.
    geometry
        Where the image lies.
    name
        Of the layer.
    """

    def __init__(
        self,
        origins: IntArray,
        side_px: int,
        nuclei: LabelImage | None,
        shape: tuple[int, int],
        geometry: Geometry,
        name: str,
    ) -> None:
        labels = frame_patches(origins, side_px, shape)
        nuclei = np.zeros(shape, np.int32) if nuclei is None else nuclei
        self._selected = np.zeros(len(origins), bool)
        self._is_new = True
        self._pieces = cut_nuclei(labels, nuclei)
        self._pairs = nuclei_in_patches(nuclei, origins, side_px)
        fits = int(labels.max(initial=0)) <= np.iinfo(np.uint16).max
        self.layer = Labels(
            labels.astype(np.uint16) if fits else labels,
            name=name,
            colormap=self._colormap(),
            opacity=1.0,
            visible=False,
            metadata=result_metadata("selection"),
            **geometry.layer_options(),
        )
        self.layer.editable = False

    def mark(self, selected: BoolArray) -> None:
        """Mark patches, ``(n_patches,)``; all others are left as the image shows them."""
        if np.array_equal(selected, self._selected):
            return  # most selections concern some of many images
        self._selected = selected
        self.layer.colormap = self._colormap()
        if self._is_new:
            self.layer.visible, self._is_new = True, False

    def colours(self) -> FloatArray:
        """Return red, green, blue and opacity of each label, background first."""
        selected = self._selected
        patches = np.zeros((2 * len(selected) + 1, 4), np.float32)
        patches[1::2][selected] = _FILL
        patches[2::2][selected] = _EDGE
        below, nucleus = self._pieces.T
        is_chosen = np.isin(nucleus, self._pairs[selected[self._pairs[:, 1]], 0])
        nuclei = np.where(is_chosen[:, None], np.array(_NUCLEUS, np.float32), patches[below])
        return np.concatenate([patches, nuclei])

    def _colormap(self) -> Any:
        """Return a map with one colour per label; the direct map, made for this, is slow."""
        return CyclicLabelColormap(colors=self.colours())
