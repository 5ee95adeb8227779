"""Train, validation and test parts whose wells (or plates) do not mix. Reads no files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, Self, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.errors import ConfigError, TableError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import IntArray

SplitUnit: TypeAlias = Literal["group", "plate", "image_id", "patch"]
"""What stays together: the well, the plate, the image, or (as published) nothing."""
Part: TypeAlias = Literal["train", "validation", "test"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
_FORMAT: Final = 1
_FILLED_FIRST: Final = (0, 2, 1)
"""Where units are scarce, training comes first, then testing, then validation."""


@dataclass(frozen=True)
class Split:
    """Which units are for training, for choosing settings, and for the final figure.

    Parameters
    ----------
    train, validation, test
        Names of the units: wells, plates, image ids or patch ids. A table's rows of other units
        belong to no part.
    unit
        The column of ``obs`` that names them; ``patch`` is the index.
    leaking
        Whether patches of one well are in more than one part: then a score on the test part is too
        good, because neighbouring patches look alike. Always so for ``patch``, the paper's split.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unit: SplitUnit = "group"
    leaking: bool = False

    def __post_init__(self) -> None:
        if self.unit not in get_args(SplitUnit):
            raise ConfigError(
                f"No split unit {self.unit!r}. Choose one of: {list_choices(get_args(SplitUnit))}."
            )
        named = [*self.train, *self.validation, *self.test]
        if len(set(named)) < len(named):
            twice = sorted({name for name in named if named.count(name) > 1})[:5]
            raise TableError(
                f"A split names {list_choices(twice)} more than once. "
                "Each unit belongs to one part; make the split again."
            )

    def rows(self, obs: pd.DataFrame, part: Part) -> IntArray:
        """Return the positions of a part's rows in *obs*, ascending.

        Raises
        ------
        ConfigError
            Where there is no such part.
        TableError
            Where *obs* lacks the column of the unit.
        """
        if part not in PARTS:
            raise ConfigError(f"No part {part!r} in a split; it has {list_choices(PARTS)}.")
        names = _unit_names(obs, self.unit)
        return np.flatnonzero(np.isin(names, np.array(getattr(self, part), dtype=object)))

    def to_json(self) -> str:
        """Return the split as JSON text, to be frozen in a file beside a model."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the split that `to_json` wrote.

        Raises
        ------
        TableError
            Where the text is no split.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != _FORMAT:
                raise ValueError("unknown format")
            parts = {part: tuple(map(str, values.pop(part))) for part in PARTS}
            return cls(**parts, unit=values["unit"], leaking=bool(values["leaking"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TableError(
                f"This text is no split of a table ({error}). Give the file that training wrote, "
                "or make the split again."
            ) from error


def split_groups(
    obs: pd.DataFrame,
    unit: SplitUnit = "group",
    stratify: str | None = "class",
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    *,
    rng: np.random.Generator,
) -> Split:
    """Deal units to the parts at random, so that each part has each class in like shares.

    Parameters
    ----------
    obs
        One row per patch; the index is the patch id.
    unit
        What stays together. ``group`` (the well) is the unit of inference; ``patch`` is the paper's
        split, which leaks.
    stratify
        Column whose values each part gets in like shares; `None` for none. Units that hold several
        classes (a plate) are dealt among those that hold the same ones.
    shares
        Of train, validation and test among the units of a class; rounded, but at least one unit
        each where there are enough, training first, then test. A share of 0 leaves a part empty.
    rng
        Decides which unit goes where.

    Raises
    ------
    TableError
        Where a column is missing, or a class has too few units to be in both training and test.
    """
    if min(shares) < 0 or not np.isclose(sum(shares), 1.0) or shares[0] <= 0:
        raise ConfigError(
            f"The shares of a split are {shares}; give three of at least 0 that sum to 1, "
            "with something to train on."
        )
    names = _unit_names(obs, unit)
    classes = _column(obs, stratify) if stratify else np.full(len(obs), "", dtype=object)
    parts: tuple[list[str], ...] = ([], [], [])
    for members in _strata(names, classes):
        shuffled = [members[i] for i in rng.permutation(len(members))]
        ends = np.cumsum(_deal(len(members), shares))
        for part, (start, end) in zip(parts, zip([0, *ends], ends, strict=False), strict=True):
            part += shuffled[start:end]
    train, validation, test = (tuple(sorted(part)) for part in parts)
    split = Split(train, validation, test, unit)
    _check_classes(split, obs, classes, shares)
    return Split(train, validation, test, unit, leaking=_leaks(split, obs))


def _strata(names: npt.NDArray[np.object_], classes: npt.NDArray[np.object_]) -> list[list[str]]:
    """Return the units that hold the same set of classes, in a fixed order."""
    frame = pd.DataFrame({"unit": names, "class": classes}).drop_duplicates()
    frame = frame.sort_values(["unit", "class"])
    held = frame.groupby("unit", sort=True)["class"].agg(tuple)
    return [list(members.index) for _, members in held.groupby(held, sort=True)]


def _deal(n: int, shares: Sequence[float]) -> list[int]:
    """Return how many of *n* units each part gets: largest remainders, scarce units by need."""
    counts = [0, 0, 0]
    wanted = [part for part in _FILLED_FIRST if shares[part] > 0]
    for part in wanted[:n]:
        counts[part] = 1
    while sum(counts) < n:
        missing = [share * n - count for share, count in zip(shares, counts, strict=True)]
        counts[int(np.argmax(missing))] += 1
    return counts


def _check_classes(
    split: Split,
    obs: pd.DataFrame,
    classes: npt.NDArray[np.object_],
    shares: tuple[float, float, float],
) -> None:
    """Refuse a split whose training or test part lacks a class that the other one has."""
    needed: tuple[Part, ...] = ("train", "test") if shares[2] > 0 else ("train",)
    for part in needed:
        missing = sorted(set(classes) - set(classes[split.rows(obs, part)]))
        if missing:
            name = {"group": "well", "image_id": "image"}.get(split.unit, split.unit)
            raise TableError(
                f"A split by {name} leaves the {part} part without {list_choices(missing)}: too "
                f"few {name}s of it. Add {name}s, merge classes, or split by a smaller unit "
                f"({list_choices(get_args(SplitUnit))}; the smaller, the more the scores leak)."
            )


def _leaks(split: Split, obs: pd.DataFrame) -> bool:
    if split.unit == "patch":
        return True
    if Keys.GROUP not in obs:
        return False
    wells = _unit_names(obs, "group")
    parts = [set(wells[split.rows(obs, part)]) for part in PARTS]
    return bool(parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def _unit_names(obs: pd.DataFrame, unit: SplitUnit) -> npt.NDArray[np.object_]:
    if unit == "patch":
        return np.asarray(obs.index.astype(str), dtype=object)
    return _column(obs, unit)


def _column(obs: pd.DataFrame, name: str) -> npt.NDArray[np.object_]:
    if name not in obs:
        raise TableError(
            f"The table has no column {name!r}; it has {list_choices(obs.columns)}. "
            "Choose one of these, or add the column."
        )
    return cast("npt.NDArray[np.object_]", obs[name].astype(str).to_numpy(dtype=object))
