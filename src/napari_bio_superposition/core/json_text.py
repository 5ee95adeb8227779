"""Values as JSON text that every parser takes. No files."""

import json
import math
from typing import Any


def to_json(values: Any, *, indent: int | None = None) -> str:
    """Return *values* as JSON text; a number that is not finite becomes ``null``.

    Python itself would write ``NaN``, which is no JSON and stops strict parsers.
    """
    return json.dumps(_finite(values), indent=indent, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
