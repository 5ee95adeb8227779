"""A dock that runs one job at a time behind its run bar."""

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QApplication

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.dock import Dock
from napari_bio_superposition.widgets.failures import Failure, explain
from napari_bio_superposition.widgets.jobs import JobRunner
from napari_bio_superposition.widgets.run_bar import RunBar


class JobDock(Dock):
    """A dock with a runner and a run bar.

    Parameters
    ----------
    run_bar
        The bar below the dock; its button calls `run`.
    """

    _cancelled_text = "Cancelled; nothing was changed."

    def __init__(self, run_bar: RunBar) -> None:
        super().__init__()
        self.run_bar = run_bar
        self.runner = JobRunner(self)
        self._then: Callable[[Any], None] = _ignore
        run_bar.run_clicked.connect(self.run)
        run_bar.cancel_clicked.connect(self.cancel)
        self.runner.progressed.connect(run_bar.report)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.failed.connect(self._on_failed)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.ended.connect(self._on_ended)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.runner.shut_down)

    def run(self) -> None:
        """Do what the button of the run bar says."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Ask the running job to stop at its next step."""
        if self.runner.running:
            self.run_bar.show_cancelling()
            self.runner.cancel()

    def _start(self, make_job: Callable[[], Job[Any]], then: Callable[[Any], None]) -> None:
        """Start a job, whose result goes to *then*; a mistake in the settings is told at once."""
        if self.runner.running:
            self.run_bar.message.show_plain("Wait for the running job, or cancel it.")
            return
        try:
            job = make_job()
        except BioSuperpositionError as error:
            self.run_bar.show_failure(explain(error))
            return
        self._then = then
        self.run_bar.start()
        self._show_running(is_running=True)
        self.runner.start(job)

    def _show_running(self, *, is_running: bool) -> None:
        """Show that a job runs, beyond what the run bar shows."""

    def _on_succeeded(self, outcome: Any) -> None:
        try:
            self._then(outcome)
        except Exception as error:  # whatever fails while results are shown is told like the rest
            self.run_bar.show_failure(explain(error, "Showing the result"))

    def _on_failed(self, failure: Failure) -> None:
        self.run_bar.show_failure(failure)

    def _on_cancelled(self) -> None:
        self.run_bar.message.show_plain(self._cancelled_text)

    def _on_ended(self) -> None:
        self._then = _ignore
        self.run_bar.finish()
        self._show_running(is_running=False)


def _ignore(_: Any) -> None:
    """Take a result that nobody waits for."""
