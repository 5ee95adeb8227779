"""Units of length as image files write them. Nothing else."""

from typing import Final

_UM_PER_UNIT: Final = {
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
    "angstrom": 1e-4, "å": 1e-4,
}  # fmt: skip


def um_per_unit(unit: str) -> float | None:
    r"""Return how many micrometres one *unit* has; ``None`` where it is no length we know.

    Both Greek mu and micro sign are understood, and the ``\u00B5`` that ImageJ writes. An inch is
    left out on purpose: it comes from printing resolutions (72 dpi), not from microscopes.
    """
    text = unit.strip().lower().replace("\\u00b5", "u").replace("µ", "u").replace("μ", "u")
    return _UM_PER_UNIT.get(text)
