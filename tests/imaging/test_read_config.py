"""Settings of the reading step refuse what cannot be meant."""

import pytest

from napari_bio_superposition.core.config import describe_fields
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.imaging.read_config import ReadConfig


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("projection", "mean", "max, in_focus, none"),
        ("in_focus_planes", 0, "from 1 to 1000 planes"),
        ("time", -1, "from 0"),
        ("pixel_size_um", 0.0, "from 0.001 to 100 um"),
        ("axes", "XYZ ", "each letter once"),
        ("axes", "CZ", "hold Y and X"),
        ("axes", "YYX", "each letter once"),
        ("filename_pattern", "(", "no regular expression"),
        ("filename_pattern", "(?P<donor>x)", "plate, well, field, line, genotype, treatment"),
        ("filename_pattern", "x", "named groups"),
        ("filename_pattern", "(?P<well>x)" * 200, "at most 1000"),
    ],
)
def test_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReadConfig(**{field: value})  # type: ignore[arg-type]


def test_every_field_is_documented() -> None:
    assert all(field.doc for field in describe_fields(ReadConfig))
