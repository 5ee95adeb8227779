"""How the progress of a job reads on screen, and how long it still takes. No Qt, no napari."""

from napari_bio_superposition.core.progress import Progress

_SETTLING_S = 1.0
"""An estimate from less than this is a guess that jumps about, so none is shown."""


class RemainingTime:
    """Estimates the seconds that a step still takes from its own rate so far."""

    def __init__(self) -> None:
        self._step = ""
        self._started_s = 0.0
        self._done_at_start = 0

    def update(self, progress: Progress, now_s: float) -> float | None:
        """Return the seconds left of this step, or ``None`` where nothing can be said yet.

        Parameters
        ----------
        progress
            The newest report of the job.
        now_s
            When it came, on any monotonic clock, seconds.
        """
        if progress.step != self._step:
            self._step, self._started_s = progress.step, now_s
            self._done_at_start = progress.done
        elapsed_s = now_s - self._started_s
        done = progress.done - self._done_at_start
        if progress.total is None or done <= 0 or elapsed_s < _SETTLING_S:
            return None
        return elapsed_s / done * max(0, progress.total - progress.done)


def describe_progress(progress: Progress, remaining_s: float | None = None) -> str:
    """Return one line: ``Segmenting nuclei: 3 of 16 tiles, about 12 s left``."""
    line = progress.step
    if progress.total is not None:
        line += f": {progress.done} of {progress.total} {progress.unit}".rstrip()
    elif progress.done:
        line += f": {progress.done} {progress.unit}".rstrip()
    if remaining_s is not None:
        line += f", about {describe_duration(remaining_s)} left"
    return line


def describe_duration(seconds: float) -> str:
    """Return a duration as one would say it: ``4 s``, ``2 min 10 s``, ``1 h 5 min``."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
