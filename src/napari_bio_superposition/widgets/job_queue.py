"""Runs jobs in turn in a thread; a new list takes the place of what still waits. No widget."""

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.failures import Failure
from napari_bio_superposition.widgets.jobs import JobRunner


class JobQueue(QObject):
    """Runs a list of jobs one after the other; what belongs to an older list is dropped."""

    answered = Signal(object)
    """What a job of the present list returned."""
    failed = Signal(object)
    """The `Failure` of one; the others go on."""
    idle = Signal()
    """Nothing runs, and nothing waits."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[Callable[[], Job[Any]]] = []
        self._is_stale = False
        self._runner = JobRunner(self)
        self._runner.succeeded.connect(self._on_succeeded)
        self._runner.failed.connect(self._on_failed)
        self._runner.ended.connect(self._on_ended)

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return self._runner.running

    def ask(self, jobs: Sequence[Callable[[], Job[Any]]]) -> None:
        """Run these jobs in turn, in place of those that were asked for before."""
        self._waiting = list(jobs)
        if self._runner.running:
            self._is_stale = True
            self._runner.cancel()
        else:
            self._go_on()

    def shut_down(self) -> None:
        """Drop everything, and wait until the job has ended; for a window that closes."""
        self._waiting = []
        self._runner.shut_down()

    def _go_on(self) -> None:
        if self._waiting:
            self._runner.start(self._waiting.pop(0)())
        else:
            self.idle.emit()

    def _on_succeeded(self, result: Any) -> None:
        if not self._is_stale:
            self.answered.emit(result)

    def _on_failed(self, failure: Failure) -> None:
        if not self._is_stale:
            self.failed.emit(failure)

    def _on_ended(self) -> None:
        self._is_stale = False
        self._go_on()
