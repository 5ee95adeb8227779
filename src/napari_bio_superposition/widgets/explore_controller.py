"""What the Explore widget does, without a widget: layouts, colours and jobs of the table. No Qt."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.widgets.explore_table import (
    Layout,
    NewParts,
    category_columns,
    colour_columns,
    find_image,
    find_layouts,
    number_columns,
    palette_of,
    spread_out,
)
from napari_bio_superposition.widgets.preload import gentle_imports
from napari_bio_superposition.widgets.scatter_colour import (
    Colouring,
    colour_by_column,
    colour_by_density,
    colour_by_values,
    colour_plainly,
)
from napari_bio_superposition.widgets.study import Study

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_bio_superposition.manifold.curves import TrendCurve
    from napari_bio_superposition.workflows.embed_config import EmbedConfig
    from napari_bio_superposition.workflows.embed_result import EmbedResult, Trajectory

PLAIN: Final = "one colour"
DENSITY: Final = "density"
COMPARED_PATCHES: Final = 10_000
"""Of each group, where the features are on disk."""
_KEPT_FEATURES: Final = 16
"""Features read last that stay in memory: of a million rows 4 MB each."""


@dataclass(frozen=True, eq=False)
class FeatureTrend:
    """One feature along the pseudotime of one group.

    Parameters
    ----------
    feature, group
        Their names.
    values
        Of the feature, for every row of the table, ``(n,)``.
    curve
        Smooth curve with its band over wells.
    result
        What it belongs to.
    """

    feature: str
    group: str
    values: FloatArray
    curve: "TrendCurve"
    result: "EmbedResult"


@dataclass(frozen=True, eq=False)
class EmbeddedTable:
    """What `ExploreController.embed` found, ready to be put into the table it was found of."""

    table: "AnnData"
    result: "EmbedResult"
    parts: NewParts


class ExploreController:
    """Turns choices into layouts, colourings and jobs over the study's table.

    Parameters
    ----------
    study
        Of the viewer.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._features: OrderedDict[str, FloatArray] = OrderedDict()
        self._of_table: Any = None
        self._result: EmbedResult | None = None
        self._rows: IntArray = np.zeros(0, np.int64)
        self._names: Any = None

    @property
    def table(self) -> "AnnData | None":
        """The study's table."""
        return self.study.table

    @property
    def layouts(self) -> list[Layout]:
        """What can be shown as a plane."""
        return find_layouts(self.table)

    @property
    def columns(self) -> list[str]:
        """Columns of ``obs`` to colour by."""
        return colour_columns(self.table)

    @property
    def number_columns(self) -> list[str]:
        """Columns of ``obs`` that hold numbers."""
        return number_columns(self.table)

    @property
    def category_columns(self) -> list[str]:
        """Columns of ``obs`` that hold categories."""
        return category_columns(self.table)

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [] if self.table is None else [str(name) for name in self.table.var_names]

    def colour(self, column: str) -> Colouring:
        """Return the colouring by a column of ``obs``, by density, or by nothing."""
        table = self._need_table()
        if column == DENSITY:
            return colour_by_density(table.n_obs)
        if column not in table.obs:
            return colour_plainly(table.n_obs)
        return colour_by_column(column, table.obs[column], palette_of(table, column))

    def is_at_hand(self, feature: str) -> bool:
        """Whether a feature can be shown at once, without a job."""
        from napari_bio_superposition.features.lazy_table import is_on_disk

        self._forget_others()
        table = self._need_table()
        return feature in self._features or feature not in table.var_names or not is_on_disk(table)

    def read_feature(self, feature: str) -> Job[Colouring]:
        """Return the colouring by a feature; one that was read lately is not read again."""
        from napari_bio_superposition.features.lazy_table import read_feature

        self._forget_others()
        if feature not in self._features:
            values = yield from read_feature(self._need_table(), feature)
            self._features[feature] = values
            while len(self._features) > _KEPT_FEATURES:
                self._features.popitem(last=False)
        self._features.move_to_end(feature)
        return colour_by_values(feature, self._features[feature])

    def open(self, path: Path) -> Job["AnnData"]:
        """Return the job that opens a table of any origin; large ones stay on disk."""
        yield Progress("Opening the table")
        with gentle_imports(torch=False):
            from napari_bio_superposition.features.lazy_table import open_table
        return (yield from open_table(path))

    def save(self, path: Path) -> Job[Path]:
        """Return the job that writes the table with its groups and layouts."""
        from napari_bio_superposition.features.lazy_table import save_table

        return save_table(self._need_table(), path)

    def compare(self, first: BoolArray, second: BoolArray | None) -> Job[tuple[Any, str]]:
        """Return the job that compares two groups of rows; with the rest where *second* is none.

        It gives the comparison, and what a reader must know of it: of a table on disk up to
        `COMPARED_PATCHES` of each group are drawn, evenly from its wells.
        """
        table = self._need_table()
        second = ~first if second is None else second
        yield Progress("Comparing features")
        with gentle_imports(torch=False):
            from napari_bio_superposition.features.differential import follow_comparison
            from napari_bio_superposition.features.lazy_table import is_on_disk

        note = ""
        if is_on_disk(table):
            table, rows = yield from self._draw_groups(table, first, second)
            note = f" in {len(rows):,} drawn patches of {int((first | second).sum()):,}"
            first, second = first[rows], second[rows]
        return (yield from follow_comparison(table, first, second)), note

    def _draw_groups(self, table: "AnnData", *groups: BoolArray) -> Job[tuple["AnnData", IntArray]]:
        """Return a table in memory with patches of each group, and their rows."""
        from napari_bio_superposition.features.drawn_rows import (
            draw_rows,
            number_strata,
            read_rows,
        )

        rng = np.random.default_rng(0)
        wells = number_strata(table.obs, Keys.GROUP)
        drawn = [
            own[draw_rows(wells[own], COMPARED_PATCHES, rng=rng)]
            for own in map(np.flatnonzero, groups)
        ]
        rows = np.unique(np.concatenate(drawn))
        return (yield from read_rows(table, rows)), rows

    # --- layouts, trajectories, graph --------------------------------------------------------

    def embed(self, config: "EmbedConfig") -> Job[EmbeddedTable]:
        """Return the job that lays out the table and orders it in pseudotime."""
        table = self._need_table()
        yield Progress("Loading libraries")
        with gentle_imports(torch=False):
            from napari_bio_superposition.workflows.embed import embed_table

        result = yield from embed_table(table, config)
        yield Progress("Joining the table")
        return EmbeddedTable(table, result, spread_out(table, result.table))

    def take_result(self, embedded: EmbeddedTable) -> None:
        """Put what was computed into the study's table; rows that took no part stay without.

        Raises
        ------
        TableError
            Where the table became one without these rows in the meantime.
        """
        table, parts = self._need_table(), embedded.parts
        if table is not embedded.table:
            parts = spread_out(table, embedded.result.table)
        parts.put_into(table)
        self._result, self._rows, self._names = embedded.result, parts.rows, table.obs_names
        self.study.set_table(table)

    @property
    def result(self) -> "EmbedResult | None":
        """The last result, as long as its table is the one that is shown."""
        return self._result if self.table is not None and self._has_rows(self.table) else None

    def _has_rows(self, table: "AnnData") -> bool:
        """Whether the rows of the last result lie in a table where they lay in its own."""
        if self._result is None or table.obs_names is self._names:
            return self._result is not None
        is_long = table.n_obs > int(self._rows.max())
        theirs = self._result.table.obs_names
        return is_long and bool(table.obs_names[self._rows].equals(theirs))

    @property
    def trajectories(self) -> Mapping[str, "Trajectory"]:
        """The trajectories of the last result by group."""
        return {} if self.result is None else self.result.trajectories

    def follow_feature(self, feature: str, group: str) -> Job[FeatureTrend]:
        """Return the job that fits one feature along the pseudotime of a group.

        Raises
        ------
        TableError
            Where there is no pseudotime of this group.
        """
        result = self.result
        if result is None or group not in result.trajectories:
            raise TableError(
                "There is no pseudotime of this group. Press Compute layouts and trajectory."
            )
        from napari_bio_superposition.manifold.dynamics import follow_one

        trajectory, n_rows = result.trajectories[group], result.table.n_obs
        time, wells = np.full(n_rows, np.nan), np.full(n_rows, "", trajectory.wells.dtype)
        time[trajectory.rows], wells[trajectory.rows] = trajectory.pseudotime, trajectory.wells
        yield from self.read_feature(feature)
        rng = np.random.default_rng(result.config.seed)
        curve = yield from follow_one(result.table, feature, time, wells, rng=rng)
        return FeatureTrend(feature, group, self._features[feature], curve, result)

    def rows_in_table(self, rows: IntArray) -> IntArray:
        """Return the rows of the study's table behind rows of the last result."""
        return self._rows[rows]

    def rows_of(self, trajectory: "Trajectory") -> IntArray:
        """Return the rows of the study's table that a trajectory is about."""
        return self.rows_in_table(trajectory.rows)

    def pseudotime(self, group: str) -> npt.NDArray[np.float64] | None:
        """Return the pseudotime of each row, that of a pair where there is one for the group."""
        table = self.table
        if table is None:
            return None
        for name in (f"{Keys.PSEUDOTIME}_{group}", Keys.PSEUDOTIME):
            if name in table.obs:
                values = table.obs[name].to_numpy(np.float64, na_value=np.nan)
                return np.where(np.isfinite(values), values, np.nan)
        return None

    def read_graph(self, column: str) -> Any:
        """Return the graph of clusters of the table, coloured by a column.

        Raises
        ------
        TableError
            Where there is none.
        """
        if self.table is None or "paga" not in self.table.uns:
            raise TableError(
                "No graph of clusters yet. Press Compute layouts and trajectory, or open a table "
                "with PAGA of scanpy."
            )
        from napari_bio_superposition.manifold.trajectory import read_paga

        return read_paga(self.table, group=column)

    def cluster_mask(self, cluster: str) -> BoolArray:
        """Return which rows belong to a cluster of the graph."""
        table = self._need_table()
        column = str(table.uns["paga"]["groups"])
        return np.asarray(table.obs[column].astype(str) == cluster, bool)

    # --- images ------------------------------------------------------------------------------

    def latent(self, feature: str) -> int | None:
        """Return the SAE latent behind a feature; ``None`` for features of other tables."""
        try:
            return latent_of(feature)
        except ValueError:
            return None

    def image_of(self, row: int) -> str | None:
        """Return the image of a row; ``None`` where the table does not say."""
        return None if self.table is None else find_image(self.table, row)

    def locate(self, row: int) -> tuple[float, ...] | None:
        """Return the middle of a patch in the world, ``(y, x)``, where its image is open."""
        image = self.study.images.get(self.image_of(row) or "")
        if image is None:
            return None
        patch = np.flatnonzero(image.rows == row)
        if not len(patch):
            return None
        centre = image.origins[patch[0]] + image.side_px / 2
        return tuple(float(part) for part in image.geometry.to_world(centre))

    def _need_table(self) -> "AnnData":
        if self.table is None:
            raise TableError("There is no table yet. Analyse an image, or open a table.")
        return self.table

    def _forget_others(self) -> None:
        """Forget features of a table that is no longer shown."""
        if self._of_table is not self.table:
            self._features.clear()
            self._of_table = self.table
