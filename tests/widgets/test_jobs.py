"""The runner of jobs: results, failures of every kind, cancelling, and a window that is gone."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from napari_bio_superposition.core.errors import DeviceError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.failures import Failure
from napari_bio_superposition.widgets.jobs import JobRunner

pytestmark = pytest.mark.gui


@pytest.fixture
def runner(qtbot: QtBot) -> Iterator[JobRunner]:
    runner = JobRunner()
    yield runner
    runner.shut_down()


class Endless:
    """A job that ends only when it is closed, and notes that it was."""

    def __init__(self) -> None:
        self.closed_in = threading.Event()
        self.reached = threading.Event()

    def job(self) -> Job[None]:
        try:
            while True:
                self.reached.set()
                yield Progress("Waiting", 1, 2, "tiles")
        finally:
            self.closed_in.set()


def _collect(signal: Any) -> list[Any]:
    received: list[Any] = []
    signal.connect(lambda *args: received.append(args[0] if args else None))
    return received


def _count(n: int) -> Job[int]:
    for done in range(n):
        yield Progress("Counting", done + 1, n, "steps")
    return n


def test_result_and_progress_arrive_in_the_main_thread(qtbot: QtBot, runner: JobRunner) -> None:
    threads: list[threading.Thread] = []
    runner.progressed.connect(lambda _: threads.append(threading.current_thread()))
    results, reports = _collect(runner.succeeded), _collect(runner.progressed)
    with qtbot.waitSignal(runner.ended):
        runner.start(_count(5))
        assert runner.running
    assert results == [5]
    assert reports[-1].done == 5
    assert set(threads) == {threading.main_thread()}
    assert not runner.running


def test_thousands_of_reports_do_not_flood_the_window(qtbot: QtBot, runner: JobRunner) -> None:
    reports = _collect(runner.progressed)
    with qtbot.waitSignal(runner.ended):
        runner.start(_count(20_000))
    assert len(reports) < 2_000
    assert reports[-1].done == 20_000


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DeviceError("No GPU. Choose the CPU."), "No GPU. Choose the CPU."),
        (RuntimeError("CUDA out of memory"), "not enough memory"),
        (RuntimeError("anything else"), "RuntimeError: anything else"),
        (MemoryError(), "not enough memory"),
        (StopIteration(3), "StopIteration"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(1), "SystemExit"),
    ],
)
def test_every_exception_becomes_one_failure(
    qtbot: QtBot, runner: JobRunner, error: BaseException, expected: str
) -> None:
    def failing() -> Job[None]:
        yield Progress("Encoding patches")
        raise error

    failures, results = _collect(runner.failed), _collect(runner.succeeded)
    with qtbot.waitSignal(runner.ended):
        runner.start(failing())
    assert [type(failure) for failure in failures] == [Failure]
    assert expected in failures[0].message
    assert results == []
    assert not runner.running


def test_cancel_closes_the_generator_before_the_end_is_told(
    qtbot: QtBot, runner: JobRunner
) -> None:
    endless = Endless()
    order: list[str] = []
    runner.cancelled.connect(lambda: order.append(f"cancelled {endless.closed_in.is_set()}"))
    runner.ended.connect(lambda: order.append("ended"))
    runner.start(endless.job())
    endless.reached.wait()
    with qtbot.waitSignal(runner.ended):
        runner.cancel()
    assert order == ["cancelled True", "ended"]


def test_a_result_that_comes_after_cancel_is_dropped(qtbot: QtBot, runner: JobRunner) -> None:
    in_last_step, go_on = threading.Event(), threading.Event()

    def last_step() -> Job[str]:
        yield Progress("Almost done")
        in_last_step.set()
        go_on.wait()
        return "result"

    results, cancelled = _collect(runner.succeeded), _collect(runner.cancelled)
    runner.start(last_step())
    in_last_step.wait()
    with qtbot.waitSignal(runner.ended):
        runner.cancel()
        go_on.set()
    assert results == []
    assert len(cancelled) == 1


def test_a_failure_of_the_clean_up_is_told(qtbot: QtBot, runner: JobRunner) -> None:
    started = threading.Event()

    def untidy() -> Job[None]:
        try:
            while True:
                started.set()
                yield Progress("Writing")
        finally:
            raise OSError(28, "No space left on device")

    failures = _collect(runner.failed)
    runner.start(untidy())
    started.wait()
    with qtbot.waitSignal(runner.ended):
        runner.cancel()
    assert failures[0].message.startswith("No space left on device")


def test_runs_again_after_cancel_and_after_failure(qtbot: QtBot, runner: JobRunner) -> None:
    def failing() -> Job[None]:
        yield Progress("Failing")
        raise ValueError("no")

    with qtbot.waitSignal(runner.failed):
        runner.start(failing())
    endless = Endless()
    with qtbot.waitSignal(runner.cancelled):
        runner.start(endless.job())
        runner.cancel()
    with qtbot.waitSignal(runner.succeeded) as blocker:
        runner.start(_count(3))
    assert blocker.args == [3]


def test_a_second_job_is_refused_and_closed(qtbot: QtBot, runner: JobRunner) -> None:
    endless, second = Endless(), _count(3)
    with qtbot.waitSignal(runner.ended):
        runner.start(endless.job())
        runner.start(second)
        runner.cancel()
    with pytest.raises(StopIteration):
        next(second)


def test_shutting_down_waits_until_the_job_has_cleaned_up(runner: JobRunner) -> None:
    endless = Endless()
    runner.start(endless.job())
    endless.reached.wait()
    runner.shut_down()
    assert endless.closed_in.is_set()


def test_a_job_ends_by_itself_when_its_window_is_gone(qtbot: QtBot) -> None:
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    endless, runner = Endless(), JobRunner()
    runner.start(endless.job())
    endless.reached.wait()
    runner.deleteLater()
    QApplication.sendPostedEvents(runner, QEvent.Type.DeferredDelete)
    assert endless.closed_in.wait(timeout=10)
