"""What a table offers to be shown: layouts, columns to colour by, where patches lie. No Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import IntArray

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Points = npt.NDArray[np.float32]
_WIDEST: Final = 128
"""Arrays with more columns are features, not places."""
_INPUT: Final = (Keys.SPATIAL, Keys.CNN)
_COMPUTED: Final = (Keys.PSEUDOTIME, Keys.LEIDEN, Keys.STAGE)
"""Begin of the columns that a new computation replaces."""
_PREFERRED: Final = (Keys.PHATE, Keys.UMAP, "X_tsne", Keys.DIFFMAP, Keys.PCA)
_NAMES: Final = {
    "umap": "UMAP",
    "phate": "PHATE",
    "pca": "PCA",
    "tsne": "t-SNE",
    "diffmap": "diffusion map",
    "spatial": "place in the image",
}
_LAST: Final = Keys.SPATIAL
_MOST_CATEGORIES_SHARE: Final = 0.5
"""A text column with more distinct values than this share of rows is an identifier."""


@dataclass(frozen=True)
class Layout:
    """Two columns of an array of ``obsm`` as a plane.

    Parameters
    ----------
    key
        Of the array.
    columns
        The two that are shown.
    """

    key: str
    columns: tuple[int, int] = (0, 1)

    @property
    def name(self) -> str:
        """How it is called in a list: ``UMAP``, ``PHATE_cnn``."""
        plain = self.key.removeprefix("X_")
        for code, name in _NAMES.items():
            plain = plain.replace(code, name)
        return plain

    @property
    def axis_names(self) -> tuple[str, str]:
        """Names of the two axes."""
        if self.key == Keys.SPATIAL:
            return "x", "y"
        first, second = self.columns
        return f"{self.name} {first + 1}", f"{self.name} {second + 1}"

    def points_of(self, adata: "AnnData") -> Points:
        """Return the place of each row, ``(n, 2)``; an image's rows count downwards."""
        points = np.asarray(adata.obsm[self.key])[:, list(self.columns)].astype(np.float32)
        if self.key == Keys.SPATIAL:
            points[:, 1] *= -1
        return points


def find_layouts(adata: "AnnData | None") -> list[Layout]:
    """Return the layouts of a table, the most telling first, the places in the image last."""
    if adata is None:
        return []
    found = [key for key in adata.obsm if _is_layout(key, adata.obsm[key])]
    rank = {key: index for index, key in enumerate(_PREFERRED)}
    rank[_LAST] = len(rank) + 1
    ordered = sorted(found, key=lambda key: rank.get(key, len(_PREFERRED)))
    return [Layout(key, _columns(key, adata.obsm[key].shape[1])) for key in ordered]


def colour_columns(adata: "AnnData | None") -> list[str]:
    """Return the columns of ``obs`` worth colouring by: identifiers of single rows are left out."""
    if adata is None:
        return []
    return [str(name) for name in adata.obs.columns if _is_telling(adata.obs[name])]


def number_columns(adata: "AnnData | None") -> list[str]:
    """Return the columns of ``obs`` that hold numbers."""
    import pandas as pd

    if adata is None:
        return []
    return [
        str(name)
        for name in adata.obs.columns
        if pd.api.types.is_numeric_dtype(adata.obs[name])
        and not pd.api.types.is_bool_dtype(adata.obs[name])
    ]


def category_columns(adata: "AnnData | None") -> list[str]:
    """Return the columns of ``obs`` that hold categories."""
    numbers = set(number_columns(adata))
    return [name for name in colour_columns(adata) if name not in numbers]


@dataclass(frozen=True, eq=False)
class NewParts:
    """What a computation adds to a table, one value per row of that table.

    Parameters
    ----------
    rows
        Position in the table of each row that took part.
    obs, obsm
        Columns and layouts; rows that took no part have nan.
    uns, obsp
        Everything else; graphs only where all rows took part.
    """

    rows: IntArray
    obs: Mapping[str, "pd.Series[Any]"]
    obsm: Mapping[str, Points]
    uns: Mapping[str, Any]
    obsp: Mapping[str, Any]

    def put_into(self, adata: "AnnData") -> None:
        """Add everything to the table, in place."""
        for name in ("obs", "obsm", "uns", "obsp"):
            part = getattr(adata, name)
            for key, value in getattr(self, name).items():
                part[key] = value


def spread_out(adata: "AnnData", computed: "AnnData") -> NewParts:
    """Return what *computed*, some or all rows of *adata* with more columns, has beyond it.

    Raises
    ------
    TableError
        Where a row of *computed* is not in *adata*.
    """
    rows = np.asarray(adata.obs_names.get_indexer(computed.obs_names), np.int64)
    if (rows < 0).any():
        raise TableError("The table changed while it was embedded. Compute it again.")
    place = np.full(adata.n_obs, -1)  # by position: a million names are slow to look up
    place[rows] = np.arange(computed.n_obs)
    obs = {
        str(name): computed.obs[name]
        .reset_index(drop=True)
        .reindex(place)
        .set_axis(adata.obs_names)
        for name in computed.obs.columns
        if name not in adata.obs or str(name).startswith(_COMPUTED)
    }
    obsm = {}
    for key, array in computed.obsm.items():
        if key not in _INPUT:
            obsm[key] = np.full((adata.n_obs, array.shape[1]), np.nan, np.float32)
            obsm[key][rows] = np.asarray(array)
    is_whole = np.array_equal(rows, np.arange(adata.n_obs))
    uns = {key: value for key, value in computed.uns.items() if is_whole or not _is_graph(value)}
    return NewParts(rows, obs, obsm, uns, dict(computed.obsp) if is_whole else {})


def _is_graph(value: Any) -> bool:
    """Whether an entry of ``uns`` describes a graph between rows; that of some is none of all."""
    return isinstance(value, Mapping) and "connectivities_key" in value


def palette_of(adata: "AnnData", column: str) -> Sequence[str] | None:
    """Return the colours that scanpy keeps for the categories of a column, where it does."""
    colours = adata.uns.get(f"{column}_colors")
    return None if colours is None else [str(colour) for colour in colours]


def find_image(adata: "AnnData", row: int) -> str | None:
    """Return the image of a row; ``None`` where the table does not say."""
    if Keys.IMAGE not in adata.obs:
        return None
    image_id = adata.obs[Keys.IMAGE].iloc[row]
    return None if image_id is None or image_id != image_id else str(image_id)


def describe_row(adata: "AnnData", row: int, shown: str = "") -> list[str]:
    """Return a few lines on one row: its name, where it comes from, the value that is shown."""
    lines = [str(adata.obs_names[row])]
    origin = [
        str(adata.obs[key].iloc[row])
        for key in (Keys.WELL, Keys.GENOTYPE, Keys.TREATMENT)
        if key in adata.obs
    ]
    origin = [text for text in origin if text not in ("", "nan", "None")]
    if origin:
        lines.append(" · ".join(origin))
    if shown in adata.obs:
        lines.append(f"{shown}: {_short(adata.obs[shown].iloc[row])}")
    return lines


def _is_layout(key: str, array: Any) -> bool:
    shape: tuple[int, ...] = tuple(getattr(array, "shape", ()))
    return len(shape) == 2 and 2 <= shape[1] <= _WIDEST and key != Keys.CNN


def _columns(key: str, n_columns: int) -> tuple[int, int]:
    # The first component of scanpy's diffusion map is constant.
    return (1, 2) if key.startswith(Keys.DIFFMAP) and n_columns > 2 else (0, 1)


def _is_telling(column: Any) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return True
    n_values = column.nunique(dropna=True)
    return bool(n_values <= max(10, _MOST_CATEGORIES_SHARE * len(column)))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)
