"""Jobs report, return, nest and cancel."""

import pytest

from napari_bio_superposition.core.progress import Job, Progress, run


def _count(n: int, log: list[str]) -> Job[int]:
    try:
        for done in range(1, n + 1):
            yield Progress("Counting", done, n, "steps")
    finally:
        log.append("closed")
    return n


def test_run_reports_each_step_and_returns_the_result() -> None:
    seen: list[Progress] = []
    assert run(_count(3, []), seen.append) == 3
    assert [report.done for report in seen] == [1, 2, 3]
    assert seen[-1].fraction == 1.0


def test_an_error_in_the_report_closes_the_job() -> None:
    log: list[str] = []

    def stop(report: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(_count(3, log), stop)
    assert log == ["closed"]


def test_jobs_nest_with_yield_from() -> None:
    def outer() -> Job[int]:
        first = yield from _count(2, [])
        return first + 1

    assert run(outer()) == 3


def test_fraction_is_unknown_without_a_total_and_one_for_nothing_to_do() -> None:
    assert Progress("x", 3).fraction is None
    assert Progress("x", 0, 0).fraction == 1.0
