"""Configs check themselves and describe themselves."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from napari_bio_superposition.core.config import Range, check_fields, describe_fields
from napari_bio_superposition.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Example:
    """A config with every kind of field."""

    side_px: Annotated[int, Range(16, 256, unit="px")] = 128
    """Edge of a patch."""

    floor: Annotated[float | None, Range(0, 1)] = None
    """Smallest deviation; none for no floor."""

    method: Literal["a", "b"] = "a"
    """How it is done."""

    def __post_init__(self) -> None:
        check_fields(self)


def test_fields_describe_themselves() -> None:
    side, floor, method = describe_fields(Example)
    assert (side.name, side.type, side.default, side.optional) == ("side_px", int, 128, False)
    assert side.range == Range(16, 256, unit="px")
    assert side.doc == "Edge of a patch."
    assert (floor.type, floor.optional, floor.default) == (float, True, None)
    assert method.choices == ("a", "b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"side_px": 1024}, r"side_px is 1024 px. Choose a value from 16 to 256 px"),
        ({"side_px": 128.5}, "has to be a whole number"),
        ({"side_px": True}, "has to be a whole number"),
        ({"floor": float("nan")}, "Choose a value from 0 to 1"),
        ({"floor": "much"}, "has to be a number"),
        ({"method": "c"}, "Choose one of: a, b"),
    ],
)
def test_bad_values_are_named_with_what_is_valid(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Example(**values)  # type: ignore[arg-type]


def test_a_whole_number_serves_where_a_number_is_asked_for() -> None:
    assert Example(floor=1).floor == 1


def test_whole_bounds_are_written_in_full() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Seeded:
        seed: Annotated[int, Range(0, 2**31 - 1)] = 0

    with pytest.raises(ConfigError, match=r"from 0 to 2147483647\.$"):
        check_fields(Seeded(seed=-1))
