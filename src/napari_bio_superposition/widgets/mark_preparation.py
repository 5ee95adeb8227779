"""Adds the layers that mark selected patches before a selection needs them. No computing."""

from typing import Any, Final

from qtpy.QtCore import QObject, QTimer

from napari_bio_superposition.widgets.image_link import ImageLink
from napari_bio_superposition.widgets.study import Study

_IDLE_MS: Final = 100
"""After a new image, until the window has drawn it."""


class MarkPreparation(QObject):
    """Prepares the marks of open images, one after the other, while the window is idle.

    Parameters
    ----------
    viewer
        The napari viewer.
    parent
        The dock whose selections are to be quick.
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._link = ImageLink.of(viewer)
        self._study = Study.of(viewer)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._prepare)
        self._study.images_changed.connect(self._wait)
        self._wait()

    def stop(self) -> None:
        """Prepare nothing any more; may be called more than once."""
        self._soon.stop()
        self._study.images_changed.disconnect(self._wait, missing_ok=True)

    def _wait(self) -> None:
        self._soon.start(_IDLE_MS)

    def _prepare(self) -> None:
        if self._link.prepare():
            self._wait()
