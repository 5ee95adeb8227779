"""Patches put together by well, the unit of inference, and how far controls lie apart."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys

_IDENTITY: Final = (Keys.PLATE, Keys.WELL, Keys.LINE, Keys.GENOTYPE, Keys.TREATMENT)
_RATES: Final = (Keys.DEATH, Keys.DEATH_INTENSITY)
_LETTER_WELL: Final = re.compile(r"^([A-Za-z]{1,2})0*(\d{1,2})$")
_NUMBER_WELL: Final = re.compile(r"^r0*(\d{1,2})c0*(\d{1,2})$", re.IGNORECASE)


def summarize_wells(rows: pd.DataFrame, images: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per well (per image, where the well is unknown).

    Parameters
    ----------
    rows
        Accepted patches, with the columns of a feature table.
    images
        Summaries of all images, those without accepted patches included.

    Returns
    -------
    pandas.DataFrame
        Index the group (plate/well). Identity; ``n_images``, ``n_nuclei``, ``n_patches`` and
        ``accepted`` (share of all patches, from the quality control); ``dead_area_rate`` and
        ``dead_intensity_rate`` of the eligible patches, weighted by nuclear area (nan where none
        is eligible).
    """
    counted = pd.DataFrame([_describe_image(image) for image in images])
    if counted.empty:
        return pd.DataFrame()
    groups = counted.groupby("group", sort=True)
    wells = groups[list(_IDENTITY)].agg(_join)
    wells["n_images"] = groups.size()
    wells["n_nuclei"] = groups["n_nuclei"].sum(min_count=1)
    wells["n_patches"] = groups["n_accepted"].sum()
    wells["accepted"] = groups["n_accepted"].sum() / groups["n_total"].sum().clip(lower=1)
    for name in _RATES:
        rate = _pool_rate(rows, name)
        wells[name] = rate.reindex(wells.index) if len(rate) else np.nan
    return wells


def _describe_image(image: Mapping[str, Any]) -> dict[str, Any]:
    acquisition = image["acquisition"]
    plate, well = acquisition["plate"], acquisition["well"]
    nuclei = image.get("n_nuclei")
    return {
        "group": f"{plate}/{well}" if well else image["id"],
        **{name: acquisition[name] for name in _IDENTITY},
        "n_nuclei": np.nan if nuclei is None else nuclei,
        "n_accepted": image["patches"]["accepted"],
        "n_total": image["patches"]["total"],
    }


def _join(names: "pd.Series[str]") -> str:
    return ", ".join(sorted({name for name in names if name}))


def _pool_rate(rows: pd.DataFrame, name: str) -> "pd.Series[float]":
    """Return the rate per group over eligible patches, weighted by nuclear area."""
    if name not in rows:
        return pd.Series(dtype=float)
    known = rows[rows[Keys.DEATH_ELIGIBLE].astype(bool) & np.isfinite(rows[name].astype(float))]
    area = known[Keys.NUCLEAR_AREA].astype(float)
    group = known[Keys.GROUP].astype(str)
    weighted = (known[name].astype(float) * area).groupby(group).sum()
    rate: pd.Series[float] = weighted / area.groupby(group).sum()
    return rate


class WellMeans:
    """Mean activation per well, summed up table by table."""

    def __init__(self, groups: Sequence[str], n_features: int) -> None:
        self._position = {group: row for row, group in enumerate(groups)}
        self._sums = np.zeros((len(groups), n_features))
        self._counts = np.zeros(len(groups))

    def add(self, values: Any, groups: npt.NDArray[Any]) -> None:
        """Take in patches: activations ``(n, n_features)``, dense or sparse, and their groups."""
        rows = np.array([self._position[group] for group in groups], dtype=int)
        member = sparse.csr_matrix(
            (np.ones(len(rows)), (rows, np.arange(len(rows)))),
            shape=(len(self._counts), len(rows)),
        )
        total = member @ values
        self._sums += total.toarray() if sparse.issparse(total) else total
        self._counts += np.bincount(rows, minlength=len(self._counts))

    def means(self) -> npt.NDArray[np.float32]:
        """Return ``(n_wells, n_features)``; nan where a well has no patch."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self._sums / self._counts[:, np.newaxis], dtype=np.float32)


def select_wells(wells: pd.DataFrame, condition: str) -> npt.NDArray[np.bool_]:
    """Return which wells fulfil ``column=value``.

    Raises
    ------
    TableError
        Where there is no such column, or no well with that value.
    """
    column, _, value = condition.partition("=")
    if column not in _IDENTITY:
        raise TableError(
            f"Wells have no column {column!r}; choose one of {list_choices(_IDENTITY)}."
        )
    chosen: npt.NDArray[np.bool_] = (wells[column].astype(str) == value).to_numpy()
    if not chosen.any():
        there = sorted(set(wells[column].astype(str)))
        raise TableError(f"No well has {column} {value!r}; there are {list_choices(there[:20])}.")
    return chosen


def separate_controls(
    values: pd.DataFrame,
    plates: "pd.Series[str]",
    positive: npt.NDArray[np.bool_],
    negative: npt.NDArray[np.bool_],
) -> pd.DataFrame:
    """Return per plate and measure how far the controls lie apart.

    Parameters
    ----------
    values
        One row per well, one column per measure.
    plates
        The plate of each well.
    positive, negative
        Which wells are controls.

    Returns
    -------
    pandas.DataFrame
        ``plate``, ``measure``, ``n_positive``, ``n_negative``; ``z_prime``, that is
        ``1 - 3 (s_p + s_n) / |m_p - m_n|`` (Zhang et al. 1999; above 0.5 is called excellent), and
        ``ssmd``, that is ``(m_p - m_n) / sqrt(s_p^2 + s_n^2)`` (Zhang 2007). nan with fewer than
        two wells of either kind on the plate.
    """
    parts = []
    for plate in sorted(set(plates)):
        here = (plates == plate).to_numpy()
        high = values[here & positive].to_numpy(float)
        low = values[here & negative].to_numpy(float)
        parts.append(_separate(plate, list(values.columns), high, low))
    return pd.concat(parts, ignore_index=True)


def _separate(
    plate: str, names: list[str], high: npt.NDArray[Any], low: npt.NDArray[Any]
) -> pd.DataFrame:
    table = pd.DataFrame({"plate": plate, "measure": names})
    table["n_positive"], table["n_negative"] = len(high), len(low)
    table["z_prime"] = table["ssmd"] = np.nan
    if min(len(high), len(low)) >= 2:
        gap = high.mean(axis=0) - low.mean(axis=0)
        spread = [part.std(axis=0, ddof=1) for part in (high, low)]
        with np.errstate(divide="ignore", invalid="ignore"):
            table["z_prime"] = 1 - 3 * (spread[0] + spread[1]) / np.abs(gap)
            table["ssmd"] = gap / np.hypot(*spread)
    return table


def place_of(well: str) -> tuple[int, int] | None:
    """Return row and column of a well from 0, of ``A14``, ``AF07`` or ``r03c12``; else nothing."""
    if match := _NUMBER_WELL.match(well):
        row, column = int(match[1]), int(match[2])
    elif match := _LETTER_WELL.match(well):
        row = 0
        for letter in match[1].upper():
            row = 26 * row + ord(letter) - ord("A") + 1
        column = int(match[2])
    else:
        return None
    return (row - 1, column - 1) if row and column else None
