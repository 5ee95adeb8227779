"""What the GW-map dock knows: RNA cells, coupling, genes, and which cells belong to patches.

No Qt, no computing beyond sums over the sparse plan. Panels know this and never one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_bio_superposition.core.types import BoolArray, IntArray
from napari_bio_superposition.widgets.gwmap_jobs import RankedGenes, RnaCells, as_cells
from napari_bio_superposition.widgets.selection import Selection, SelectionMode
from napari_bio_superposition.widgets.study import Study

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.genes_data import CoupledStudy

HALF: Final = 0.5
"""Share of the coupled mass that the partners of a selection hold."""


def find_partners(plan: Any, rows: IntArray, share: float = HALF) -> tuple[IntArray, float]:
    """Return the fewest columns that hold a share of the mass of some rows.

    Parameters
    ----------
    plan
        ``(n, m)``, scipy sparse.
    rows
        Rows whose mass counts.
    share
        Of their mass within the plan, 0 to 1.

    Returns
    -------
    columns
        Ascending; none where the rows have no mass.
    mass
        The share that they hold, at least *share*.
    """
    mass = np.asarray(plan[rows].sum(axis=0), np.float64).ravel()
    total = float(mass.sum())
    if not total > 0:
        return np.zeros(0, np.int64), 0.0
    order = np.argsort(-mass, kind="stable")
    held = np.cumsum(mass[order]) / total
    number = int(np.searchsorted(held, share - 1e-12)) + 1
    return np.sort(order[:number]), float(held[number - 1])


@dataclass(frozen=True)
class LinkReport:
    """How selected patches and selected cells belong together, for a sentence.

    Parameters
    ----------
    n_patches, n_cells
        Selected on both sides.
    mass
        Share of the mass of the chosen side that its partners hold.
    from_cells
        Whether the user chose cells, and the patches followed.
    """

    n_patches: int
    n_cells: int
    mass: float
    from_cells: bool

    def describe(self, n_all: int) -> str:
        """Return the sentence; *n_all* is the number of partners there are."""
        if self.from_cells:
            return (
                f"{self.n_cells:,} cells chosen; {self.n_patches:,} of {n_all:,} patches hold "
                f"{self.mass:.0%} of their mass."
            )
        return (
            f"{self.n_patches:,} patches chosen; {self.n_cells:,} of {n_all:,} cells hold "
            f"{self.mass:.0%} of their mass."
        )


class GwMap:
    """RNA, coupling and genes of one study, with the selection on both sides.

    Parameters
    ----------
    study
        Of the viewer.
    """

    rna_changed = Signal()
    coupling_changed = Signal()
    genes_changed = Signal()
    cells_changed = Signal()
    """Other RNA cells are selected."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.folder: Path | None = None
        self.rna: RnaCells | None = None
        self.coupling: CoupledStudy | None = None
        self.coupling_folder: Path | None = None
        self.genes: RankedGenes | None = None
        self.cells = Selection()
        self.report: LinkReport | None = None
        self._places: IntArray = np.zeros(0, np.int64)
        self._columns: Any = None
        self._is_ours = False
        study.selection_changed.connect(self._on_patches_selected)
        study.table_changed.connect(self._on_table_changed)

    def close(self) -> None:
        """Stop listening to the study."""
        self.study.selection_changed.disconnect(self._on_patches_selected, missing_ok=True)
        self.study.table_changed.disconnect(self._on_table_changed, missing_ok=True)

    # --- what there is -----------------------------------------------------------------------

    def set_rna(self, rna: RnaCells) -> None:
        """Show other RNA cells; the coupling is left behind, since it is of the file before."""
        self.rna, self.report = rna, None
        self.cells = Selection(rna.table.n_obs)
        if self.coupling is not None:
            self.coupling = self.coupling_folder = self._columns = None
            self.genes = None
            self.coupling_changed.emit()
            self.genes_changed.emit()
        self.rna_changed.emit()

    def set_coupling(self, coupling: "CoupledStudy", folder: Path) -> None:
        """Take a coupling, and its RNA cells where others are shown."""
        if self.rna is None or not self._fits(coupling, self.rna):
            path = Path(coupling.figures.get("files", {}).get("rna", folder / "rna.h5ad"))
            self.coupling = None
            self.set_rna(as_cells(coupling.rna, path))
        self.coupling, self.coupling_folder = coupling, folder
        self._columns = coupling.plan.T.tocsr()
        self.genes = None
        self._match_rows()
        self.coupling_changed.emit()
        self.genes_changed.emit()
        self._on_patches_selected("history")

    def set_genes(self, genes: RankedGenes) -> None:
        """Take ranked genes of the coupling."""
        self.genes = genes
        self.genes_changed.emit()

    @property
    def is_linked(self) -> bool:
        """Whether patches of the study are coupled with the cells that are shown."""
        return self.coupling is not None and bool((self._places >= 0).any())

    @staticmethod
    def _fits(coupling: "CoupledStudy", rna: RnaCells) -> bool:
        names = coupling.rna.obs_names
        return len(names) == rna.table.n_obs and bool((names == rna.table.obs_names).all())

    def _match_rows(self) -> None:
        """Find each patch of the study in the coupling; -1 where it took no part."""
        table = self.study.table
        self._places = np.zeros(0, np.int64)
        if table is not None and self.coupling is not None:
            found = self.coupling.image.obs_names.get_indexer(table.obs_names)
            self._places = np.asarray(found, np.int64)

    def _on_table_changed(self) -> None:
        self._match_rows()
        self._on_patches_selected("history")

    # --- the selection on both sides ---------------------------------------------------------

    def select_cells(self, rows: npt.ArrayLike, mode: SelectionMode = "replace") -> None:
        """Select RNA cells; the patches that hold half of their mass are selected with them."""
        self.cells.select(rows, mode, source="plot")
        self.report = None
        if self.is_linked:
            partners, mass = find_partners(self._columns, self.cells.rows)
            chosen = np.flatnonzero(np.isin(self._places, partners))
            self._is_ours = True
            try:
                self.study.selection.select(chosen, source="plot")
            finally:
                self._is_ours = False
            if len(self.cells):
                self.report = LinkReport(len(chosen), len(self.cells), mass, from_cells=True)
        self.cells_changed.emit()

    def _on_patches_selected(self, _: str) -> None:
        if self._is_ours or not self.is_linked:
            return
        if self.study.selection.n_rows != len(self._places) or self.coupling is None:
            return  # the study is about to show another table
        rows = self._places[self.study.selection.mask]
        cells, mass = find_partners(self.coupling.plan, rows[rows >= 0])
        self.cells.select(cells, source="image")
        n_patches = len(self.study.selection)
        self.report = LinkReport(n_patches, len(cells), mass, from_cells=False)
        if not n_patches:
            self.report = None
        self.cells_changed.emit()

    @property
    def cell_mask(self) -> BoolArray:
        """Whether each RNA cell is selected; read only."""
        return self.cells.mask

    def class_columns(self) -> Sequence[str]:
        """Return the columns of classes that patches and cells have in common."""
        from napari_bio_superposition.widgets.explore_table import category_columns

        if self.study.table is None or self.rna is None:
            return []
        other = set(category_columns(self.rna.table))
        return [name for name in category_columns(self.study.table) if name in other]
