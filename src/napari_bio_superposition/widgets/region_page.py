"""The page Region: paint, draw or select, and read which features live there. No science."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.explorer_jobs import RankedRegions
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn
from napari_bio_superposition.widgets.latest_job import LatestJob

if TYPE_CHECKING:
    import pandas as pd

    from napari_bio_superposition.widgets.region_sources import RegionSource

_ASK_AFTER_MS = 120
"""A stroke of the brush tells of many changes."""
_HINT = "Paint on the image, draw around something, or select patches: the features appear here."
_PAINT_HINT = "Now paint on the image. Each label number is a region of its own; M takes the next."
_DRAW_HINT = "Now draw around something on the image. Each shape is a region of its own."
_ALL_REGIONS = "All, side by side"

_COLUMNS: Final = (
    (
        "lift",
        "Lift",
        ".3g",
        "Mean inside over mean outside (both a little raised: small is silent)",
    ),
    ("auroc", "AUROC", ".2f", "Chance that a place inside is above one outside; 0.5 is none"),
    ("p_value", "p", ".2g", "Share of random regions of this shape with as high a mean inside"),
    ("area", "Area", ".0%", "Share of the region on which the feature is active"),
    ("mean_inside", "Inside", ".2g", "Mean activation inside the region"),
    ("mean_outside", "Outside", ".2g", "Mean activation in the rest of the field"),
    ("firing_rate", "Firing", ".0%", "Share of the field on which the feature is active"),
)


class RegionPage(FeaturesPage):
    """Ranks the features of regions; asks again after each stroke."""

    title = "Region"
    tip = "Which features live in a painted, drawn or selected region?"
    run_text = "Rank features"

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.paint_button = QPushButton("Paint")
        self.paint_button.setToolTip("Add a layer and paint on it; each colour is a region")
        self.draw_button = QPushButton("Draw")
        self.draw_button.setToolTip("Add a layer and draw around regions with the lasso")
        self.select_button = QPushButton("Select patches")
        self.select_button.setToolTip(
            "Select what the region touches; Save group keeps it, to be compared on page Compare"
        )
        self.source_box = CalmComboBox()
        self.source_box.setToolTip("Where the region comes from")
        self.region_box = CalmComboBox()
        self.region_box.setToolTip("Which of several regions is shown")
        self.table = LatentTable(explorer.display)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.query = LatestJob(self)
        self._sources: list[RegionSource] = []
        self._ranked: RankedRegions | None = None
        self._listened: Any = None
        self._ask_soon = QTimer(self)
        self._ask_soon.setSingleShot(True)
        self._ask_soon.setInterval(_ASK_AFTER_MS)
        self._lay_out()
        self._connect()
        self.refresh_sources()
        self.message.show_plain(_HINT)

    def _lay_out(self) -> None:
        tools = QHBoxLayout()
        tools.addWidget(self.paint_button)
        tools.addWidget(self.draw_button)
        tools.addWidget(QLabel("From"))
        tools.addWidget(self.source_box, 1)
        self.page_layout.addLayout(tools)
        regions = QHBoxLayout()
        regions.addWidget(self.region_box, 1)
        regions.addStretch()
        regions.addWidget(self.select_button)
        self.page_layout.addLayout(regions)
        self.page_layout.addWidget(self.table, 1)
        self.page_layout.addWidget(self.note)
        self.page_layout.addWidget(self.message)
        self.region_box.hide()

    def _connect(self) -> None:
        self.paint_button.clicked.connect(self.paint)
        self.draw_button.clicked.connect(self.draw)
        self.select_button.clicked.connect(self.select_patches)
        self.source_box.currentIndexChanged.connect(self._on_source_changed)
        self.region_box.currentIndexChanged.connect(self._show_table)
        self.table.latent_clicked.connect(self.latent_chosen)
        self.table.failed.connect(self.message.show_error)
        self.query.answered.connect(self.show_outcome)
        self.query.failed.connect(self._on_failed)
        self._ask_soon.timeout.connect(self.ask)
        events = self.explorer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            event.connect(self._on_layers_changed)
        study = self.explorer.study
        study.images_changed.connect(self._on_images_changed)
        study.groups_changed.connect(self.refresh_sources)
        study.selection_changed.connect(self._on_selection_changed)

    def paint(self) -> None:
        """Add a layer to paint on, and listen to its strokes."""
        self._begin(self.explorer.add_painted_layer)

    def draw(self) -> None:
        """Add a layer to draw on, and listen to its shapes."""
        self._begin(self.explorer.add_drawn_layer)

    def _begin(self, add_layer: Any) -> None:
        try:
            layer = add_layer()
        except BioSuperpositionError as error:
            self.message.show_error(str(error))
            return
        self.refresh_sources()
        self.choose_source(f"layer {id(layer)}")
        is_painted = hasattr(layer, "brush_size")
        self.message.show_plain(_PAINT_HINT if is_painted else _DRAW_HINT)

    def select_patches(self) -> None:
        """Select the patches that the region in sight touches; those of all where all are."""
        source = self.source
        if source is None:
            return
        try:
            masks = self.explorer.read_regions(source)
            shown = masks.get(self.region_box.currentText())
            mask = np.logical_or.reduce(list(masks.values())) if shown is None else shown
            rows = self.explorer.rows_in_region(mask)
        except BioSuperpositionError as error:
            self.message.show_error(str(error))
            return
        self.explorer.study.selection.select(rows, source="image")

    @property
    def source(self) -> "RegionSource | None":
        """The chosen entry."""
        index = self.source_box.currentIndex()
        return self._sources[index] if 0 <= index < len(self._sources) else None

    def choose_source(self, key: str) -> None:
        """Choose an entry by its key; nothing happens where it is gone."""
        keys = [source.key for source in self._sources]
        if key in keys:
            self.source_box.setCurrentIndex(keys.index(key))

    def refresh_sources(self) -> None:
        """Offer what can be a region now, and keep the choice."""
        chosen = self.source
        self._sources = self.explorer.region_sources()
        is_blocked = self.source_box.blockSignals(True)
        self.source_box.clear()
        self.source_box.addItems([source.title for source in self._sources])
        self.source_box.blockSignals(is_blocked)
        keys = [source.key for source in self._sources]
        kept = chosen is not None and chosen.key in keys
        if chosen is not None and kept:
            is_blocked = self.source_box.blockSignals(True)
            self.source_box.setCurrentIndex(keys.index(chosen.key))
            self.source_box.blockSignals(is_blocked)
        else:
            self._listen()
        self.setEnabled(bool(self._sources))

    def ask(self) -> None:
        """Rank the features of the chosen region."""
        source = self.source
        if source is None:
            return
        try:
            regions = self.explorer.read_regions(source)
            self.query.ask(lambda: self.explorer.rank_regions(regions))
        except BioSuperpositionError as error:
            self._show_nothing(str(error))

    def make_job(self) -> Job[Any]:
        """Return the job that ranks the features of the chosen region."""
        source = self.source
        if source is None:
            raise BioSuperpositionError(_HINT)
        return self.explorer.rank_regions(self.explorer.read_regions(source))

    def show_outcome(self, outcome: RankedRegions) -> None:
        """Show the ranked features."""
        self._ranked = outcome
        names = list(outcome.tables)
        chosen = self.region_box.currentText()
        is_blocked = self.region_box.blockSignals(True)
        self.region_box.clear()
        self.region_box.addItems([*names, _ALL_REGIONS] if len(names) > 1 else names)
        self.region_box.setCurrentText(
            chosen if self.region_box.findText(chosen) >= 0 else names[0]
        )
        self.region_box.blockSignals(is_blocked)
        self.region_box.setVisible(len(names) > 1)
        self.message.clear()
        self._show_table()

    def shut_down(self) -> None:
        """Stop asking."""
        self._ask_soon.stop()
        self.query.shut_down()

    def _show_table(self, *_: Any) -> None:
        if self._ranked is None:
            return
        name = self.region_box.currentText()
        if name == _ALL_REGIONS:
            self.table.show_rows(*compare_regions(self._ranked.tables))
            self.note.setText("Lift of each region; sort by one to see what sets it apart.")
            return
        table = self._ranked.tables[name]
        columns = [LatentColumn(t, table[key].to_numpy(), tip, f) for key, t, f, tip in _COLUMNS]
        self.table.show_rows(table["latent"].to_numpy(), columns)
        self.note.setText(_describe(table))
        shown = self.explorer.study.shown_feature
        if shown is not None:
            self.table.choose(shown)

    def _show_nothing(self, why: str) -> None:
        self.query.forget()
        self._ranked = None
        self.region_box.hide()
        self.table.show_rows([], [])
        self.note.clear()
        self.message.show_plain(why)

    def _on_failed(self, failure: Any) -> None:
        self._show_nothing("")
        self.message.show_failure(failure)

    def _on_source_changed(self) -> None:
        self._listen()
        self._ask_soon.start()

    def _listen(self) -> None:
        """Listen to the strokes of the chosen layer, and to no other."""
        if self._listened is not None:
            for name in ("paint", "set_data", "data"):
                event = getattr(self._listened.events, name, None)
                if event is not None:
                    event.disconnect(self._on_drawn)
        source = self.source
        self._listened = None if source is None else source.layer
        if self._listened is not None:
            for name in ("paint", "set_data", "data"):
                event = getattr(self._listened.events, name, None)
                if event is not None:
                    event.connect(self._on_drawn)

    def _on_drawn(self, *_: Any) -> None:
        self._ask_soon.start()

    def _on_layers_changed(self, *_: Any) -> None:
        self.refresh_sources()

    def _on_images_changed(self) -> None:
        self._show_nothing(_HINT)
        self.refresh_sources()

    def _on_selection_changed(self, *_: Any) -> None:
        if self.source is not None and self.source.key == "selection":
            self._ask_soon.start()


def compare_regions(tables: "dict[str, pd.DataFrame] | Any") -> tuple[Any, list[LatentColumn]]:
    """Return latents and the lift of each region, the largest difference of regions first."""
    lifts = {name: table.set_index("latent")["lift"].sort_index() for name, table in tables.items()}
    values = np.stack([lift.to_numpy(float) for lift in lifts.values()], axis=1)
    order = np.argsort(-np.ptp(np.log(values), axis=1), kind="stable")
    latents = next(iter(lifts.values())).index.to_numpy()[order]
    columns = [
        LatentColumn(name, values[order, place], f"Lift of {name} over the rest", ".3g")
        for place, name in enumerate(lifts)
    ]
    return latents, columns


def _describe(table: "pd.DataFrame") -> str:
    facts = table.attrs
    if "tokens_inside" not in facts:
        return ""
    return (
        f"{facts['tokens_inside']:,} places inside, {facts['tokens_outside']:,} outside; p from "
        f"{facts['random_regions']} random regions of this shape."
    )
