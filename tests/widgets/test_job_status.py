"""Progress as a line of text, and the estimate of the remaining time."""

import pytest
from pytestqt.qtbot import QtBot

from napari_bio_superposition.core.progress import Progress
from napari_bio_superposition.widgets.job_status import (
    RemainingTime,
    describe_duration,
    describe_progress,
)
from napari_bio_superposition.widgets.run_bar import RunBar


def test_line_has_step_unit_and_remaining_time() -> None:
    progress = Progress("Segmenting nuclei", 3, 16, "tiles")
    assert describe_progress(progress, 12.2) == "Segmenting nuclei: 3 of 16 tiles, about 12 s left"


def test_line_without_total() -> None:
    assert describe_progress(Progress("Loading models")) == "Loading models"
    assert describe_progress(Progress("Reading", 7, unit="files")) == "Reading: 7 files"


def test_remaining_time_follows_the_rate_of_the_step() -> None:
    remaining = RemainingTime()
    assert remaining.update(Progress("Encoding", 0, 10), 100.0) is None
    assert remaining.update(Progress("Encoding", 2, 10), 104.0) == pytest.approx(16.0)


def test_a_new_step_starts_a_new_estimate() -> None:
    remaining = RemainingTime()
    remaining.update(Progress("Encoding", 0, 10), 0.0)
    assert remaining.update(Progress("Encoding", 5, 10), 10.0) == pytest.approx(10.0)
    assert remaining.update(Progress("Saving", 0, 4), 10.0) is None
    assert remaining.update(Progress("Saving", 1, 4), 12.0) == pytest.approx(6.0)


def test_no_estimate_from_too_little() -> None:
    remaining = RemainingTime()
    remaining.update(Progress("Encoding", 0, 1000), 0.0)
    assert remaining.update(Progress("Encoding", 5, 1000), 0.2) is None


@pytest.mark.gui
def test_notices_outlive_the_run(qtbot: QtBot) -> None:
    bar = RunBar()
    qtbot.addWidget(bar)
    bar.start()
    for _ in range(2):
        bar.report(Progress("Encoding", 1, 4, "patches", "Memory ran out; batches of 2."))
    assert bar.message.text == "Memory ran out; batches of 2."
    bar.finish()
    bar.show_done("Done.")
    assert bar.message.text == "Done. Memory ran out; batches of 2."
    bar.start()
    assert bar.message.text == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min"), (130, "2 min 10 s"), (3900, "1 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text
