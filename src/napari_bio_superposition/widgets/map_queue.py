"""Draws features without holding up the window: maps of large images come from a thread."""

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_bio_superposition.widgets.explorer_jobs import draw_map
from napari_bio_superposition.widgets.failures import Failure, explain
from napari_bio_superposition.widgets.feature_display import FeatureDisplay
from napari_bio_superposition.widgets.jobs import JobRunner


class MapQueue(QObject):
    """Draws what the user asks for, in turn: all ticks, and of the glances the last one.

    Parameters
    ----------
    display
        Draws maps, and knows which are at hand.
    """

    drawn = Signal(int)
    """The overlay of this latent is on the canvas."""
    failed = Signal(object)
    """The `Failure` of a map that could not be drawn."""

    def __init__(self, display: FeatureDisplay, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._display = display
        self._waiting: dict[int, bool] = {}
        self._running: int | None = None
        self._runner = JobRunner(self)
        self._runner.succeeded.connect(self._on_succeeded)
        self._runner.failed.connect(self._on_failed)
        self._runner.ended.connect(self._on_ended)

    @property
    def waiting(self) -> tuple[int, ...]:
        """The latents whose maps are still to come."""
        return tuple(self._waiting)

    def show(self, latent: int, *, pinned: bool = True) -> None:
        """Draw a feature: at once where its map is quick to have, else when it is computed.

        Parameters
        ----------
        latent
            The SAE unit.
        pinned
            Keep it until it is hidden; otherwise the next glance takes its place.

        Raises
        ------
        TableError
            Where the image has no features.
        """
        if not pinned:
            self._waiting = {one: kept for one, kept in self._waiting.items() if kept}
        if self._display.is_quick(latent):
            self._draw(latent, pinned=pinned)
            return
        self._waiting[latent] = pinned or self._waiting.get(latent, False)
        self._go_on()

    def forget(self, latent: int | None = None) -> None:
        """Do not draw a latent that waits, or none at all."""
        if latent is None:
            self._waiting.clear()
        else:
            self._waiting.pop(latent, None)

    def shut_down(self) -> None:
        """Draw nothing any more; for a dock that closes."""
        self._waiting.clear()
        self._runner.cancel()

    def _go_on(self) -> None:
        image = self._display.image
        if image is None:
            self._waiting.clear()
        if image is None or self._runner.running or not self._waiting:
            return
        self._running = next(iter(self._waiting))
        self._runner.start(draw_map(image, self._running))

    def _on_succeeded(self, drawn: Any) -> None:
        image_id, latent, values = drawn
        image = self._display.image
        if image is None or image.analysis.image.id != image_id:
            self._waiting.clear()  # they were asked of an image that is no longer looked at
        if latent not in self._waiting:
            return
        self._display.keep_map(latent, values)
        try:
            self._draw(latent, pinned=self._waiting[latent])
        except Exception as error:  # told like what fails in the thread
            self.failed.emit(explain(error, "Drawing the feature"))

    def _on_failed(self, failure: Failure) -> None:
        if self._running in self._waiting:
            self.failed.emit(failure)

    def _on_ended(self) -> None:
        if self._running is not None:
            self._waiting.pop(self._running, None)
        self._running = None
        self._go_on()

    def _draw(self, latent: int, *, pinned: bool) -> None:
        overlays = self._display.overlays
        is_kept = latent in overlays.shown and latent != overlays.passing
        self._display.show(latent, pinned=pinned or is_kept)
        self.drawn.emit(latent)
