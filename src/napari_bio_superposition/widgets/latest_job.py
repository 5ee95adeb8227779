"""Answers questions in a thread, the newest only: what was asked in between is never computed."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.failures import Failure, explain
from napari_bio_superposition.widgets.jobs import JobRunner


class LatestJob(QObject):
    """Runs one job at a time; of those asked for meanwhile, the last one follows.

    For quick questions that a brush stroke or a click asks again: the answer to an older one is
    dropped.
    """

    answered = Signal(object)
    """What the newest job returned."""
    failed = Signal(object)
    """The `Failure` of the newest job."""
    idle = Signal()
    """Nothing runs, and nothing waits."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runner = JobRunner(self)
        self._waiting: Callable[[], Job[Any]] | None = None
        self._runner.succeeded.connect(self._on_succeeded)
        self._runner.failed.connect(self._on_failed)
        self._runner.ended.connect(self._on_ended)

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return self._runner.running

    def ask(self, make_job: Callable[[], Job[Any]]) -> None:
        """Run a job as soon as the present one has stopped; a mistake is told at once."""
        if self._runner.running:
            self._waiting = make_job
            self._runner.cancel()
            return
        try:
            job = make_job()
        except BioSuperpositionError as error:
            self.failed.emit(explain(error))
            return
        self._runner.start(job)

    def forget(self) -> None:
        """Cancel what runs, and drop what waits."""
        self._waiting = None
        self._runner.cancel()

    def shut_down(self) -> None:
        """Cancel, and wait until the job has ended; for a window that closes."""
        self._waiting = None
        self._runner.shut_down()

    def _on_succeeded(self, result: Any) -> None:
        if self._waiting is None:
            self.answered.emit(result)

    def _on_failed(self, failure: Failure) -> None:
        if self._waiting is None:
            self.failed.emit(failure)

    def _on_ended(self) -> None:
        make_job, self._waiting = self._waiting, None
        if make_job is not None:
            self.ask(make_job)
        else:
            self.idle.emit()
