"""The dock widget *GW-map*: RNA, coupling, genes, landscape, and painting. No science."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
)
from typing_extensions import override

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.failures import explain
from napari_bio_superposition.widgets.gwmap_couple import CouplePanel
from napari_bio_superposition.widgets.gwmap_genes import GenesPanel
from napari_bio_superposition.widgets.gwmap_jobs import (
    couple_patches,
    open_cells,
    open_coupling,
    open_genes,
    paint,
    prepare_cells,
    rank_genes,
)
from napari_bio_superposition.widgets.gwmap_landscape import LandscapePanel, save_landscape
from napari_bio_superposition.widgets.gwmap_paint_bar import PaintBar
from napari_bio_superposition.widgets.gwmap_painting import PaintedLayers
from napari_bio_superposition.widgets.gwmap_rna import RnaPanel
from napari_bio_superposition.widgets.gwmap_state import GwMap
from napari_bio_superposition.widgets.image_link import ImageLink
from napari_bio_superposition.widgets.job_dock import JobDock
from napari_bio_superposition.widgets.run_bar import RunBar
from napari_bio_superposition.widgets.study import Study

if TYPE_CHECKING:
    import napari

_SMALLEST_WIDTH_PX = 392
_TABLES = "RNA cells (*.h5ad);;All files (*)"
_FIGURES = "PNG (*.png);;SVG (*.svg);;PDF (*.pdf);;CSV (*.csv)"
_RUN_TEXT = ("Prepare RNA", "Couple", "Rank genes", "Rank genes")
_NARROW_TABS = "QTabBar::tab { padding: 3px 8px; }"


class GwMapWidget(JobDock):
    """Couples the patches of the study with RNA cells, and paints genes onto images.

    Parameters
    ----------
    napari_viewer
        The viewer; napari passes it by this name.
    """

    _cancelled_text = "Cancelled; what was there is as it was."

    def __init__(self, napari_viewer: "napari.Viewer") -> None:
        super().__init__(RunBar(_RUN_TEXT[0]))
        self._viewer = napari_viewer
        self.study = Study.of(napari_viewer)
        self.state = GwMap(self.study)
        self.rna, self.couple = RnaPanel(self.state), CouplePanel(self.state)
        self.genes, self.landscape = GenesPanel(self.state), LandscapePanel(self.state)
        self.painting = PaintedLayers(napari_viewer, self.study)
        self.paint_bar = PaintBar()
        self.tabs = QTabWidget()
        ImageLink.of(napari_viewer)
        self._lay_out()
        self._connect()
        self._on_tab(0)

    def _lay_out(self) -> None:
        for panel, title in (
            (self.rna, "RNA"),
            (self.couple, "Couple"),
            (self.genes, "Genes"),
            (self.landscape, "Landscape"),
        ):
            scroll = QScrollArea()
            scroll.setWidgetResizable(True)
            scroll.setFrameShape(QFrame.Shape.NoFrame)
            scroll.setWidget(panel)
            self.tabs.addTab(scroll, title)
        self.tabs.setStyleSheet(_NARROW_TABS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.paint_bar)
        layout.addWidget(self.run_bar)
        self.setMinimumWidth(_SMALLEST_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        self.tabs.currentChanged.connect(self._on_tab)
        self.rna.open_clicked.connect(self._ask_cells)
        self.rna.keep_clicked.connect(lambda: self.prepare(self.rna.clusters.chosen))
        self.rna.keep_all_clicked.connect(lambda: self.prepare(()))
        self.couple.open_clicked.connect(lambda: self._ask_folder(self.open_coupling))
        self.genes.open_clicked.connect(lambda: self._ask_folder(self.open_genes))
        self.genes.gene_clicked.connect(lambda gene: self.paint([gene]))
        self.landscape.gene_clicked.connect(lambda gene: self.paint([gene]))
        self.landscape.module_chosen.connect(self.paint_bar.set_genes)
        self.landscape.export_clicked.connect(self._ask_export)
        self.paint_bar.paint_clicked.connect(lambda: self.paint(self.paint_bar.genes))
        self.paint_bar.clear_clicked.connect(self._clear_painting)

    # --- steps -------------------------------------------------------------------------------

    @override
    def run(self) -> None:
        """Run the step whose tab is open."""
        (self.prepare, self.couple_study, self.rank, self.rank)[self.tabs.currentIndex()]()

    def prepare(self, clusters: tuple[str, ...] = ()) -> None:
        """Prepare the chosen counts, of some clusters alone where any are named."""
        self._start(
            lambda: prepare_cells(
                self.rna.read_request(), self.rna.read_config(clusters), self.rna.read_folder()
            ),
            self._show_cells,
        )

    def open_cells(self, path: Path) -> None:
        """Open cells that were prepared before."""
        if not self.rna.folder_edit.text().strip():
            beside = path.parent if path.is_file() else path
            self.rna.folder_edit.setText(str(beside.parent / "gw-map"))
        self._start(lambda: open_cells(path), self._show_cells)

    def couple_study(self) -> None:
        """Couple the patches of the study with the RNA cells."""

        def make_job() -> Job[Any]:
            table, rna = self.couple.read_inputs()
            config, folder = self.couple.read_config(), self.rna.read_folder()
            return couple_patches(table, rna.path, config, folder)

        self._start(make_job, self._show_coupling(lambda: self.rna.read_folder() / "coupling"))

    def open_coupling(self, folder: Path) -> None:
        """Open a coupling that was made before."""
        nested = folder / "coupling"
        place = nested if nested.is_dir() else folder
        if not self.rna.folder_edit.text().strip():
            self.rna.folder_edit.setText(str(place.parent))
        rna = "" if self.state.rna is None else str(self.state.rna.path)
        self._start(lambda: open_coupling(folder, rna), self._show_coupling(lambda: place))

    def rank(self) -> None:
        """Rank genes by how well images predict them."""

        def make_job() -> Job[Any]:
            folder = self.state.coupling_folder
            if self.state.coupling is None or folder is None:
                raise TableError("There is no coupling. Make or open one in the tab Couple.")
            return rank_genes(folder, self._genes_config(), self.rna.read_folder())

        self._start(make_job, self._show_genes)

    def open_genes(self, folder: Path) -> None:
        """Open genes that were ranked before; their coupling has to be open."""

        def make_job() -> Job[Any]:
            if self.state.coupling is None:
                raise TableError("Open the coupling of these genes first, in the tab Couple.")
            return open_genes(folder)

        self._start(make_job, self._show_genes)

    def paint(self, names: list[str]) -> None:
        """Paint a gene, or the score of several, on the open images."""

        def make_job() -> Job[Any]:
            coupling, genes = self.state.coupling, self.state.genes
            if coupling is None:
                raise TableError("There is no coupling. Make or open one in the tab Couple.")
            if not names:
                raise TableError("Name a gene, click one in the table, or draw around some.")
            config = self._genes_config() if genes is None else genes.config
            return paint(coupling, names, config, () if genes is None else genes.alternatives)

        self.paint_bar.set_genes(names)
        self._start(make_job, self._show_painted)

    def _genes_config(self) -> Any:
        """Return the settings of genes; the RNA table is where this dock knows it to be."""
        import dataclasses

        config = self.genes.read_config()
        rna = self.state.rna
        if config.rna or rna is None:
            return config
        return dataclasses.replace(config, rna=str(rna.path))

    # --- results -----------------------------------------------------------------------------

    def _show_cells(self, rna: Any) -> None:
        self.state.set_rna(rna)
        self.run_bar.show_done(rna.lines[0])

    def _show_coupling(self, place: Callable[[], Path]) -> Callable[[Any], None]:
        def show(coupling: Any) -> None:
            self.state.set_coupling(coupling, place())
            text = f"Verdict: {coupling.verdict}."
            if self.study.table is not None and not self.state.is_linked:
                text += " Its patches are none of those that are open."
            self.run_bar.show_done(text)

        return show

    def _show_genes(self, genes: Any) -> None:
        self.state.set_genes(genes)
        self.run_bar.show_done(f"{genes.genes['gene'].nunique():,} genes ranked.")

    def _show_painted(self, painted: Any) -> None:
        images = self.painting.show(painted, self.paint_bar.slot, self.paint_bar.uncertainty)
        self.paint_bar.show_scale(self.painting.shown.get(self.paint_bar.slot))
        for panel in (self.genes, self.landscape):
            panel.choose(painted.name)
        done = f"{painted.name} painted on {', '.join(images)}."
        if painted.banner:  # said above the table and in the canvas; nothing to be glad about
            self.run_bar.message.show_plain(done)
        else:
            self.run_bar.show_done(done)

    def _clear_painting(self) -> None:
        self.painting.clear()
        self.paint_bar.show_scale(None)
        self.run_bar.message.clear()

    def _on_tab(self, index: int) -> None:
        self.paint_bar.setVisible(index >= 2)
        self.run_bar.run_button.setText(_RUN_TEXT[index])

    # --- files -------------------------------------------------------------------------------

    def _ask_cells(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Prepared RNA cells", "", _TABLES)
        if name:
            self.open_cells(Path(name))

    def _ask_folder(self, open_it: Callable[[Path], None]) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder with results")
        if name:
            open_it(Path(name))

    def _ask_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the landscape", "landscape", _FIGURES)
        if not name:
            return
        path = Path(name)
        try:
            save_landscape(path, self.landscape)
        except Exception as error:  # matplotlib raises whatever it meets
            self.run_bar.show_failure(explain(error, "Saving the landscape"))
            return
        self.run_bar.message.show_good(f"Saved as {path}.")

    # --- end ---------------------------------------------------------------------------------

    @override
    def _shut_down(self) -> None:
        self.runner.cancel()
        self.state.close()
        for panel in (self.rna, self.couple, self.genes, self.landscape):
            panel.shut_down()
        self.painting.close()
