"""Results are JSON for every parser, also where a number is missing."""

import json

import numpy as np

from napari_bio_superposition.core.json_text import to_json


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def test_what_is_no_number_becomes_null() -> None:
    values = {"a": [float("nan"), 1.5], "b": {"c": (float("inf"), np.float64("nan"))}, "d": "nan"}
    parsed = json.loads(to_json(values), parse_constant=_refuse)
    assert parsed == {"a": [None, 1.5], "b": {"c": [None, None]}, "d": "nan"}
