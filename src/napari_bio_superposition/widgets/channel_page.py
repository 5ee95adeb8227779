"""The page Channel: which features write one CNN channel at a place. No science."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.charts import LineChart
from napari_bio_superposition.widgets.explorer_jobs import AttributedChannel
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn
from napari_bio_superposition.widgets.latest_job import LatestJob

if TYPE_CHECKING:
    from napari_bio_superposition.widgets.region_sources import RegionSource

_HINT = "Select patches or paint a region, and press Explain for the channels strong there."
_CHANNELS_HEIGHT_PX: Final = 120


class ChannelPage(FeaturesPage):
    """Splits one CNN channel at a place into the features that write it."""

    title = "Channel"
    tip = "Which features is a channel of the network made of?"
    run_text = "Explain"

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.source_box = CalmComboBox()
        self.source_box.setToolTip("The place: selected patches, a region, nuclei")
        self.channels = LatentTable()
        self.channels.setFixedHeight(_CHANNELS_HEIGHT_PX)
        self.channels.search.hide()
        self.channels.model.row_title = "Channel"
        self.chart = LineChart("features, strongest first")
        self.features = LatentTable(explorer.display)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.query = LatestJob(self)
        self._sources: list[RegionSource] = []
        self._lay_out()
        self.channels.latent_clicked.connect(self.explain)
        self.features.latent_clicked.connect(self.latent_chosen)
        self.features.failed.connect(self.message.show_error)
        self.query.answered.connect(self.show_outcome)
        self.query.failed.connect(self.show_failure)
        study = explorer.study
        study.groups_changed.connect(self.refresh_sources)
        study.images_changed.connect(self.refresh_sources)
        self.refresh_sources()
        self.message.show_plain(_HINT)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.addWidget(QLabel("Place"))
        head.addWidget(self.source_box, 1)
        self.page_layout.addLayout(head)
        self.page_layout.addWidget(self.channels)
        self.page_layout.addWidget(self.chart)
        self.page_layout.addWidget(self.note)
        self.page_layout.addWidget(self.features, 1)
        self.page_layout.addWidget(self.message)

    def activate(self) -> None:
        """Offer the places there are now."""
        self.refresh_sources()

    def refresh_sources(self) -> None:
        """Offer what can be a place, and keep the choice."""
        chosen = self.source_box.currentData()
        self._sources = self.explorer.region_sources()
        self.source_box.clear()
        for source in self._sources:
            self.source_box.addItem(source.title, source.key)
        keys = [source.key for source in self._sources]
        fallback = "selection" if "selection" in keys else None
        self.source_box.setCurrentIndex(self.source_box.findData(chosen or fallback))

    def explain(self, channel: int) -> None:
        """Split a channel at the chosen place."""
        self.query.ask(lambda: self._job(channel))

    def make_job(self) -> Job[Any]:
        """Return the job that ranks the channels at the place, and splits the strongest."""
        return self._job(None)

    def _job(self, channel: int | None) -> Job[Any]:
        index = self.source_box.currentIndex()
        if index < 0:
            raise BioSuperpositionError(_HINT)
        masks = self.explorer.read_regions(self._sources[index])
        place = np.logical_or.reduce(list(masks.values()))
        return self.explorer.attribute(place, channel)

    def show_outcome(self, outcome: AttributedChannel) -> None:
        """Show channels, curve and features."""
        found = outcome.attribution
        self.message.clear()
        names = [f"channel_{number:05d}" for number in outcome.channels]
        strength = LatentColumn(
            "Strength", outcome.strength, "Root mean square of the centred channel at the place"
        )
        self.channels.show_rows(outcome.channels, [strength], names)
        self.channels.choose(found.channel)
        mean = found.contributions.mean(axis=1)
        columns = [
            LatentColumn("Adds", mean, "Mean contribution to the channel at the place"),
            LatentColumn("Explains", found.explained, "Share explained with all above it", ".0%"),
            LatentColumn("Shuffled", found.shuffled, "The same with places dealt out anew", ".0%"),
        ]
        self.features.show_rows(found.latents, columns)
        self.chart.set_curves({"explained": found.explained, "shuffled places": found.shuffled})
        best = float(found.explained[-1]) if len(found.explained) else 0.0
        self.note.setText(
            f"Channel {found.channel}: {len(found.latents)} features add up to {best:.0%} of it; "
            f"{found.participation:.1f} would, if they shared it evenly."
        )

    def shut_down(self) -> None:
        """Stop asking."""
        self.query.shut_down()
