"""Draws the colours of a layer as a small icon. Nothing else."""

import numpy as np
from napari.layers import Image
from napari.utils.colormaps import Colormap
from qtpy.QtGui import QIcon, QImage, QPixmap

from napari_bio_superposition.widgets.overlay_colormaps import overlay_colormap

_WIDTH_PX, _HEIGHT_PX = 32, 12


def make_swatch(layer: Image) -> QIcon:
    """Return the colour map of *layer* as a gradient from low to high."""
    return _draw(layer.colormap)


def make_colour_swatch(base: str) -> QIcon:
    """Return the overlay colour map of this name as a gradient from low to high."""
    return _draw(overlay_colormap(base))


def _draw(colormap: Colormap) -> QIcon:
    colours = np.asarray(colormap.map(np.linspace(0, 1, _WIDTH_PX)))
    row = (colours[:, :4] * 255).round().astype(np.uint8)
    pixels = np.tile(row, (_HEIGHT_PX, 1, 1)).tobytes()
    image = QImage(pixels, _WIDTH_PX, _HEIGHT_PX, 4 * _WIDTH_PX, QImage.Format.Format_RGBA8888)
    return QIcon(QPixmap.fromImage(image.copy()))  # the copy outlives the bytes
