"""The errors a user can meet. Each message says what is wrong, what is there, and what to do."""

from collections.abc import Iterable


class BioSuperpositionError(Exception):
    """Base of all errors whose message is meant for the user as it stands."""


class ConfigError(BioSuperpositionError):
    """A setting is out of range, unknown, or contradicts another one."""


class ImageReadError(BioSuperpositionError):
    """An image file or folder cannot be read, or holds something unexpected."""


class ChannelError(BioSuperpositionError):
    """A channel or a role is missing, ambiguous or unknown."""


class ModelError(BioSuperpositionError):
    """A model or its weights are missing, damaged, or do not fit the data."""


class DeviceError(BioSuperpositionError):
    """A compute device is unknown, absent, or out of memory."""


class TableError(BioSuperpositionError):
    """A table lacks what a step needs, or two tables cannot be compared."""


class RegionError(BioSuperpositionError):
    """A region of interest is empty, too small, or lies where there are no patches."""


class OutputError(BioSuperpositionError):
    """A result cannot be written: no such folder, no permission, no space."""


class MissingExtraError(BioSuperpositionError):
    """An optional library is not installed; the message names the extra that brings it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the library {library}, which is not installed. "
            f'Install it with: pip install "napari-bio-superposition[{extra}]".'
        )


def list_choices(choices: Iterable[object]) -> str:
    """Return *choices* as ``a, b, c`` for an error message, or ``(none)`` when there are none."""
    return ", ".join(str(choice) for choice in choices) or "(none)"


def list_few(choices: Iterable[object], most: int = 6) -> str:
    """Return the first *most* of *choices*, and how many there are where they are more."""
    every = [str(choice) for choice in choices]
    more = f" ... ({len(every)} in all)" if len(every) > most else ""
    return list_choices(every[:most]) + more
