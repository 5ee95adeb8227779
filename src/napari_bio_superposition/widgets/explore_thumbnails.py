"""Patches as small colour pictures, with or without a feature over them. No Qt, no layers."""

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.types import DEATH, LYSOSOMES, MITOCHONDRIA, NUCLEI, FloatArray

if TYPE_CHECKING:
    from napari_bio_superposition.widgets.study import OpenImage, Study

Picture = npt.NDArray[np.uint8]
"""``(side, side, 3)``."""
_COLOURS: Final = {
    NUCLEI: (0.25, 0.45, 1.0),
    MITOCHONDRIA: (1.0, 0.6, 0.1),
    LYSOSOMES: (0.2, 0.9, 0.35),
    DEATH: (1.0, 0.2, 0.8),
}
_OTHER: Final = (0.6, 0.6, 0.6)
_TOP_PERCENTILE: Final = 99.7
_SAMPLED_PATCHES: Final = 64
_OVERLAY: Final = (1.0, 0.85, 0.1)
_OVERLAY_OPACITY: Final = 0.75


class Thumbnails:
    """Makes pictures of the patches of open images.

    Parameters
    ----------
    study
        Of the viewer; patches of images that are not open have no picture.
    """

    def __init__(self, study: "Study") -> None:
        self._study = study
        self._tops: WeakKeyDictionary[Any, npt.NDArray[np.float32]] = WeakKeyDictionary()

    def picture(self, row: int, latent: int | None = None) -> Picture | None:
        """Return the patch in a row of the table, ``None`` where its image is not open.

        Parameters
        ----------
        row
            Of the study's table.
        latent
            A feature that is laid over it, on the scale of its image.
        """
        for image in self._study.images.values():
            patch = np.flatnonzero(image.rows == row)
            if patch.size:
                return self._paint(image, int(patch[0]), latent)
        return None

    def pictures(
        self, rows: npt.NDArray[np.integer], n: int, latent: int | None = None
    ) -> list[tuple[int, Picture]]:
        """Return up to *n* rows that have a picture, with it, in the given order."""
        found = []
        at_hand = self.rows_at_hand(rows)
        for row in at_hand[:n]:
            picture = self.picture(int(row), latent)
            if picture is not None:
                found.append((int(row), picture))
        return found

    def rows_at_hand(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Return those of *rows* whose image is open, in the given order."""
        images = self._study.images.values()
        known = [image.rows for image in images] or [np.zeros(0, np.int64)]
        return rows[np.isin(rows, np.concatenate(known))]

    def _paint(self, image: "OpenImage", patch: int, latent: int | None) -> Picture:
        patches = image.analysis.patches
        pixels = patches.pixels[np.flatnonzero(patches.accepted)[patch]]
        scaled = (pixels / self._top_of(image)[:, None, None]).clip(0, 1)
        weights = np.array([_COLOURS.get(role, _OTHER) for role in patches.channel_roles])
        colours = np.einsum("chw,cr->hwr", scaled, weights).clip(0, 1)
        if latent is not None and image.analysis.tokens is not None:
            colours = _lay_over(colours, image.overlay(latent), image.origins[patch])
        painted: Picture = (255 * colours).round().astype(np.uint8)
        return painted

    def _top_of(self, image: "OpenImage") -> npt.NDArray[np.float32]:
        """Return the brightness of each channel that is drawn as full, alike within an image."""
        patches = image.analysis.patches
        if patches not in self._tops:
            step = max(1, len(patches.pixels) // _SAMPLED_PATCHES)
            sample = np.asarray(patches.pixels[::step, :, ::2, ::2])
            tops = np.percentile(sample, _TOP_PERCENTILE, axis=(0, 2, 3))
            self._tops[patches] = np.maximum(tops, 1e-6).astype(np.float32)
        return self._tops[patches]


def _lay_over(colours: FloatArray, values: FloatArray, origin: Any) -> FloatArray:
    """Return colours ``(side, side, 3)`` with the window of a map of activations over them."""
    y, x = (int(part) for part in origin)
    side = len(colours)
    top = float(np.nanmax(values, initial=0.0))
    if top <= 0:
        return colours
    window = np.nan_to_num(values[y : y + side, x : x + side]) / top
    opacity = (window * _OVERLAY_OPACITY).clip(0, 1)[..., np.newaxis]
    mixed: FloatArray = colours * (1 - opacity) + np.array(_OVERLAY) * opacity
    return mixed
