"""Draws the colours of a layer as a small icon. Nothing else."""

import numpy as np
from napari.layers import Image
from qtpy.QtGui import QIcon, QImage, QPixmap

_WIDTH_PX, _HEIGHT_PX = 32, 12


def make_swatch(layer: Image) -> QIcon:
    """Return the colour map of *layer* as a gradient from low to high."""
    colours = np.asarray(layer.colormap.map(np.linspace(0, 1, _WIDTH_PX)))
    row = (colours[:, :4] * 255).round().astype(np.uint8)
    pixels = np.tile(row, (_HEIGHT_PX, 1, 1)).tobytes()
    image = QImage(pixels, _WIDTH_PX, _HEIGHT_PX, 4 * _WIDTH_PX, QImage.Format.Format_RGBA8888)
    return QIcon(QPixmap.fromImage(image.copy()))  # the copy outlives the bytes
