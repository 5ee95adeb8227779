"""Configs survive a round trip through TOML, and wrong files are refused with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, OutputError
from napari_bio_superposition.workflows.config_files import (
    config_from_plain,
    config_to_plain,
    read_config,
    write_config,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    side: Annotated[int, Range(1, 5)] = 2
    floor: Annotated[float | None, Range(0, 1)] = None
    method: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    roles: Mapping[str, str] = field(default_factory=dict)


def test_a_config_survives_the_round_trip(tmp_path: Path) -> None:
    config = Outer(inner=Inner(floor=0.5, names=("p", "q")), roles={"nuclei": "Höchst"})
    write_config(config, tmp_path / "settings.toml")
    assert read_config(tmp_path / "settings.toml", Outer) == config


def test_what_is_absent_keeps_its_default() -> None:
    assert config_from_plain({"inner": {"side": 3}}, Outer) == Outer(inner=Inner(side=3))
    assert "floor" not in config_to_plain(Outer())["inner"]


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"inner": {"side": 1.5}}, r"1\.5 is not a whole number @ Outer\.inner\.side"),
        ({"inner": {"side": True}}, "True is not a whole number"),
        ({"inner": {"side": 9}}, r"Inner\.side is 9\. Choose a value from 1 to 5"),
        ({"inner": {"floor": "1"}}, "'1' is not a number"),
        ({"inner": {"sides": 1}}, "there is no setting sides"),
        ({"inner": {"method": "c"}}, "'c' is not one of: a, b @"),
        ({"inner": 3}, "a table of settings is expected"),
        ({"inner": {"method": ["a"]}}, r"\['a'\] is not one of: a, b"),
        ({"inner": [1, 2]}, "a table of settings is expected"),
        ({"roles": "nuclei=DAPI"}, "a table of settings is expected"),
        ({"roles": {"nuclei": 1}}, "1 is not text"),
    ],
)
def test_values_that_do_not_fit_are_refused(plain: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_plain(plain, Outer)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        read_config(tmp_path / "absent.toml", Outer)
    (tmp_path / "bad.toml").write_text("inner = [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.toml is not a TOML file"):
        read_config(tmp_path / "bad.toml", Outer)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_config(Outer(), tmp_path / "file" / "settings.toml")
