"""Show progress and results: a bar for people, one JSON object a line for programs."""

import io
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from napari_bio_superposition.cli import PROGRAM
from napari_bio_superposition.core.errors import BioSuperpositionError, list_choices
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Progress
from napari_bio_superposition.workflows.batch_summary import BatchSummary


class Reporter:
    """Progress and result of one command; use it as a context manager and as the report of a job.

    Parameters
    ----------
    as_json
        Write JSON lines to *stdout* instead of a bar to *stderr*.
    """

    def __init__(
        self, *, as_json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self._as_json = as_json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        if isinstance(self._stdout, io.TextIOWrapper):  # a terminal may not know every character
            self._stdout.reconfigure(errors="backslashreplace")
        self._bar: tqdm[Any] | None = None
        self._step = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_bar()

    def __call__(self, progress: Progress) -> None:
        """Show one report."""
        if self._as_json:
            self._write_json({"event": "progress", **vars(progress)})
            return
        if progress.notice:
            self._close_bar()
            self._stderr.write(f"{progress.notice}\n")
        self._move_bar(progress)

    def result(self, lines: list[str], values: dict[str, Any]) -> None:
        """Show the result: *lines* to a person, *values* to a program."""
        self._close_bar()
        if self._as_json:
            self._write_json({"event": "result", **values})
        else:
            self._write("\n".join(lines))

    def _move_bar(self, progress: Progress) -> None:
        if not self._stderr.isatty():
            return
        if self._bar is None or self._step != progress.step:
            self._close_bar()
            self._step = progress.step
            self._bar = tqdm(
                total=progress.total,
                desc=progress.step,
                unit=f" {progress.unit}" if progress.unit else "",
                file=self._stderr,
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.total = progress.total
        if progress.values:
            shown = (f"{name} {value:.3g}" for name, value in progress.values.items())
            self._bar.set_postfix_str(", ".join(shown), refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write_json(self, values: dict[str, Any]) -> None:
        self._write(to_json(values))

    def _write(self, text: str) -> None:
        """Write a line; where nobody reads any more (``| head``), end as if interrupted."""
        try:
            self._stdout.write(text + "\n")
            self._stdout.flush()
        except BrokenPipeError:
            # Python would complain once more when it flushes the pipe at its own end.
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            raise KeyboardInterrupt from None


def conclude(summary: BatchSummary) -> int:
    """Return the exit code of a run over many images; what failed is one line on standard error.

    Returns
    -------
    int
        0 when all went well, 1 when some images failed.

    Raises
    ------
    BioSuperpositionError
        Where no image worked at all, with the reason of the first.
    """
    if not summary.failures:
        return 0
    if not summary.images:
        name, reason = next(iter(summary.failures.items()))
        others = len(summary.failures) - 1
        more = f" So did {others} further images, each with its reason." if others else ""
        raise BioSuperpositionError(f"{name} failed: {reason}{more}")
    failed = list_choices(list(summary.failures)[:5])
    total = len(summary.failures) + len(summary.images)
    sys.stderr.write(
        f"{PROGRAM}: {len(summary.failures)} of {total} images failed: {failed}; the reasons are "
        "in the result\n"
    )
    return 1
