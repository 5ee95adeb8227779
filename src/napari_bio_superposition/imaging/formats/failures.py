"""How failures of files and libraries become one clear error. No reading."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from napari_bio_superposition.core.errors import BioSuperpositionError, ImageReadError

_MAX_REASON_CHARACTERS = 200


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while *path* is read into an `ImageReadError` that names it.

    Decoders raise all kinds of exceptions on damaged files; the cause stays chained.
    """
    try:
        yield
    except BioSuperpositionError:
        raise
    except FileNotFoundError as error:
        raise ImageReadError(
            f"{path} does not exist. Check the path, and whether the drive is connected."
        ) from error
    except PermissionError as error:
        raise ImageReadError(
            f"{path} may not be read by this user. Change its permissions or copy it."
        ) from error
    except OSError as error:
        raise ImageReadError(
            f"{path} cannot be read: {_summarise(error)}. Check the drive, or copy the file again."
        ) from error
    except MemoryError as error:
        raise ImageReadError(
            f"{path} needs more memory than this machine has. Close other programs, or crop it."
        ) from error
    except Exception as error:
        raise ImageReadError(
            f"{path} is damaged or not what its name says: {_summarise(error)}. "
            "Copy or export it again."
        ) from error


def _summarise(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    text = " ".join(str(strerror or error).split()).rstrip(".")
    return (text or type(error).__name__)[:_MAX_REASON_CHARACTERS]
