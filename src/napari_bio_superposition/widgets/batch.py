"""The dock widget *Batch*: a folder in, a list of fields with their standing, one table out."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
)
from typing_extensions import override

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Progress
from napari_bio_superposition.widgets.batch_jobs import (
    BatchRequest,
    list_folder,
    list_request,
    open_one,
    open_run_table,
    read_thumbnails,
    run_request,
)
from napari_bio_superposition.widgets.batch_setup_panel import BatchSetupPanel
from napari_bio_superposition.widgets.batch_table import FieldTable
from napari_bio_superposition.widgets.dock import Dock
from napari_bio_superposition.widgets.failures import explain
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.widgets.jobs import JobRunner
from napari_bio_superposition.widgets.result_layers import make_result_layers
from napari_bio_superposition.widgets.run_bar import RunBar
from napari_bio_superposition.widgets.study import Study
from napari_bio_superposition.widgets.train_jobs import Gate, pausable

if TYPE_CHECKING:
    import napari

    from napari_bio_superposition.workflows.batch_browse import FieldRows
    from napari_bio_superposition.workflows.batch_summary import BatchSummary
    from napari_bio_superposition.workflows.loading import LoadedModels

_PICTURES_AFTER_MS = 150
_REPORT = "report.html"
_PLAN = "plan.json"


class BatchWidget(Dock):
    """Analyses all fields of a folder or plate, and opens what was found.

    Parameters
    ----------
    napari_viewer
        The viewer in which fields are opened; napari passes it by this name.
    """

    field_ended = Signal(object)
    """A `FieldRow`; sent by the thread of the job, so that Qt queues it."""
    picture_read = Signal(str, object)

    def __init__(self, napari_viewer: "napari.Viewer") -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.study = Study.of(napari_viewer)
        self.runner, self._lister, self._refresher, self._opener, self._pictures = (
            JobRunner(self) for _ in range(5)
        )
        self.gate = Gate()
        self.setup = BatchSetupPanel()
        self.table = FieldTable()
        self.run_bar = RunBar("Run")
        self.pause_button = QPushButton("Pause")
        self.explore_button = QPushButton("Load the table")
        self.explore_button.setToolTip("Load all patches of the run, for Explore and Features")
        self.report_button = QPushButton("Report")
        self.report_button.setToolTip("Open the page of the run: plate maps, failures, controls")
        self.tabs = QTabWidget()
        self._run_folder: Path | None = None
        self._request: BatchRequest | None = None
        self._models: LoadedModels | None = None
        self._list_is_stale = False
        self._pictures_soon = QTimer(self)
        self._pictures_soon.setSingleShot(True)
        self._pictures_soon.setInterval(_PICTURES_AFTER_MS)
        self._lay_out()
        self._connect()
        self._show_running(is_running=False)

    def _lay_out(self) -> None:
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(self.setup)
        self.tabs.addTab(scroll, "Set up")
        self.tabs.addTab(self.table, "Fields")
        finished = QHBoxLayout()
        finished.addWidget(self.explore_button)
        finished.addWidget(self.report_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.tabs, 1)
        layout.addLayout(finished)
        layout.addWidget(self.run_bar)
        layout.addWidget(self.pause_button)
        self.setMinimumWidth(340)

    def _connect(self) -> None:
        self.setup.changed.connect(self.list_fields)
        self.setup.run_chosen.connect(self.open_run)
        self._lister.succeeded.connect(self._show_list)
        self._lister.failed.connect(self.run_bar.show_failure)
        self._lister.ended.connect(self._on_listed)
        self._refresher.succeeded.connect(self._show_rows)
        self.table.pictures_wanted.connect(self._pictures_soon.start)
        self.table.opened.connect(self.open_field)
        self._pictures_soon.timeout.connect(self._read_pictures)
        self._pictures.ended.connect(self._pictures_soon.start)
        self.picture_read.connect(self.table.fields.show_picture)
        self.field_ended.connect(self.table.fields.replace_row)
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.pause_button.clicked.connect(self.toggle_pause)
        self.explore_button.clicked.connect(self.load_table)
        self.report_button.clicked.connect(self._open_report)
        self.runner.progressed.connect(self._report)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.failed.connect(self.run_bar.show_failure)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.ended.connect(self._on_ended)
        self._opener.progressed.connect(self.run_bar.report)
        self._opener.succeeded.connect(self._on_opened)
        self._opener.failed.connect(self.run_bar.show_failure)
        self._opener.ended.connect(self.run_bar.finish)
        self.study.open_requested.connect(self._on_open_requested)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.runner.shut_down)

    # --- before the run --------------------------------------------------------------------------

    def list_fields(self) -> None:
        """Show the fields of what is chosen."""
        if not self.setup.is_complete:
            return
        if self._lister.running:
            self._list_is_stale = True
            return
        try:
            self._request = request = self.setup.read_request()
        except BioSuperpositionError as error:
            self.run_bar.show_failure(explain(error))
            return
        self._run_folder = request.out
        self._lister.start(list_request(request))

    def open_run(self, folder: Path) -> None:
        """Show a run that was made before."""
        self._run_folder, self._request = folder, None
        self._lister.start(list_folder(folder))

    def _show_rows(self, found: "FieldRows") -> None:
        self.table.fields.show_rows(found.rows)
        self.tabs.setTabText(1, f"Fields ({len(found.rows)})")

    def _show_list(self, found: "FieldRows") -> None:
        self._show_rows(found)
        self.tabs.setCurrentIndex(1)
        left_out = [f"{name} {reason}" for name, reason in list(found.not_images.items())[:5]]
        more = len(found.not_images) - len(left_out)
        text = f"{len(found.rows)} fields, {self.table.fields.count('done')} done."
        text += f" Left out: {'; '.join(left_out)}" if left_out else ""
        text += f" and {more} more." if more > 0 else "." if left_out else ""
        self.run_bar.message.show_plain(" ".join((text, *found.notes)))
        self._show_outputs()

    def _on_listed(self) -> None:
        if self._list_is_stale:
            self._list_is_stale = False
            self.list_fields()

    def _read_pictures(self) -> None:
        wanted = self.table.fields.without_picture(self.table.rows_in_sight())
        # Pictures have time: they must not take disk and processor from a run.
        if wanted and not self._pictures.running and not self.runner.running:
            self._pictures.start(read_thumbnails(wanted, self._request, self.picture_read.emit))

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Do all fields that are not done; failed ones are tried again."""
        if self.runner.running:
            return
        try:
            self._request = request = self.setup.read_request()
        except BioSuperpositionError as error:
            self.run_bar.show_failure(explain(error))
            return
        self._run_folder = request.out
        self.gate.open()
        self.run_bar.start()
        self._show_running(is_running=True)
        self.tabs.setCurrentIndex(1)
        self.runner.start(pausable(run_request(request, self.field_ended.emit), self.gate))

    def toggle_pause(self) -> None:
        """Hold the run up, or let it go on; fields in other processes are finished first."""
        if self.gate.is_open:
            self.gate.close()
        else:
            self.gate.open()
        self.pause_button.setText("Pause" if self.gate.is_open else "Go on")

    def cancel(self) -> None:
        """Stop; fields that are done are kept."""
        for runner in (self.runner, self._opener):
            if runner.running:
                self.run_bar.show_cancelling()
                runner.cancel()

    def _report(self, progress: Progress) -> None:
        """Show how far the run is; what there is to know of a field is in the list."""
        self.run_bar.report(dataclasses.replace(progress, notice=""))

    def _on_succeeded(self, summary: "BatchSummary") -> None:
        message = self.run_bar.message
        text = f"{len(summary.images)} fields done, {len(summary.failures)} failed."
        show = message.show_good
        if summary.failures:
            text += " The list says why; Run tries them again."
            show = message.show_plain if summary.images else message.show_error
        show(" ".join((text, *summary.warnings)))

    def _on_cancelled(self) -> None:
        self.run_bar.message.show_plain("Stopped. What is done is kept: Run goes on from here.")

    def _on_ended(self) -> None:
        self.run_bar.finish()
        self._show_running(is_running=False)
        if self._run_folder is not None and (self._run_folder / _PLAN).is_file():
            # Fields that were done before have not been heard of.
            self._refresher.start(list_folder(self._run_folder))

    def _show_running(self, *, is_running: bool) -> None:
        self.setup.setEnabled(not is_running)
        self.pause_button.setVisible(is_running)
        self.pause_button.setText("Pause")
        self._show_outputs()

    def _show_outputs(self) -> None:
        folder, is_idle = self._run_folder, not self.runner.running
        has_table = folder is not None and any(folder.glob("patches.*"))
        self.explore_button.setEnabled(has_table and is_idle)
        self.report_button.setEnabled(folder is not None and (folder / _REPORT).is_file())

    # --- after the run ---------------------------------------------------------------------------

    def load_table(self) -> None:
        """Load the table of the run for the other docks."""
        if self._run_folder is not None and not self._opener.running:
            self.run_bar.start()
            self.study.add_place(self._run_folder)
            self._opener.start(open_run_table(self._run_folder))

    def open_field(self, image_id: str) -> None:
        """Open the image and the result of one field of the run."""
        if self._run_folder is not None and not self._opener.running and not self.runner.running:
            self.run_bar.start()
            self._opener.start(open_one(self._run_folder, image_id, self._models))

    def _on_open_requested(self, image_id: str) -> None:
        is_known = any(row.id == image_id for row in self.table.fields.rows)
        if is_known and self.study.claim_open():
            self.open_field(image_id)

    def _on_opened(self, result: Any) -> None:
        if isinstance(result, tuple):
            self._show_field(*result)
        else:
            self.study.set_table(result)
            self.run_bar.show_done(f"{result.n_obs:,} patches are loaded. See Explore.")

    def _show_field(self, analysis: Any, models: "LoadedModels") -> None:
        self._models = models
        image = analysis.image
        layers = [
            self._viewer.add_image(data, **options) for data, options, _ in make_image_layers(image)
        ]
        geometry = Geometry.of_layer(layers[0]) if layers else Geometry.of_image(image)
        for layer in make_result_layers(analysis, geometry, image.id):
            self._viewer.layers.append(layer)
        self.study.add_analysis(analysis, models, geometry=geometry, name=image.id)
        self.run_bar.show_done(f"{image.id} is open.")

    def _open_report(self) -> None:
        if self._run_folder is not None:
            report = self._run_folder / _REPORT
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(report)))

    # --- closing ---------------------------------------------------------------------------------

    @override
    def _shut_down(self) -> None:
        self._pictures_soon.stop()
        self.setup.shut_down()
        for runner in (self.runner, self._lister, self._refresher, self._opener, self._pictures):
            runner.cancel()
