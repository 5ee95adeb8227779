"""The page Channel: which features write one CNN channel at a place. No science."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.widgets.charts import LineChart
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn
from napari_bio_superposition.widgets.latest_job import LatestJob

if TYPE_CHECKING:
    from napari_bio_superposition.widgets.region_sources import RegionSource
    from napari_bio_superposition.workflows.explore_channels import (
        ExplainedChannel,
        MatchedChannel,
    )

_HINT = "Choose a place, and press Explain for the channels strong there and what they are made of."
_CHANNELS_HEIGHT_PX: Final = 92
_EVERYWHERE: Final = "everywhere"
_WAYS: Final = ("Exact: decoder weights", "Greedy: similar maps, as published")
_EXACT, _GREEDY = range(2)


class ChannelPage(FeaturesPage):
    """Splits one CNN channel at a place into features: exactly, or by the paper's matching."""

    title = "Channel"
    tip = "Which features is a channel of the network made of?"
    run_text = "Explain"

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.source_box = CalmComboBox()
        self.source_box.setToolTip("The place: all patches, selected ones, a region, nuclei")
        self.way_box = CalmComboBox()
        self.way_box.addItems(_WAYS)
        self.way_box.setToolTip(
            "Exact: value = constant + sum of features + rest, from the decoder.\n"
            "Greedy: maps of features that look like the channel's, in the patch of the place "
            "where it is strongest; the paper's method, which fits nothing."
        )
        self.channels = LatentTable()
        self.channels.setFixedHeight(_CHANNELS_HEIGHT_PX)
        self.channels.search.hide()
        self.channels.model.row_title = "Channel"
        self.chart = LineChart("features, strongest first")
        self.features = LatentTable(explorer.display)
        self.features.search.hide()
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.query = LatestJob(self)
        self._channel: int | None = None
        self._sources: list[RegionSource] = []
        self._lay_out()
        self._connect()
        self.refresh_sources()
        self.message.show_plain(_HINT)

    def _connect(self) -> None:
        self.channels.latent_clicked.connect(self._on_channel_clicked)
        self.features.latent_clicked.connect(self.latent_chosen)
        self.features.failed.connect(self.message.show_error)
        self.way_box.activated.connect(self._on_way_changed)
        self.query.answered.connect(self.show_outcome)
        self.query.failed.connect(self.show_failure)
        study = self.explorer.study
        study.groups_changed.connect(self.refresh_sources)
        study.images_changed.connect(self.refresh_sources)

    def _lay_out(self) -> None:
        head = QGridLayout()
        head.setSpacing(3)
        head.setColumnStretch(1, 1)
        for row, (text, box) in enumerate((("Place", self.source_box), ("How", self.way_box))):
            head.addWidget(QLabel(text), row, 0)
            head.addWidget(box, row, 1)
            box.setSizeAdjustPolicy(
                CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(8)
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
        self.source_box.addItem("All patches of the image", _EVERYWHERE)
        for source in self._sources:
            self.source_box.addItem(source.title, source.key)
        self.source_box.setCurrentIndex(max(0, self.source_box.findData(chosen)))

    @property
    def is_greedy(self) -> bool:
        """Whether maps are matched, as published."""
        return self.way_box.currentIndex() == _GREEDY

    def explain(self, channel: int) -> None:
        """Split a channel at the chosen place."""
        self._channel = channel
        self.query.ask(lambda: self._job(channel))

    def _on_channel_clicked(self, channel: int) -> None:
        self.explain(channel)
        self.channel_chosen.emit(channel)

    def _on_way_changed(self, *_: Any) -> None:
        if self._channel is not None:
            self.explain(self._channel)

    def make_job(self) -> Job[Any]:
        """Return the job that ranks the channels at the place, and splits the strongest."""
        return self._job(None)

    def _job(self, channel: int | None) -> Job[Any]:
        return self.explorer.explain_channel(self._place(), channel, greedily=self.is_greedy)

    def _place(self) -> BoolArray | None:
        key = self.source_box.currentData()
        if key is None:
            raise BioSuperpositionError(_HINT)
        if key == _EVERYWHERE:
            return None
        source = next(one for one in self._sources if one.key == key)
        masks = self.explorer.read_regions(source)
        place: BoolArray = np.logical_or.reduce(list(masks.values()))
        return place

    def show_outcome(self, outcome: "ExplainedChannel | MatchedChannel") -> None:
        """Show channels, curve and features."""
        from napari_bio_superposition.workflows.explore_channels import ExplainedChannel

        self.message.clear()
        names = [f"channel_{number:05d}" for number in outcome.channels]
        strength = LatentColumn(
            "Strength", outcome.strength, "Root mean square of the centred channel at the place"
        )
        self.channels.show_rows(outcome.channels, [strength], names)
        if isinstance(outcome, ExplainedChannel):
            self._show_parts(outcome)
        else:
            self._show_match(outcome)
        if self._channel is not None:
            self.channels.choose(self._channel)

    def _show_parts(self, outcome: "ExplainedChannel") -> None:
        from napari_bio_superposition.workflows.explore_image import describe_attribution

        found = outcome.attribution
        self._channel = found.channel
        mean = found.contributions.mean(axis=1)
        columns = [
            LatentColumn("Adds", mean, "Mean contribution to the channel at the place"),
            LatentColumn("Explains", found.explained, "Share explained with all above it", ".0%"),
            LatentColumn("Shuffled", found.shuffled, "The same with places dealt out anew", ".0%"),
        ]
        self.features.show_rows(found.latents, columns)
        self.chart.set_curves({"explained": found.explained, "shuffled places": found.shuffled})
        self.note.setText(describe_attribution(found))

    def _show_match(self, outcome: "MatchedChannel") -> None:
        from napari_bio_superposition.workflows.explore_image import describe_match

        found, control = outcome.match, outcome.rolled
        self._channel = outcome.channel
        overlap, cover, rolled = map(np.asarray, (found.overlap, found.coverage, control.coverage))
        columns = [
            LatentColumn("Overlap", overlap, "Soft intersection over union with what is left"),
            LatentColumn("Covered", cover, "Share of the map under all above it", ".0%"),
            LatentColumn("Moved", rolled, "The same with maps moved at random", ".0%"),
        ]
        self.features.show_rows(found.latents, columns)
        self.chart.set_curves({"covered": cover, "maps moved at random": rolled})
        self.note.setText(describe_match(outcome))

    def shut_down(self) -> None:
        """Stop asking."""
        self.query.shut_down()
