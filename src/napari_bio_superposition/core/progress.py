"""Long work as a generator: what a job reports, and how one is run. No Qt, no threads."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One report of a running job.

    Parameters
    ----------
    step
        What is being done, as a short phrase: ``"Segmenting nuclei"``.
    done, total
        Finished and expected units; ``total`` is ``None`` where it is not known beforehand.
    unit
        What is counted, in the plural: ``"tiles"``, ``"patches"``, ``"images"``.
    notice
        Something the user should know now, for instance that the batch was halved.
    values
        Figures worth a curve, by name: the loss of a step, the accuracy of a probe.
    """

    step: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    notice: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float | None:
        """Share that is done, in ``[0, 1]``; ``None`` where the total is unknown."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0


Job: TypeAlias = Generator[Progress, None, T]
"""Long work: yields `Progress`, returns its result. Closing the generator cancels it."""


def run(job: Job[T], report: Callable[[Progress], None] | None = None) -> T:
    """Run *job* to its end and return its result.

    Parameters
    ----------
    job
        A generator of `Progress`; inside another job write ``yield from job`` instead.
    report
        Called with each `Progress`. An exception raised here closes the job, which cleans up.
    """
    try:
        while True:
            progress = next(job)
            if report is not None:
                report(progress)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        job.close()
