"""Groups of patches that can be compared: columns of the table, saved ones, the selection."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.widgets.study import Study

_COLUMNS: Final = (
    Keys.GENOTYPE,
    Keys.TREATMENT,
    Keys.LINE,
    Keys.PLATE,
    Keys.WELL,
    Keys.IMAGE,
)
"""Columns of the identity, those that one compares most first; others follow."""
_MOST_VALUES: Final = 40
REST: Final = "rest"


@dataclass(frozen=True)
class PatchGroup:
    """One entry of a list of groups.

    Parameters
    ----------
    key
        Stays the same while the group exists.
    title
        What the user reads.
    column, value
        For a group of equal entries in a column of the table.
    """

    key: str
    title: str
    column: str = ""
    value: str = ""


def find_groups(study: Study, *, with_rest: bool = False) -> list[PatchGroup]:
    """Return what can be compared now, the saved and selected first.

    Parameters
    ----------
    study
        Holds table, selection and groups.
    with_rest
        Offer all patches outside of the other group, too.
    """
    groups = [PatchGroup(REST, "All others")] if with_rest else []
    if study.table is None:
        return groups
    groups.append(PatchGroup("selection", "Selected patches"))
    groups += [PatchGroup(f"group {name}", f"Group {name}") for name in study.groups]
    for column in _category_columns(study.table.obs):
        values = sorted(set(map(str, study.table.obs[column])) - {""})
        if 1 < len(values) <= _MOST_VALUES:
            groups += [
                PatchGroup(f"{column}={value}", f"{column}: {value}", column, value)
                for value in values
            ]
    return groups


def rows_of_group(study: Study, group: PatchGroup) -> BoolArray:
    """Return which rows of the table belong to a group, ``(n_rows,)``.

    Raises
    ------
    TableError
        Where there is no table, or no patch in the group.
    """
    if study.table is None:
        raise TableError("There is no table yet. Run the dock Analyse first.")
    if group.key == "selection":
        mask = np.array(study.selection.mask)
        if not mask.any():
            raise TableError("No patch is selected. Click some on the image, or draw in a plot.")
        return mask
    if group.column:
        if group.column not in study.table.obs:
            raise TableError(f"The table has no column {group.column} any longer. Choose again.")
        return np.asarray(study.table.obs[group.column].astype(str) == group.value)
    saved = study.groups.get(group.key.removeprefix("group "))
    if saved is None:
        raise TableError(f"{group.title} is gone. Choose another one.")
    return saved


def _category_columns(obs: Any) -> Iterator[str]:
    yield from (column for column in _COLUMNS if column in obs)
    for column in obs.columns:
        is_known = column in _COLUMNS or column in (Keys.GROUP, Keys.FIELD)
        if not is_known and str(obs[column].dtype) == "category":
            yield str(column)
