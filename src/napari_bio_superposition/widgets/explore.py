"""The dock widget *Explore*: brings plots, groups, settings and job runner together. No science."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
)
from typing_extensions import override

from napari_bio_superposition.core.errors import BioSuperpositionError, TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.widgets.explore_compute import ComputePanel
from napari_bio_superposition.widgets.explore_controller import EmbeddedTable, ExploreController
from napari_bio_superposition.widgets.explore_dynamics import DynamicsPanel
from napari_bio_superposition.widgets.explore_embedding import FEATURE, EmbeddingPanel
from napari_bio_superposition.widgets.explore_groups import GroupsPanel
from napari_bio_superposition.widgets.explore_images import OpenedImage, open_image
from napari_bio_superposition.widgets.explore_paga import GraphPanel
from napari_bio_superposition.widgets.explore_trajectory import TrajectoryPanel
from napari_bio_superposition.widgets.failures import explain
from napari_bio_superposition.widgets.feature_display import FeatureDisplay
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.widgets.job_dock import JobDock
from napari_bio_superposition.widgets.map_queue import MapQueue
from napari_bio_superposition.widgets.mark_preparation import MarkPreparation
from napari_bio_superposition.widgets.result_layers import make_result_layers
from napari_bio_superposition.widgets.run_bar import RunBar
from napari_bio_superposition.widgets.study import Study

if TYPE_CHECKING:
    import napari

    from napari_bio_superposition.widgets.failures import Failure

_SMALLEST_WIDTH_PX = 392
_TABLES = "Tables (*.h5ad *.zarr .zattrs .zgroup zarr.json);;All files (*)"
_SAVED_TABLES = "AnnData (*.h5ad *.zarr)"
_FIGURES = "PDF (*.pdf);;SVG (*.svg);;PNG (*.png)"
_NARROW_TABS = "QTabBar::tab { padding: 3px 3px; }"
"""Six titles side by side in a dock; napari's own tabs would scroll."""
_ZARR_FILES = (".zattrs", ".zgroup", "zarr.json")


class ExploreWidget(JobDock):
    """Plots the patches of all images of the study, linked both ways with the image.

    Parameters
    ----------
    napari_viewer
        The viewer; napari passes it by this name.
    """

    def __init__(self, napari_viewer: "napari.Viewer") -> None:
        super().__init__(RunBar("Compute layouts and trajectory"))
        self._viewer = napari_viewer
        self.study = Study.of(napari_viewer)
        self.controller = ExploreController(self.study)
        self.embedding = EmbeddingPanel(self.controller)
        self.groups = GroupsPanel(self.controller)
        self.trajectory = TrajectoryPanel(self.controller)
        self.graph = GraphPanel(self.controller)
        self.dynamics = DynamicsPanel(self.controller)
        self.compute = ComputePanel()
        self.tabs = QTabWidget()
        self._stale: list[Any] = []
        self._image_folder: Path | None = None
        self._table_folder: Path | None = None
        self._wanted_row = -1
        self._refresh_soon = QTimer(self)
        self._refresh_soon.setSingleShot(True)
        self._refresh_soon.timeout.connect(self.refresh)
        self._drawing = MapQueue(FeatureDisplay.of(napari_viewer), self)
        self._preparation = MarkPreparation(napari_viewer, self)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        for panel, title in (
            (self.embedding, "Embedding"),
            (self.groups, "Groups"),
            (self.trajectory, "Trajectory"),
            (self.graph, "PAGA"),
            (self.dynamics, "Dynamics"),
            (self.compute, "Compute"),
        ):
            self.tabs.addTab(panel, title)
        self.tabs.setStyleSheet(_NARROW_TABS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.run_bar)
        self.setMinimumWidth(_SMALLEST_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        self.study.table_changed.connect(self._on_table_changed)
        self.study.groups_changed.connect(self._on_table_changed)
        self.study.shown_feature_changed.connect(self._on_feature_shown)
        self.embedding.open_clicked.connect(self._ask_table)
        self.embedding.save_clicked.connect(self._ask_save)
        self.embedding.feature_asked.connect(self.colour_by_feature)
        for panel, save in (
            (self.embedding, self.save_scatter),
            (self.trajectory, self.save_trajectory),
            (self.graph, self.save_graph),
            (self.dynamics, self.save_dynamics),
        ):
            panel.export_clicked.connect(lambda save=save: self._ask_figure(save))
        self.tabs.currentChanged.connect(self._refresh_tab)
        self.groups.compare_asked.connect(self.compare)
        self.groups.feature_chosen.connect(self._look_at)
        self.groups.show_asked.connect(self.show_in_image)
        self.dynamics.feature_chosen.connect(self._look_at)
        self.dynamics.trend_asked.connect(self.follow)
        self.compute.root_button.clicked.connect(self._take_root)

    # --- jobs --------------------------------------------------------------------------------

    @override
    def run(self) -> None:
        """Compute layouts and trajectory of the table with the chosen settings."""
        self._start(lambda: self.controller.embed(self.compute.read_config()), self._show_result)

    def open_table(self, path: Path) -> None:
        """Show a table of any origin."""
        self._start(
            lambda: self.controller.open(path), lambda table: self._show_table(table, path.parent)
        )

    def save_table(self, path: Path) -> None:
        """Write the table with its groups and layouts."""
        self._start(
            lambda: self.controller.save(path),
            lambda saved: self.run_bar.show_done(f"Saved as {saved}."),
        )

    def compare(self, first: Any, second: Any) -> None:
        """Compare the features of two groups; of one with the rest where *second* is ``None``."""
        self._start(lambda: self.controller.compare(first, second), self._show_comparison)

    def follow(self, feature: str, group: str) -> None:
        """Fit one feature along the pseudotime of a group, and show it there."""
        self._start(lambda: self.controller.follow_feature(feature, group), self._show_trend)

    def colour_by_feature(self, feature: str) -> None:
        """Colour the embedding by a feature, at once where it is in memory."""
        try:
            if self.controller.is_at_hand(feature):
                self.embedding.show_colouring(run(self.controller.read_feature(feature)))
                self.run_bar.message.clear()
                return
        except BioSuperpositionError as error:
            self.run_bar.message.show_error(str(error))
            return
        self._start(lambda: self.controller.read_feature(feature), self._show_colouring)

    @override
    def _on_failed(self, failure: "Failure") -> None:
        self._image_folder = None  # where an image was not found, the next try may ask again
        super()._on_failed(failure)

    def _show_result(self, embedded: EmbeddedTable) -> None:
        self.controller.take_result(embedded)
        self.refresh()
        self.embedding.layout_box.setCurrentIndex(0)  # what was computed, not the places
        self.tabs.setCurrentWidget(self.embedding)
        self.run_bar.show_done(" ".join(["Done.", *embedded.result.notices]))

    def _show_table(self, table: Any, folder: Path) -> None:
        self._table_folder = folder
        self.study.add_place(folder)
        self.study.set_table(table)
        self.refresh()
        self.tabs.setCurrentWidget(self.embedding)
        self.run_bar.show_done(f"Opened {table.n_obs:,} rows, {table.n_vars:,} features.")

    def _show_comparison(self, found: tuple[Any, str]) -> None:
        table, note = found
        self.groups.show_comparison(table)
        self.run_bar.show_done(f"Compared {len(table):,} features{note}.")

    def _show_trend(self, trend: Any) -> None:
        self.trajectory.show_trend(trend)
        self.tabs.setCurrentWidget(self.trajectory)
        self.run_bar.show_done(f"Followed {trend.feature}.")

    def _show_colouring(self, colouring: Any) -> None:
        self.embedding.show_colouring(colouring)
        self.run_bar.show_done(f"Coloured by {colouring.title}.")

    # --- links -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the study as it is; a tab behind another one follows when it is opened."""
        self._refresh_soon.stop()
        self.embedding.refresh()
        self.groups.refresh()
        self._stale = [self.trajectory, self.graph, self.dynamics]
        self._refresh_tab()

    def _refresh_tab(self) -> None:
        shown: Any = self.tabs.currentWidget()
        if shown in self._stale:
            self._stale.remove(shown)
            shown.refresh()

    def show_in_image(self, row: int) -> None:
        """Bring a patch into the middle of the canvas; its image is opened where it is not."""
        image_id = self.controller.image_of(row)
        if image_id is None:
            self.run_bar.message.show_error("This table does not say from which image a row is.")
        elif self.study.request_open(image_id):
            self._centre_on(row, image_id)
        elif self.study.is_claimed:
            self.run_bar.message.show_plain(f"{image_id} is being opened.")
        else:
            self._open_image(row, image_id)

    def _centre_on(self, row: int, image_id: str) -> None:
        self.study.set_current(image_id)
        place = self.controller.locate(row)
        if place is not None:
            self._viewer.scene.camera.center = (0.0, *place)
        self.run_bar.message.clear()

    def _open_image(self, row: int, image_id: str) -> None:
        """Open the image of a row from a folder that the user names once."""
        if self._image_folder is None:
            title = f"Folder with the image {image_id}"
            chosen = QFileDialog.getExistingDirectory(self, title)
            if not chosen:
                self.run_bar.message.show_plain(f"{image_id} is not open.")
                return
            self._image_folder = Path(chosen)
            self.study.add_place(self._image_folder)
        self._wanted_row = row
        folder, results, models = self._image_folder, self._table_folder, self.study.models
        self._start(lambda: open_image(image_id, folder, results, models), self._show_image)

    def _show_image(self, opened: OpenedImage) -> None:
        image = opened.image
        for data, options, _ in make_image_layers(image):
            self._viewer.add_image(data, **options)
        if opened.analysis is None or opened.models is None:
            self.run_bar.show_done(f"Opened {image.id}; analyse it to see its patches marked.")
            return
        geometry = Geometry.of_image(image)
        for layer in make_result_layers(opened.analysis, geometry, image.id):
            self._viewer.add_layer(layer)
        self.study.add_analysis(opened.analysis, opened.models, geometry=geometry, name=image.id)
        self._centre_on(self._wanted_row, image.id)
        self.run_bar.show_done(f"Opened {image.id}.")

    def _look_at(self, feature: str) -> None:
        """Colour the plot by a feature and show it in the image, where it can be."""
        self.embedding.choose_feature(feature)
        latent = self.controller.latent(feature)
        if latent is None:
            return
        self.study.show_feature(latent)
        if (image := self.study.current) is not None and image.analysis.tokens is not None:
            self._drawing.show(latent, pinned=False)

    def _on_feature_shown(self, latent: int) -> None:
        """Follow another dock that looks at a feature, while a feature is what is coloured by."""
        features = self.controller.features
        names = [name for name in features if self.controller.latent(name) == latent]
        if names and self.embedding.colour_name == FEATURE:
            self.embedding.choose_feature(names[0])

    def _take_root(self) -> None:
        rows = self.study.selection.rows
        if len(rows) != 1 or self.study.table is None:
            self.run_bar.message.show_error("Select one patch, in a plot or in the image.")
            return
        self.compute.set_root(str(self.study.table.obs_names[rows[0]]))

    def _on_table_changed(self) -> None:
        self._refresh_soon.start(0)  # the study tells of table and groups one after the other

    # --- files -------------------------------------------------------------------------------

    def save_scatter(self, path: Path) -> None:
        """Save the embedding as it is coloured."""
        from napari_bio_superposition.widgets.explore_export import save_scatter

        layout, table = self.embedding.layout_shown, self.study.table
        if layout is None or table is None:
            raise TableError("There is no layout to save yet.")
        colouring = self.embedding.view.scene.colouring
        mask = self.study.selection.mask
        save_scatter(path, layout.points_of(table), colouring, layout.axis_names, mask)

    def save_trajectory(self, path: Path) -> None:
        """Save the outcome along pseudotime with curve and stages."""
        from napari_bio_superposition.widgets.explore_export import save_trajectory

        if not len(self.trajectory.view.scene):
            raise TableError("There is no pseudotime to save yet.")
        save_trajectory(path, self.trajectory, self.study.selection.mask)

    def save_graph(self, path: Path) -> None:
        """Save the graph of clusters."""
        from napari_bio_superposition.widgets.explore_export import save_graph

        graph = self.graph.view.graph
        if graph is None:
            raise TableError("There is no graph of clusters to save yet.")
        save_graph(path, graph, self.graph.view.colours)

    def save_dynamics(self, path: Path) -> None:
        """Save the heat map of features along pseudotime."""
        from napari_bio_superposition.widgets.explore_export import save_dynamics

        if self.dynamics.dynamics is None:
            raise TableError("There is no heat map to save yet.")
        save_dynamics(path, self.dynamics.dynamics)

    def _ask_table(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a table", "", _TABLES)
        if name:
            path = Path(name)
            self.open_table(path.parent if path.name in _ZARR_FILES else path)

    def _ask_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the table", "patches.h5ad", _SAVED_TABLES)
        if name:
            self.save_table(Path(name))

    def _ask_figure(self, save: Callable[[Path], None]) -> None:
        name, chosen = QFileDialog.getSaveFileName(self, "Save this plot", "plot.pdf", _FIGURES)
        if not name:
            return
        path = Path(name)
        if not path.suffix:
            path = path.with_suffix("." + chosen[:3].lower())
        try:
            save(path)
        except Exception as error:  # matplotlib raises whatever it meets
            self.run_bar.show_failure(explain(error, "Saving the plot"))
            return
        self.run_bar.message.show_good(f"Saved as {path}.")

    @override
    def _shut_down(self) -> None:
        self._refresh_soon.stop()
        self._preparation.stop()
        self.runner.cancel()
        for panel in (self.embedding, self.groups, self.trajectory):
            panel.shut_down()
        for signal, slot in (
            (self.study.table_changed, self._on_table_changed),
            (self.study.groups_changed, self._on_table_changed),
            (self.study.shown_feature_changed, self._on_feature_shown),
        ):
            signal.disconnect(slot, missing_ok=True)
