"""Marks the nuclei of selected patches on the canvas, by a table of colours. No Qt."""

from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap

from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray, LabelImage
from napari_bio_superposition.widgets.garbage import with_quick_collections
from napari_bio_superposition.widgets.result_layers import result_metadata
from napari_bio_superposition.widgets.study import OpenImage, Study

if TYPE_CHECKING:
    from napari.components import LayerList

_COLOUR: Final = (1.0, 0.9, 0.2, 0.55)


def nuclei_in_patches(labels: LabelImage, origins: IntArray, side_px: int) -> IntArray:
    """Return which nucleus lies in which patch: pairs of label and patch, ``(n_pairs, 2)``.

    Parameters
    ----------
    labels
        Nuclei, ``(height, width)``; 0 is background.
    origins
        Row and column of the top-left pixels of the patches, ``(n, 2)``.
    side_px
        Edge of a patch. A nucleus lies where its centroid does; in several patches where these
        overlap.
    """
    flat = labels.ravel()
    areas = np.bincount(flat)
    height, width = labels.shape
    rows = np.repeat(np.arange(height), width)
    columns = np.tile(np.arange(width), height)
    sums = [np.bincount(flat, weights=places) for places in (rows, columns)]
    known = np.flatnonzero(areas)
    known = known[known > 0]
    centres = np.stack([total[known] / areas[known] for total in sums], axis=1)
    pairs = [np.zeros((0, 2), np.int64)]
    for patch, origin in enumerate(origins):
        inside = ((centres >= origin) & (centres < origin + side_px)).all(axis=1)
        pairs.append(np.stack([known[inside], np.full(inside.sum(), patch)], axis=1))
    return np.concatenate(pairs)


def nuclei_colours(n_labels: int, pairs: IntArray, selected: BoolArray) -> FloatArray:
    """Return the colour of each label ``(n_labels, 4)``: visible where its patch is selected."""
    colours = np.zeros((n_labels, 4), np.float32)
    colours[pairs[selected[pairs[:, 1]], 0]] = _COLOUR
    return colours


class NucleiLink:
    """One layer per image with the nuclei of its selected patches; ``NucleiLink.of(viewer)``."""

    _of_viewer: ClassVar[WeakKeyDictionary[Any, "NucleiLink"]] = WeakKeyDictionary()

    def __init__(self, viewer: Any) -> None:
        self._layers: LayerList = viewer.layers
        self._study = Study.of(viewer)
        self._marks: dict[str, _NucleiMarks] = {}
        self._study.selection_changed.connect(self._mark)
        self._study.images_changed.connect(self._on_images_changed)
        self._layers.events.removed.connect(self._on_removed)

    @classmethod
    def of(cls, viewer: Any) -> "NucleiLink":
        """Return the link of *viewer*, whether that is the viewer or napari's proxy of it."""
        while hasattr(viewer, "__wrapped__"):
            viewer = viewer.__wrapped__
        if viewer not in cls._of_viewer:
            cls._of_viewer[viewer] = cls(viewer)
        return cls._of_viewer[viewer]

    def layer(self, image_id: str) -> Labels | None:
        """Return the layer with the marks of an image."""
        marks = self._marks.get(image_id)
        return None if marks is None else marks.layer

    def _mark(self, *_: Any) -> None:
        mask = self._study.selection.mask
        for image_id, image in self._study.images.items():
            selected = np.zeros(len(image.rows), bool)
            known = image.rows >= 0
            selected[known] = mask[image.rows[known]]
            marks = self._marks.get(image_id)
            if marks is None and selected.any() and image.analysis.labels is not None:
                marks = self._add(image_id, image, image.analysis.labels)
            if marks is not None:
                marks.mark(selected)

    def _add(self, image_id: str, image: OpenImage, labels: LabelImage) -> "_NucleiMarks":
        marks = self._marks[image_id] = _NucleiMarks(image, labels)
        active = self._layers.selection.active
        self._layers.append(marks.layer)
        self._layers.selection.active = active  # the new layer must not take the user's tool away
        return marks

    def _on_images_changed(self) -> None:
        """Drop the marks of images that are gone or were analysed again."""
        for image_id, marks in list(self._marks.items()):
            image = self._study.images.get(image_id)
            if image is None or image.analysis is not marks.analysis:
                del self._marks[image_id]
                with with_quick_collections():
                    if marks.layer in self._layers:
                        self._layers.remove(marks.layer)
        self._mark()

    def _on_removed(self, event: Any) -> None:
        for image_id, marks in list(self._marks.items()):
            if marks.layer is event.value:
                del self._marks[image_id]


class _NucleiMarks:
    """The nuclei of one image as a layer whose colours are looked up."""

    def __init__(self, image: OpenImage, labels: LabelImage) -> None:
        self.analysis = image.analysis
        self._n_labels = int(labels.max(initial=0)) + 1
        self._pairs = nuclei_in_patches(labels, image.origins, image.side_px)
        fits = self._n_labels <= np.iinfo(np.uint16).max
        data: npt.NDArray[Any] = labels.astype(np.uint16) if fits else labels
        self.layer = Labels(
            data,
            name=f"{image.name} · selected nuclei",
            opacity=1.0,
            metadata=result_metadata("selected nuclei"),
            **image.geometry.layer_options(),
        )
        self.layer.editable = False

    def mark(self, selected: BoolArray) -> None:
        """Mark the nuclei of patches, ``(n_patches,)``."""
        colours = nuclei_colours(self._n_labels, self._pairs, selected)
        self.layer.colormap = CyclicLabelColormap(colors=colours)
