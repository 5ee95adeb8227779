"""Run, Cancel and progress: the part of a dock that never scrolls away. It starts no job itself."""

import time
from typing import Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_bio_superposition.core.progress import Progress
from napari_bio_superposition.widgets.failures import Failure
from napari_bio_superposition.widgets.job_status import RemainingTime, describe_progress
from napari_bio_superposition.widgets.message import MessageLine

State = Literal["idle", "running", "cancelling"]
_STEPS = 1000
"""Resolution of the bar; Qt counts in whole numbers."""


class RunBar(QWidget):
    """Two buttons, a progress bar with step and remaining time, and the outcome as one sentence."""

    run_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self, run_text: str = "Run", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run_button = QPushButton(run_text)
        self.run_button.setDefault(True)
        self.run_button.clicked.connect(self.run_clicked)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel_clicked)
        self.progress_bar = QProgressBar()
        self.progress_bar.setTextVisible(False)
        self.progress_bar.setMaximumHeight(8)
        self.progress_label = QLabel()
        self.progress_label.setWordWrap(True)
        self.message = MessageLine()
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.message)
        layout.addWidget(self.progress_label)
        layout.addWidget(self.progress_bar)
        layout.addLayout(buttons)
        self._state: State = "idle"
        self._remaining = RemainingTime()
        self._notices: list[str] = []
        self.finish()

    @property
    def state(self) -> State:
        """What the bar shows."""
        return self._state

    def start(self) -> None:
        """Show that a job has begun."""
        self.message.clear()
        self._notices = []
        self._remaining = RemainingTime()
        self._show("running", "Starting")
        self.progress_bar.setRange(0, 0)

    def report(self, progress: Progress) -> None:
        """Show how far the job is."""
        if self._state != "running":
            return
        fraction = progress.fraction
        self.progress_bar.setRange(0, 0 if fraction is None else _STEPS)
        if fraction is not None:
            self.progress_bar.setValue(round(fraction * _STEPS))
        remaining_s = self._remaining.update(progress, time.monotonic())
        self.progress_label.setText(describe_progress(progress, remaining_s))
        if progress.notice and progress.notice not in self._notices:
            self._notices.append(progress.notice)
            self.message.show_plain(" ".join(self._notices))

    def show_cancelling(self) -> None:
        """Show that the job was asked to stop, and is finishing its tile or batch."""
        self._show("cancelling", "Cancelling after this step…")

    def finish(self) -> None:
        """Show that nothing runs any longer; the message stays."""
        self.progress_bar.setRange(0, _STEPS)
        self.progress_bar.setValue(0)
        self._show("idle", "")

    def show_done(self, text: str) -> None:
        """Tell that the job went well, and repeat what the user should know from its course."""
        self.message.show_good(" ".join((text, *self._notices)))

    def show_failure(self, failure: Failure) -> None:
        """Tell why the job failed."""
        self.message.show_failure(failure)

    def _show(self, state: State, text: str) -> None:
        self._state = state
        self.progress_label.setText(text)
        self.progress_label.setVisible(bool(text))
        self.progress_bar.setVisible(state != "idle")
        self.run_button.setEnabled(state == "idle")
        self.cancel_button.setEnabled(state == "running")
