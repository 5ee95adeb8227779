"""Links canvas and selection: a click selects a patch, selected patches are marked. No Qt."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image

from napari_bio_superposition.widgets.garbage import with_quick_collections
from napari_bio_superposition.widgets.selection import SelectionMode
from napari_bio_superposition.widgets.selection_marks import SelectionMarks
from napari_bio_superposition.widgets.sources import METADATA_KEY
from napari_bio_superposition.widgets.study import OpenImage, Study

if TYPE_CHECKING:
    from napari.components import LayerList

    from napari_bio_superposition.workflows.analyze import ImageAnalysis

UNDO_KEY: Final = "Alt-Z"
REDO_KEY: Final = "Alt-Shift-Z"
"""Not Ctrl+Z, which undoes strokes of the brush while a Labels layer is active."""
_LOOKING: Final = "pan_zoom"


class ImageLink:
    """Marks selected patches and nuclei on the canvas, selects by clicks; ``ImageLink.of(viewer)``.

    A click selects the patch below it, with Shift in addition, with Ctrl the other way round;
    beside all patches it selects nothing. While a brush or another tool is active, clicks belong
    to the tool.
    """

    _of_viewer: ClassVar[WeakKeyDictionary[Any, "ImageLink"]] = WeakKeyDictionary()

    def __init__(self, viewer: Any) -> None:
        self._layers: LayerList = viewer.layers
        self._study = Study.of(viewer)
        self._marks: dict[str, SelectionMarks] = {}
        self._deleted: set[str] = set()
        self._analyses: dict[str, ImageAnalysis] = {}
        viewer.mouse_drag_callbacks.append(_click_callback(ref(self)))
        study = self._study
        viewer.bind_key(UNDO_KEY, lambda _: study.selection.undo(), overwrite=True)
        viewer.bind_key(REDO_KEY, lambda _: study.selection.redo(), overwrite=True)
        study.selection_changed.connect(self._mark)
        study.table_changed.connect(self._mark)
        study.images_changed.connect(self._on_images_changed)
        self._layers.events.removed.connect(self._on_removed)
        self._on_images_changed()

    @classmethod
    def of(cls, viewer: Any) -> "ImageLink":
        """Return the link of *viewer*, whether that is the viewer or napari's proxy of it."""
        while hasattr(viewer, "__wrapped__"):
            viewer = viewer.__wrapped__
        if viewer not in cls._of_viewer:
            cls._of_viewer[viewer] = cls(viewer)
        return cls._of_viewer[viewer]

    def marks(self, image_id: str) -> SelectionMarks | None:
        """Return the marks of an image, where it has a layer for them."""
        return self._marks.get(image_id)

    def prepare(self) -> bool:
        """Add the layer, hidden, for the marks of one open image; false where none lacks it.

        napari takes 0.1 s to add a layer. Done while nobody waits, it leaves the first selection
        as quick as the next ones. A layer that the user deleted waits for the next selection.
        """
        for image_id, image in self._study.images.items():
            if image_id not in self._marks and image_id not in self._deleted:
                self._add_marks(image_id, image)
                return True
        return False

    def click(self, position: Any, mode: SelectionMode = "replace") -> None:
        """Select the patch at a position in the world, as a click does."""
        for image in self._in_front():
            patches = image.patches_at(image.geometry.to_pixels(position))
            rows = image.rows[patches]
            rows = rows[rows >= 0]
            if rows.size:
                self._study.selection.select(rows[:1], mode, source="image")
                return
        if mode == "replace":
            self._study.selection.clear(source="image")

    @property
    def is_looking(self) -> bool:
        """Whether a click is free to select: no layer's brush or other tool is active."""
        active = self._layers.selection.active
        return active is None or str(getattr(active, "mode", _LOOKING)) == _LOOKING

    def _in_front(self) -> list[OpenImage]:
        """Return the open images, that which is looked at first."""
        current = self._study.current
        others = [image for image in self._study.images.values() if image is not current]
        return others if current is None else [current, *others]

    def _mark(self, *_: Any) -> None:
        mask = self._study.selection.mask
        for image_id, image in self._study.images.items():
            known = image.rows >= 0
            selected = np.zeros(len(image.rows), bool)
            selected[known] = mask[image.rows[known]]
            marks = self._marks.get(image_id)
            if marks is None and selected.any():
                marks = self._add_marks(image_id, image)
            if marks is not None:
                marks.mark(selected)

    def _add_marks(self, image_id: str, image: OpenImage) -> SelectionMarks:
        marks = SelectionMarks(
            image.origins,
            image.side_px,
            image.analysis.labels,
            image.analysis.image.shape,
            image.geometry,
            f"{image.name} · selected",
        )
        self._marks[image_id] = marks
        self._deleted.discard(image_id)
        active = self._layers.selection.active
        self._layers.append(marks.layer)
        self._layers.selection.active = active  # the new layer must not take the user's tool away
        return marks

    def _on_images_changed(self) -> None:
        """Drop the marks of images that were analysed again: their patches are others now."""
        images = self._study.images
        for image_id, marks in list(self._marks.items()):
            image = images.get(image_id)
            if image is None or image.analysis is not self._analyses.get(image_id):
                del self._marks[image_id]
                with with_quick_collections():
                    if marks.layer in self._layers:
                        self._layers.remove(marks.layer)
        self._analyses = {name: image.analysis for name, image in images.items()}
        self._deleted &= images.keys()
        self._mark()

    def _on_removed(self, event: Any) -> None:
        for image_id, marks in list(self._marks.items()):
            if marks.layer is event.value:  # deleted by the user; the next selection draws it anew
                del self._marks[image_id]
                self._deleted.add(image_id)
        for image_id, image in list(self._study.images.items()):
            if not any(_shows(layer, image) for layer in self._layers):
                self._study.close_image(image_id)


def _shows(layer: Any, image: OpenImage) -> bool:
    """Whether a layer can be a channel of an image."""
    known = layer.metadata.get(METADATA_KEY, {})
    if not isinstance(layer, Image) or known.get("is_result", False):
        return False
    same_shape = tuple(layer.level_shapes[0][-2:]) == tuple(image.analysis.image.shape)
    identity = known.get("acquisition", {}).get("id", image.analysis.image.id)
    return bool(same_shape and identity == image.analysis.image.id)


def _click_callback(link: "ref[ImageLink]") -> Any:
    """Return what napari calls at each press; it keeps nothing alive."""

    def select_patch(viewer: Any, event: Any) -> Iterator[None]:
        target = link()
        if target is None or event.button != 1 or not target.is_looking:
            return
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            if not np.allclose(event.pos, start, atol=3):
                return  # the user moves the canvas
            yield
        target.click(event.position, _mode_of(event.modifiers))

    return select_patch


def _mode_of(modifiers: Any) -> SelectionMode:
    names = {str(getattr(modifier, "name", modifier)) for modifier in modifiers}
    if "Shift" in names:
        return "add"
    return "toggle" if "Control" in names else "replace"
