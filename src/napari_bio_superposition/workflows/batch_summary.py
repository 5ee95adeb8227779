"""What a run over many files reports: results per image, failures with their reasons."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from napari_bio_superposition.core.errors import BioSuperpositionError, ConfigError, OutputError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.imaging.fields import FieldList, open_fields
from napari_bio_superposition.imaging.read_config import ReadConfig

T = TypeVar("T")


@dataclass(frozen=True)
class BatchSummary:
    """Outcome of a run: one row per image that worked, one reason per image that did not."""

    images: tuple[Mapping[str, Any], ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    """Image or path to the reason."""
    not_images: Mapping[str, str] = field(default_factory=dict)
    """What lay in a folder and is no image, with the reason; not a failure."""
    warnings: tuple[str, ...] = ()
    """What to know about the run as a whole; each image has its own beside it."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """What was written: name to file name inside the output folder."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)

    def as_lines(self) -> list[str]:
        """Return the outcome as a person reads it."""
        lines = [_image_line(image) for image in self.images]
        lines += [f"{name}: left out: {reason}" for name, reason in self.not_images.items()]
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"{name}: failed: {reason}" for name, reason in self.failures.items()]
        return [*lines, f"{len(self.images)} images done, {len(self.failures)} failed."]


def _image_line(image: Mapping[str, Any]) -> str:
    parts = [str(image["id"])]
    if image.get("n_nuclei") is not None:
        parts.append(f"{image['n_nuclei']} nuclei")
    if "patches" in image:
        parts.append(f"{image['patches']['accepted']} of {image['patches']['total']} patches kept")
    rate = image.get("death", {}).get("area_rate")
    if rate is not None:
        parts.append(f"dead area {rate:.1%}")
    elif image.get("death", {}).get("skipped") and "death" not in image.get("skipped", {}):
        parts.append(f"no death rate: {image['death']['skipped']}")
    parts += [f"{step} skipped: {reason}" for step, reason in image.get("skipped", {}).items()]
    parts += [f"warning: {warning}" for warning in image.get("warnings", ())]
    return "; ".join(parts)


def find_fields(paths: str | Path | Sequence[str | Path], config: ReadConfig) -> FieldList:
    """Return the fields behind *paths*.

    Raises
    ------
    ConfigError
        Where there is no path at all.
    ImageReadError
        Where a path does not exist, or none leads to an image.
    """
    if not paths:
        raise ConfigError("No input is given. Name images or folders, for instance plate1/*.tif.")
    return open_fields(paths, config)


def name_skipped(fields: FieldList) -> dict[str, str]:
    """Return what is no image, by file name, with the reason."""
    return {path.name: reason for path, reason in fields.skipped}


@dataclass(frozen=True)
class FailureLog:
    """Reasons of what failed, by image or path."""

    reasons: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> Callable[[str], None]:
        """Return a function that writes down why *name* failed."""
        return lambda reason: self.reasons.__setitem__(name, reason)


def attempt(job: Job[T], on_failure: Callable[[str], None]) -> Job[T | None]:
    """Run the job of one image; report its failure, whatever it is, so that the others go on.

    Only an interruption from outside (Cancel, Ctrl-C), or an output folder that cannot be written,
    ends the whole run.
    """
    try:
        return (yield from job)
    except OutputError:  # no fault of this image: the next one could not be written either
        raise
    except BioSuperpositionError as error:
        on_failure(str(error))
    except Exception as error:  # one bad image must not cost the others
        on_failure(f"unexpected {type(error).__name__}: {error}. Please report this.")
    return None


def prefixed(job: Job[T], prefix: str) -> Job[T]:
    """Put *prefix* before the step, and before the notice, of every report of *job*."""

    def change(progress: Progress) -> Progress:
        notice = f"{prefix}{progress.notice}" if progress.notice else ""
        return replace(progress, step=f"{prefix}{progress.step}", notice=notice)

    return retold(job, change)


def retold(job: Job[T], change: Callable[[Progress], Progress]) -> Job[T]:
    """Change every report of *job*."""
    try:
        while True:
            try:
                progress = next(job)
            except StopIteration as stop:
                result: T = stop.value
                return result
            yield change(progress)
    finally:
        job.close()


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in 2**20 bytes."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 2**20)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)
