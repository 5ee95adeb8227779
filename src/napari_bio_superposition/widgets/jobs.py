"""Runs one job at a time in a thread, shielded, cancellable. Knows Qt signals, but no widget."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.failures import Failure, explain
from napari_bio_superposition.widgets.garbage import with_quick_collections

_REPORT_EVERY_S = 0.05
"""A job may report thousands of units a second; the window is told at most this often."""


@dataclass(frozen=True)
class _Cancelled:
    """The job was closed because the user asked for it."""


@dataclass(frozen=True, eq=False)
class _Succeeded:
    """The job ended by itself; `result` is what it returned."""

    result: Any


_Outcome = _Succeeded | Failure | _Cancelled


class JobRunner(QObject):
    """Runs a job in its own thread and tells the thread of this object how it goes.

    superqt's generator worker swallows `RuntimeError` (a CUDA out-of-memory is one) and leaves a
    cancelled generator open until it is collected. Here every exception arrives as a `Failure`,
    and the generator is closed, in its own thread, before `ended` is emitted.
    """

    progressed = Signal(object)
    """The newest `Progress`."""
    succeeded = Signal(object)
    """What the job returned."""
    failed = Signal(object)
    """The `Failure` that ended it."""
    cancelled = Signal()
    ended = Signal()
    """Last of all, however the job ended."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread: _JobThread | None = None

    @property
    def running(self) -> bool:
        """Whether a job is under way, or still closing after a cancel."""
        return self._thread is not None

    def start(self, job: Job[Any]) -> None:
        """Start *job*; it is closed at once where another one is still running."""
        if self.running:
            job.close()
            return
        self._thread = thread = _JobThread(job)
        # Emitted by the thread, so Qt queues both into the event loop of this object.
        thread.messages.reported.connect(self._on_reported)
        thread.messages.finished.connect(self._on_finished)
        # A window that is deleted takes this object with it: the job has to stop by itself.
        self.destroyed.connect(thread.cancel.set)
        thread.start()

    def cancel(self) -> None:
        """Ask the running job to stop at its next report; without one nothing happens."""
        if self._thread is not None:
            self._thread.cancel.set()

    def shut_down(self) -> None:
        """Cancel, and wait until the job has cleaned up; for a window that closes."""
        if self._thread is not None:
            self._thread.cancel.set()
            self._thread.join()

    def _on_reported(self, progress: Progress) -> None:
        if self._thread is not None and not self._thread.cancel.is_set():
            self.progressed.emit(progress)

    def _on_finished(self, outcome: _Outcome) -> None:
        self._thread = None
        match outcome:
            case _Succeeded(result=result):
                self.succeeded.emit(result)
            case Failure():
                self.failed.emit(outcome)
            case _:
                self.cancelled.emit()
        self.ended.emit()


class _Messages(QObject):
    """What a thread sends.

    It belongs to the thread: Qt survives the deletion of a receiver while a signal is emitted, but
    not that of the sender.
    """

    reported = Signal(object)
    finished = Signal(object)


class _JobThread(threading.Thread):
    """Drives one generator. A Python thread, since a `QThread` must not outlive its wrapper."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(name="bio-superposition-job")
        self.cancel = threading.Event()
        self.messages = _Messages()
        self._job = job
        self._step = ""
        self._reported_at_s = 0.0

    def run(self) -> None:
        """Drive the job to its end and hand over the outcome."""
        with with_quick_collections():
            outcome = self._drive()
        self.messages.finished.emit(outcome)

    def _drive(self) -> _Outcome:
        try:
            try:
                while not self.cancel.is_set():
                    self._report(next(self._job))
            finally:
                self._job.close()
        except StopIteration as stop:
            return _Cancelled() if self.cancel.is_set() else _Succeeded(stop.value)
        except BaseException as error:  # the shield: a thread has nobody above it to catch more
            return explain(error, self._step)
        return _Cancelled()

    def _report(self, progress: Progress) -> None:
        now_s = time.monotonic()
        is_new = progress.step != self._step or bool(progress.notice)
        is_last = progress.done == progress.total
        self._step = progress.step
        if is_new or is_last or now_s - self._reported_at_s >= _REPORT_EVERY_S:
            self._reported_at_s = now_s
            self.messages.reported.emit(progress)
