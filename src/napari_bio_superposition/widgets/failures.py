"""What a user reads when a job failed: one sentence with a remedy. No Qt, no napari."""

import traceback
from dataclasses import dataclass

from napari_bio_superposition.core.errors import BioSuperpositionError

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Failure:
    """One failed job, as text only: a traceback would keep its arrays alive.

    Parameters
    ----------
    message
        One sentence on what is wrong and what to do.
    details
        The traceback, for a bug report.
    expected
        Whether the cause is one the user can act on; an unexpected one asks for a report.
    """

    message: str
    details: str
    expected: bool


def explain(error: BaseException, doing: str = "") -> Failure:
    """Say in one sentence what went wrong and what to do.

    Parameters
    ----------
    error
        Whatever a job raised.
    doing
        The step that was under way, as its `Progress` named it.
    """
    message = _explain_expected(error)
    details = "".join(traceback.format_exception(error))
    if message is not None:
        return Failure(message, details, expected=True)
    during = f" during “{doing}”" if doing else ""
    reason = f"{type(error).__name__}: {_first_line(error)}".rstrip(": ")
    message = f"Something unexpected happened{during} ({reason}). Press Details and report it."
    return Failure(message, details, expected=False)


def _explain_expected(error: BaseException) -> str | None:
    if isinstance(error, BioSuperpositionError):
        return str(error)
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return (
            "There is not enough memory for this step. Choose the device CPU, close other "
            "programs, or analyse a smaller image."
        )
    if isinstance(error, ImportError):
        return (
            f"The library {error.name or 'that this step needs'} cannot be loaded "
            f"({_first_line(error)}). Install the plugin again: "
            "pip install --upgrade napari-bio-superposition."
        )
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}. Check that the file or folder is there and writable."
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, which it reports as a subclass of `RuntimeError`."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _OUT_OF_MEMORY)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else ""
