"""Jobs in turn: each answer is told, and a new list takes the place of the old one."""

from functools import partial

from pytestqt.qtbot import QtBot

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.job_queue import JobQueue


def _answer(number: int) -> Job[int]:
    yield Progress("Counting")
    return number


def _fail() -> Job[int]:
    yield Progress("Counting")
    raise BioSuperpositionError("It is broken.")


def _wait_for_cancel() -> Job[int]:
    while True:
        yield Progress("Waiting")


def test_jobs_run_in_turn_and_a_failure_does_not_stop_the_next(qtbot: QtBot) -> None:
    queue, told = JobQueue(), []
    queue.answered.connect(told.append)
    queue.failed.connect(lambda failure: told.append(failure.message))
    with qtbot.waitSignal(queue.idle):
        queue.ask([partial(_answer, 1), _fail, partial(_answer, 2)])
    assert told == [1, "It is broken.", 2]
    assert not queue.busy


def test_a_new_list_takes_the_place_of_the_old_one(qtbot: QtBot) -> None:
    queue, told = JobQueue(), []
    queue.answered.connect(told.append)
    queue.ask([_wait_for_cancel, partial(_answer, 1)])
    with qtbot.waitSignal(queue.idle):
        queue.ask([partial(_answer, 2)])
    assert told == [2]
    with qtbot.waitSignal(queue.idle):
        queue.ask([])
    assert told == [2]
