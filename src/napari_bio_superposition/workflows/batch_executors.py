"""Who does the fields of a batch run: this process, processes beside it, or a dask cluster."""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from napari_bio_superposition.core.errors import BioSuperpositionError, MissingExtraError
from napari_bio_superposition.core.files import remove_leftovers
from napari_bio_superposition.core.progress import Job, run
from napari_bio_superposition.workflows.batch_plan import BatchPlan, Unit, log_event
from napari_bio_superposition.workflows.batch_unit import Outcome, open_worker, write_failure

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ATTEMPTS: Final = 3
"""How often a field may take its worker down with it before it counts as failed."""
_DIED = (
    "The worker process died {n} times while it worked on this field (out of memory, or a fault in "
    "a library). Use fewer processes, or a smaller image."
)


def work_here(plan: BatchPlan, units: Sequence[Unit]) -> Iterator[Job[Outcome]]:
    """Yield the job of each field, done in this process; progress within a field is seen."""
    worker = run(open_worker(plan.folder))
    for unit in units:
        yield worker.work(unit)


# --- processes beside this one -------------------------------------------------------------------


@dataclass(eq=False)
class _Process:
    """One worker process, the pipe to it, and what it is working on."""

    process: SpawnProcess
    pipe: Connection
    unit: Unit | None = None


@dataclass(eq=False)
class ProcessPool:
    """Worker processes that each load the models once; a dead one costs its field an attempt.

    Use it as a context manager: leaving ends all workers at once. Results are whole or absent, so
    nothing is lost by that but the fields in work.
    """

    plan: BatchPlan
    _workers: list[_Process] = field(default_factory=list)
    _attempts: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
            self._clear_up(worker)

    def outcomes(self, units: Sequence[Unit]) -> Iterator[Outcome]:
        """Do all fields; yield each outcome as it comes, in any order.

        Raises
        ------
        BioSuperpositionError
            Where the workers cannot start.
        """
        waiting = deque(units)
        for number in range(min(self.plan.config.resources.processes, len(units))):
            self._workers.append(self._start(number))
        while waiting or any(worker.unit for worker in self._workers):
            for worker in self._workers:
                if worker.unit is None and waiting:
                    worker.unit = waiting.popleft()
                    # One that died since is noticed below.
                    with contextlib.suppress(OSError):
                        worker.pipe.send(worker.unit)
            ready = wait([w.pipe for w in self._workers], timeout=1.0)
            for number, worker in enumerate(self._workers):
                if worker.pipe in ready:
                    yield from self._hear(number, worker, waiting)

    def _start(self, number: int) -> _Process:
        config = self.plan.config.resources
        ours, theirs = multiprocessing.Pipe()
        device = config.devices[number % len(config.devices)] if config.devices else ""
        n_threads = max(1, _count_cores() // config.processes)
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, self.plan.folder, device), daemon=True
        )
        with threads_of_children(n_threads):
            process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        return _Process(process, ours)

    def _hear(self, number: int, worker: _Process, waiting: deque[Unit]) -> Iterator[Outcome]:
        unit = worker.unit
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._workers[number] = self._replace(number, worker)
            if unit is not None:
                yield from self._try_again(unit, waiting)
            return
        if isinstance(message, BaseException):
            raise message
        worker.unit = None
        yield message

    def _replace(self, number: int, worker: _Process) -> _Process:
        self._clear_up(worker)
        if worker.unit is None:
            raise BioSuperpositionError(
                f"A worker process ended by itself with code {worker.process.exitcode}, before it "
                "had anything to do. Run with one process to see why."
            )
        return self._start(number)

    def _clear_up(self, worker: _Process) -> None:
        """Wait for the end of a worker; what it was writing when it was killed is removed."""
        worker.process.join()
        worker.pipe.close()
        if worker.unit is not None:
            shard = self.plan.shard(worker.unit)
            remove_leftovers(shard.parent, {shard.name})

    def _try_again(self, unit: Unit, waiting: deque[Unit]) -> Iterator[Outcome]:
        attempts = self._attempts[unit.id] = self._attempts.get(unit.id, 0) + 1
        log_event(self.plan, f"{unit.id} lost its worker, attempt {attempts} of {ATTEMPTS}")
        if attempts < ATTEMPTS:
            waiting.append(unit)
            return
        reason = _DIED.format(n=attempts)
        write_failure(self.plan, unit, reason)
        yield Outcome(unit.id, reason)


def _count_cores() -> int:
    """Return how many cores this process may use: a queueing system gives fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def threads_of_children(number: int) -> Iterator[None]:
    """Have processes that start now use at most so many threads, and fewer where a user says so.

    The libraries read these variables once, as they are loaded: in a spawned worker that is before
    any of our lines runs, so that they have to be there from its start.
    """
    before = {name: os.environ.get(name, "") for name in _THREADS}
    for name, value in before.items():
        fewer = value.isdigit() and 0 < int(value) < number
        os.environ[name] = value if fewer else str(number)
    try:
        yield
    finally:
        for name, value in before.items():
            if value:
                os.environ[name] = value
            else:
                del os.environ[name]


def _serve(pipe: Connection, folder: Path, device: str) -> None:
    """Do the fields that come through the pipe, until it is closed. Runs in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act on
    try:
        worker = run(open_worker(folder, device))
        while True:
            pipe.send(run(worker.work(pipe.recv())))
    except (EOFError, BrokenPipeError):  # the parent has gone
        return
    except BaseException as error:
        with contextlib.suppress(OSError):
            pipe.send(_plain(error))


def _plain(error: BaseException) -> BaseException:
    """Return an error that can be sent whatever it holds."""
    if isinstance(error, BioSuperpositionError):
        return type(error)(str(error))
    return BioSuperpositionError(f"A worker failed: {type(error).__name__}: {error}.")


# --- a dask cluster ------------------------------------------------------------------------------


@dataclass(eq=False)
class Cluster:
    """The workers of a dask scheduler. Its memory is not durable; resuming comes from the results.

    Use it as a context manager: leaving takes back what has not been begun.
    """

    plan: BatchPlan
    _client: Any = None
    _futures: list[Any] = field(default_factory=list)

    def __enter__(self) -> "Cluster":
        self._client = _connect(self.plan.config.resources.scheduler)
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.cancel(self._futures)
            self._client.close()

    def outcomes(self, units: Sequence[Unit]) -> Iterator[Outcome]:
        """Do all fields; yield each outcome as it comes, in any order."""
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        folder = str(self.plan.folder.absolute())
        by_key = {}
        for unit in units:
            future = self._client.submit(_work_on_cluster, folder, unit, pure=False)
            by_key[future.key] = unit
            self._futures.append(future)
        completed = as_completed(self._futures, loop=self._client.loop)  # type: ignore[no-untyped-call]
        for future in completed:
            unit = by_key[future.key]
            try:
                outcome = future.result()
            except KilledWorker:
                reason = _DIED.format(n="several")
                write_failure(self.plan, unit, reason)
                outcome = Outcome(unit.id, reason)
            yield outcome


def _connect(address: str) -> Any:
    """Return a client of the scheduler at *address*."""
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError("distributed", "cluster", "A scheduler") from error
    try:
        return Client(address, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise BioSuperpositionError(
            f"No scheduler answers at {address} ({error}). "
            "Start one with `dask scheduler`, and workers with `dask worker ADDRESS`."
        ) from error


def _work_on_cluster(folder: str, unit: Unit) -> Outcome:
    """Do one field on a dask worker, which keeps plan and models for the next one."""
    from distributed import get_worker

    keeper: Any = get_worker()
    kept = getattr(keeper, "bio_superposition", None)
    stamp = (folder, (Path(folder) / "plan.json").stat().st_mtime_ns)
    if kept is None or kept[0] != stamp:
        kept = keeper.bio_superposition = (stamp, run(open_worker(Path(folder))))
    outcome: Outcome = run(kept[1].work(unit))
    return outcome
