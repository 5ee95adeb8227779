"""The dock widget *Features*: asks the image what the network sees. No science."""

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QApplication,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.channel_page import ChannelPage
from napari_bio_superposition.widgets.compare_page import ComparePage
from napari_bio_superposition.widgets.dock import Dock
from napari_bio_superposition.widgets.effect_page import EffectPage
from napari_bio_superposition.widgets.failures import explain
from napari_bio_superposition.widgets.feature_page_view import FeaturePageView
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.find_page import FindPage
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.jobs import JobRunner
from napari_bio_superposition.widgets.latest_job import LatestJob
from napari_bio_superposition.widgets.map_queue import MapQueue
from napari_bio_superposition.widgets.maximize_page import MaximizePage
from napari_bio_superposition.widgets.overlay_legend import OverlayLegend
from napari_bio_superposition.widgets.region_page import RegionPage
from napari_bio_superposition.widgets.run_bar import RunBar
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.widgets.selection_bar import SelectionBar

if TYPE_CHECKING:
    import napari

    from napari_bio_superposition.widgets.explorer_jobs import DrawnChannel

_SMALLEST_WIDTH_PX = 380
_USUAL_WIDTH_PX = 460
_PAGES: tuple[type[FeaturesPage], ...] = (
    RegionPage,
    FeaturePageView,
    ComparePage,
    FindPage,
    ChannelPage,
    MaximizePage,
    EffectPage,
)
_ALL_TABS_IN_SIGHT = "QTabBar::tab { padding: 4px 3px; margin: 0 1px; font-size: 11px; }"
_NO_IMAGE = "No analysed image: run the dock Analyse, or load a result there"


class FeaturesWidget(Dock):
    """Explores the features of analysed images.

    Parameters
    ----------
    napari_viewer
        The viewer whose study is explored; napari passes it by this name.
    """

    def __init__(self, napari_viewer: "napari.Viewer") -> None:
        super().__init__()
        self.explorer = Explorer(napari_viewer)
        self.runner = JobRunner(self)
        self.image_box = CalmComboBox()
        self.image_box.setToolTip("The image that is looked at")
        self.selection_bar = SelectionBar(self.explorer.study)
        self.tabs = QTabWidget()
        self.pages = [page(self.explorer) for page in _PAGES]
        self.legend = OverlayLegend(self.explorer.display)
        self.legend_section = Section("On the image", self.legend, expanded=True)
        self.run_bar = RunBar()
        self.drawing = MapQueue(self.explorer.display, self)
        self.channel_drawing = LatestJob(self)
        self.opener = JobRunner(self)
        self._wanted_row: int | None = None
        self._running_page: FeaturesPage | None = None
        self._lay_out()
        self._connect()
        self.refresh_images()
        self._on_page_changed()

    def show_page(self, kind: type[FeaturesPage]) -> None:
        """Bring the page of a kind into sight."""
        self.tabs.setCurrentIndex(_PAGES.index(kind))

    def page(self, kind: type[FeaturesPage]) -> Any:
        """Return the page of a kind."""
        return next(page for page in self.pages if isinstance(page, kind))

    def _lay_out(self) -> None:
        self.tabs.setUsesScrollButtons(True)
        self.tabs.setDocumentMode(True)
        self.tabs.setStyleSheet(_ALL_TABS_IN_SIGHT)
        for page in self.pages:
            self.tabs.setTabToolTip(self.tabs.addTab(_scrolling(page), page.title), page.tip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(4)
        layout.addWidget(self.image_box)
        layout.addWidget(self.selection_bar)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.legend_section)
        layout.addWidget(self.run_bar)
        self.setMinimumWidth(_SMALLEST_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        study = self.explorer.study
        study.images_changed.connect(self.refresh_images)
        study.shown_feature_changed.connect(self._on_feature_asked)
        self.drawing.failed.connect(self.run_bar.show_failure)
        self.image_box.activated.connect(self._on_image_chosen)
        self.tabs.currentChanged.connect(self._on_page_changed)
        self.legend.latent_clicked.connect(study.show_feature)
        self.channel_drawing.answered.connect(self._on_channel_drawn)
        self.channel_drawing.failed.connect(self.run_bar.show_failure)
        self.page(ComparePage).channel_asked.connect(self._explain_channel)
        study.open_requested.connect(self._on_open_requested)
        self.opener.progressed.connect(self.run_bar.report)
        self.opener.succeeded.connect(self._on_opened)
        self.opener.failed.connect(self.run_bar.show_failure)
        self.opener.ended.connect(self._on_opener_ended)
        for page in self.pages:
            page.latent_chosen.connect(study.show_feature)
            page.channel_chosen.connect(self._on_channel_asked)
            page.row_opened.connect(self.look_at)
            page.job_wanted.connect(partial(self._start, page))
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        self.runner.progressed.connect(self.run_bar.report)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.failed.connect(self.run_bar.show_failure)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.ended.connect(self._on_ended)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._shut_down)

    @property
    def current_page(self) -> FeaturesPage:
        """The page in sight."""
        return self.pages[self.tabs.currentIndex()]

    def run(self) -> None:
        """Start the work of the page in sight."""
        if self.runner.running or self.opener.running:
            return
        try:
            job = self.current_page.make_job()
        except BioSuperpositionError as error:
            self.run_bar.show_failure(explain(error))
            return
        self._start(self.current_page, job)

    def _start(self, page: FeaturesPage, job: Job[Any]) -> None:
        if self.runner.running or self.opener.running:
            job.close()
            return
        self._running_page = page
        self.run_bar.start()
        self.runner.start(job)

    def cancel(self) -> None:
        """Ask the running job to stop at its next step."""
        for runner in (self.runner, self.opener):
            if runner.running:
                self.run_bar.show_cancelling()
                runner.cancel()

    def refresh_images(self) -> None:
        """Offer the images that are open."""
        study = self.explorer.study
        is_blocked = self.image_box.blockSignals(True)
        self.image_box.clear()
        for image_id, image in study.images.items():
            self.image_box.addItem(image.name, image_id)
        current = study.current
        if current is None:
            self.image_box.addItem(_NO_IMAGE, "")
        else:
            self.image_box.setCurrentIndex(self.image_box.findData(current.analysis.image.id))
        self.image_box.setEnabled(current is not None)
        self.image_box.blockSignals(is_blocked)

    def _on_image_chosen(self, index: int) -> None:
        self.explorer.study.set_current(str(self.image_box.itemData(index)))

    def _on_page_changed(self, *_: int) -> None:
        page = self.current_page
        self.run_bar.run_button.setText(page.run_text)
        if not self.runner.running:
            self.run_bar.message.clear()
        page.activate()

    def _on_feature_asked(self, latent: int) -> None:
        """Draw what any view asks to look at; the next one takes its place unless it is kept."""
        if self.explorer.study.current is None:
            return
        try:
            self.drawing.show(latent, pinned=False)
        except BioSuperpositionError as error:
            self.run_bar.message.show_error(str(error))

    def _on_channel_asked(self, channel: int) -> None:
        self.channel_drawing.ask(lambda: self.explorer.draw_channel(channel))

    def _on_channel_drawn(self, drawn: "DrawnChannel") -> None:
        image = self.explorer.study.current
        if image is not None and image.analysis.image.id == drawn.image_id:
            self.explorer.display.show_channel(drawn.channel, drawn.values)

    def _explain_channel(self, channel: int) -> None:
        self.show_page(ChannelPage)
        self.page(ChannelPage).explain(channel)

    # --- images that are not open ---------------------------------------------------------------

    def look_at(self, row: int) -> None:
        """Bring a patch into the middle of the canvas; its image is opened where it is not."""
        if self.explorer.look_at(row):
            return
        image_id = self.explorer.image_of(row)
        self._wanted_row = row
        self.explorer.study.request_open(image_id)
        if not self.explorer.study.is_claimed:
            self.run_bar.message.show_plain(
                f"{image_id} is not open. Press Find images, and name the folder it lies in."
            )

    def _on_open_requested(self, image_id: str) -> None:
        study, is_busy = self.explorer.study, self.runner.running or self.opener.running
        if not study.places or is_busy or not study.claim_open():
            return
        self.run_bar.start()
        self.opener.start(self.explorer.open_image(image_id))

    def _on_opened(self, opened: Any) -> None:
        try:
            self.explorer.show_image(*opened)
        except Exception as error:  # whatever fails while it is shown is told like the rest
            self.run_bar.show_failure(explain(error, "Showing the image"))
            return
        self.run_bar.show_done(f"Opened {opened[0].image.id}, without nuclei and cell death.")
        if self._wanted_row is not None:
            self.explorer.look_at(self._wanted_row)

    def _on_opener_ended(self) -> None:
        self._wanted_row = None
        self.run_bar.finish()

    # --- jobs of pages --------------------------------------------------------------------------

    def _on_succeeded(self, outcome: Any) -> None:
        page = self._running_page
        if page is None:
            return
        try:
            page.show_outcome(outcome)
            self.run_bar.show_done("Done.")
        except Exception as error:  # whatever fails while it is shown is told like the rest
            self.run_bar.show_failure(explain(error, "Showing the result"))

    def _on_cancelled(self) -> None:
        self.run_bar.message.show_plain("Cancelled; nothing was changed.")

    def _on_ended(self) -> None:
        self._running_page = None
        self.run_bar.finish()

    @override
    def sizeHint(self) -> QSize:
        return QSize(_USUAL_WIDTH_PX, super().sizeHint().height())

    @override
    def _shut_down(self) -> None:
        self.runner.cancel()
        self.opener.cancel()
        self.channel_drawing.forget()
        self.drawing.shut_down()
        for page in self.pages:
            page.shut_down()


def _scrolling(page: QWidget) -> QScrollArea:
    """Return a page that scrolls where the screen is small: napari's docks do not."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(page)
    return scroll
