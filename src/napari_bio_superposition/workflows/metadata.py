"""What file names do not say: a CSV table with line, genotype or treatment of images or wells."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.features.wells import place_of
from napari_bio_superposition.imaging.fields import FieldReference
from napari_bio_superposition.imaging.naming import clean_id, stem_of

_COLUMNS = tuple(field.name for field in fields(Acquisition) if field.name != "id")


@dataclass(frozen=True)
class Metadata:
    """Acquisition values by image id, or by plate and place on it (see `_well_key`)."""

    by_image: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    by_well: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)

    def complete(self, image: MultichannelImage) -> MultichannelImage:
        """Return *image* with the table's values in its acquisition; empty cells change nothing."""
        return replace(image, acquisition=self.describe(image.acquisition))

    def describe(self, acquisition: Acquisition) -> Acquisition:
        """Return *acquisition* with the table's values; empty cells change nothing."""
        values = self.by_image.get(acquisition.id)
        if values is None:
            values = self.by_well.get(_well_key(acquisition.plate, acquisition.well), {})
        return replace(acquisition, **values)

    def explain_gaps(self, fields: Iterable[FieldReference]) -> list[str]:
        """Return one sentence where the table has no row for some of the images, else nothing."""
        if not self.by_image and not self.by_well:
            return []
        without = [field.id for field in fields if not self._knows(field)]
        if not without:
            return []
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        return [
            f"The table has no row for {len(without)} images ({list_choices(without[:5])}{more}); "
            "compare its names with these."
        ]

    def look_up(self, image_id: str, plate: str, well: str) -> str:
        """Return the only value of an image, or of its well; empty where the table has no row.

        For a table that `read_column` made.
        """
        values = self.by_image.get(image_id, self.by_well.get(_well_key(plate, well), {}))
        return next(iter(values.values()), "")

    def _knows(self, field: FieldReference) -> bool:
        well = _well_key(field.acquisition.plate, field.acquisition.well)
        return field.id in self.by_image or well in self.by_well


def read_metadata(path: Path) -> Metadata:
    """Read a CSV table with a column ``image`` (id or file name), or ``plate`` and ``well``.

    Further columns may be ``plate``, ``well``, ``field``, ``line``, ``genotype``, ``treatment``;
    others are ignored.

    Raises
    ------
    TableError
        Where the file cannot be read, names no image or well, or names one twice.
    """
    return _by_key(_read_table(path), path, _COLUMNS)


def read_column(path: Path, column: str) -> Metadata:
    """Read one column of the user's own from such a table; ask with `Metadata.look_up`.

    Raises
    ------
    TableError
        As `read_metadata`, and where there is no such column.
    """
    table = _read_table(path)
    if column not in table:
        raise TableError(
            f"The table {path.name} has no column {column!r}; it has "
            f"{list_choices(table.columns)}. Choose one of these."
        )
    return _by_key(table, path, (column,))


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise TableError(f"The table {path.name} cannot be read as CSV: {error}.") from error
    if table.empty:
        raise TableError(f"The table {path.name} has no rows. Add some, or leave it out.")
    return table


def _by_key(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> Metadata:
    """Return the rows of some columns by image, or by plate and well."""
    rows = _rows(table, columns)
    if "image" in table:
        keys = [_image_id(name) for name in table["image"]]
        _check_unique(keys, path)
        return Metadata(by_image=dict(zip(keys, rows, strict=True)))
    if {"plate", "well"} <= set(table.columns):
        wells = list(map(_well_key, table["plate"], table["well"]))
        _check_unique(wells, path)
        return Metadata(by_well=dict(zip(wells, rows, strict=True)))
    raise TableError(
        f"The table {path.name} needs a column image, or the columns plate and well; it has "
        f"{list_choices(table.columns)}."
    )


def _well_key(plate: str, well: str) -> tuple[str, str]:
    """Return a key under which ``B3``, ``B03`` and Harmony's ``r02c03`` are the same well."""
    place = place_of(well)
    return plate, well if place is None else f"row {place[0] + 1}, column {place[1] + 1}"


def _rows(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, str]]:
    known = [column for column in columns if column in table]
    return [
        {column: value for column, value in row.items() if value}
        for row in table[known].to_dict("records")
    ]


def _image_id(name: str) -> str:
    """Return the id of a file name: no folder and no endings of image files."""
    return clean_id(stem_of(PurePosixPath(name.strip().replace("\\", "/"))))


def _check_unique(keys: Sequence[str | tuple[str, str]], path: Path) -> None:
    repeated = sorted(str(key) for key, times in Counter(keys).items() if times > 1)
    if repeated:
        raise TableError(
            f"The table {path.name} names {list_choices(repeated[:5])} more than once. "
            "Keep one row for each."
        )
