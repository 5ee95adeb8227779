"""What a file name tells: plate, well, field; and names that stay apart. No files are opened."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Final

from napari_bio_superposition.imaging.read_config import NAME_GROUPS

_SUFFIXES: Final = (".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif", ".zarr", ".png")
_START, _END = r"(?:^|(?<=[_\-\s]))", r"(?=$|[_\-\s])"

_DEFAULT_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # Opera Phenix and Operetta: r03c03f01p01-ch1sk1fk1fl1, 003001_r06c02f01_Composite_RGB
        rf"(?:(?P<plate>[^\s]+?)_)?{_START}(?P<well>r\d{{2}}c\d{{2}})f(?P<field>\d+)",
        # plate1_A14_site1_5ch, exp3_B02_s4, A14_f03
        rf"(?:(?P<plate>.+?)[_\-\s])?{_START}(?P<well>[A-P]\d{{1,2}})[_\-\s]?"
        rf"(?:site|field|fld|s|f|F)[_\-\s]?(?P<field>\d+){_END}",
        # plate1_A14: a well with two digits; "A1" alone is too often something else
        rf"(?:(?P<plate>.+?)[_\-\s])?{_START}(?P<well>[A-P](?:0[1-9]|1\d|2[0-4])){_END}",
    )
)
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff/\\:*?\"<>|\s]+")
_NUMBER: Final = re.compile(r"(\d+)")


def parse_filename(stem: str, pattern: str = "") -> dict[str, str]:
    """Return what a file name tells about the acquisition.

    Parameters
    ----------
    stem
        File name without its ending (see `stem_of`).
    pattern
        Regular expression with the named groups of `NAME_GROUPS`, searched in *stem*; empty for the
        usual patterns of Opera Phenix, ImageXpress and similar exports.

    Returns
    -------
    dict
        Only what was found, for instance ``{"plate": "plate1", "well": "A14", "field": "1"}``. A
        field that is a number loses its leading zeros.
    """
    patterns = (re.compile(pattern),) if pattern else _DEFAULT_PATTERNS
    for candidate in patterns:
        if match := candidate.search(stem):
            found = {name: match.groupdict().get(name) or "" for name in NAME_GROUPS}
            return {name: _normalise(name, text) for name, text in found.items() if text}
    return {}


def _normalise(name: str, text: str) -> str:
    is_number = name == "field" and text.isascii() and text.isdigit()
    return text.lstrip("0") or "0" if is_number else text


def stem_of(path: PurePath) -> str:
    """Return the name of a file without its ending, double ones (``.ome.tif``) included."""
    lower = path.name.lower()
    for suffix in _SUFFIXES:
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return path.name[: -len(suffix)]
    return path.name


def clean_id(text: str) -> str:
    """Return *text* as an id, which is also a file name: no separators, no dots at the ends.

    Bytes of a file name that are no UTF-8 (lone surrogates in Python) become ``_``.
    """
    return _UNSAFE.sub("_", text).strip("._") or "image"


def natural_key(path: PurePath) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key under which ``s2`` comes before ``s10``."""
    parts = _NUMBER.split(path.as_posix().lower())
    key = tuple(
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part)
        for part in parts
        if part
    )
    return key, path.as_posix()


def separate_ids(ids: Sequence[str], paths: Sequence[Path]) -> tuple[str, ...]:
    """Make ids unique by what tells the files apart: parent folder, then ending, then number.

    All images that share an id are renamed, so that the order of the list changes nothing; the
    result depends on the names of the last folders only, never on where they are mounted.

    Parameters
    ----------
    ids
        One per image.
    paths
        The file or folder of each image.

    Returns
    -------
    tuple
        Unique ids, in the same order; those that were unique are unchanged.
    """
    by_parents = _extend_repeated(ids, paths, _name_parents)
    by_ending = _extend_repeated(
        by_parents, paths, lambda group: [path.suffix.lstrip(".") for path in group]
    )
    return _number_repeated(by_ending)


def _extend_repeated(
    names: Sequence[str],
    paths: Sequence[Path],
    describe: Callable[[Sequence[Path]], list[str]],
) -> list[str]:
    """Append to each name that occurs again what *describe* says about the paths that share it."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        # On many disks "A" and "a" are the same file.
        groups.setdefault(name.casefold(), []).append(index)
    extended = list(names)
    for group in groups.values():
        if len(group) > 1:
            endings = describe([paths[index] for index in group])
            for index, ending in zip(group, endings, strict=True):
                extended[index] = f"{names[index]}-{ending}" if ending else names[index]
    return extended


def _name_parents(paths: Sequence[Path]) -> list[str]:
    """Return as many parent folders of each path as tell the paths apart, and no more."""
    folders = [
        [part for part in path.parent.parts if part != path.anchor and part != ".."]
        for path in paths
    ]
    best = [""] * len(paths)
    for depth in range(1, max(map(len, folders)) + 1):
        names = ["-".join(parts[-depth:]) for parts in folders]
        named = [clean_id(name) if name else "" for name in names]
        if len({name.casefold() for name in named}) > len({name.casefold() for name in best}):
            best = named
    return best


def _number_repeated(names: Sequence[str]) -> tuple[str, ...]:
    given, used, result = {name.casefold() for name in names}, set[str](), []
    for name in names:
        unique, number = name, 1
        while unique.casefold() in used or (number > 1 and unique.casefold() in given):
            number += 1
            unique = f"{name}-{number}"
        used.add(unique.casefold())
        result.append(unique)
    return tuple(result)
