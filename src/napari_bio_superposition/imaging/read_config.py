"""The settings of the reading step, checked. No reading here, and no heavy library."""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, list_choices

NAME_GROUPS: Final = ("plate", "well", "field", "line", "genotype", "treatment")
"""What a file name can tell: the named groups of `ReadConfig.filename_pattern`."""

AXES: Final = "TCZYXS"
"""Time, channel, plane, row, column, colour sample: the letters of `ReadConfig.axes`."""

_MAX_PATTERN_CHARACTERS = 1000


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How files become images with the axes (channel, height, width)."""

    projection: Literal["max", "in_focus", "none"] = "max"
    """Several focal planes become one by their maximum, over all planes ("max") or over the
    sharpest ones ("in_focus"); "none" refuses an image with several planes."""

    in_focus_planes: Annotated[int, Range(1, 1000, unit="planes")] = 5
    """Neighbouring planes taken by "in_focus", placed around the sharpest plane of each channel."""

    time: Annotated[int, Range(0, 1_000_000)] | None = None
    """Time point, counted from 0. Needed only where a file holds several."""

    series: str = ""
    """Image in a file that holds several (position, series, plate field): its name, or its number
    counted from 0."""

    pixel_size_um: Annotated[float, Range(0.001, 100, unit="um", step=0.01)] | None = None
    """Edge of a pixel; replaces what the file says."""

    axes: str = ""
    """Meaning of the axes of a TIFF file that does not say, for instance "CYX" or "ZYX": T time,
    C channel, Z focal plane, Y row, X column, S colour sample."""

    rgb_as_channels: bool = False
    """Read a colour image as the three channels red, green and blue instead of refusing it."""

    flat_field: Literal["none", "foreground", "background"] = "none"
    """Divide the planes of a Harmony export by a profile of illumination that it brings: that of
    the signal ("foreground") or of the empty field ("background")."""

    filename_pattern: str = ""
    """Regular expression searched in the file name without its ending; its named groups plate,
    well, field, line, genotype, treatment fill the acquisition. Empty: the usual patterns."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_axes(self.axes)
        if self.filename_pattern:
            _check_pattern(self.filename_pattern)


def _check_axes(axes: str) -> None:
    if not axes:
        return
    unknown = set(axes) - set(AXES)
    if unknown or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise ConfigError(
            f"ReadConfig.axes is {axes!r}; it has to hold Y and X, each letter once, "
            f"from: {list_choices(AXES)}."
        )


def _check_pattern(pattern: str) -> None:
    if len(pattern) > _MAX_PATTERN_CHARACTERS:
        raise ConfigError(
            f"ReadConfig.filename_pattern has {len(pattern)} characters; "
            f"use at most {_MAX_PATTERN_CHARACTERS}."
        )
    try:
        groups = re.compile(pattern).groupindex
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"ReadConfig.filename_pattern {pattern!r} is no regular expression: {error}."
        ) from error
    if not groups or set(groups) - set(NAME_GROUPS):
        raise ConfigError(
            f"ReadConfig.filename_pattern {pattern!r} has the named groups {list_choices(groups)}; "
            f"use one or more of {list_choices(NAME_GROUPS)}, as in '(?P<well>[A-P][0-9]+)'."
        )
