"""The page Feature: name and notes, density, classes, neighbours, examples. No science."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QWidget,
)
from typing_extensions import override

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.charts import Histogram, MeanChart, MeanRow
from napari_bio_superposition.widgets.example_pictures import draw_examples, list_views
from napari_bio_superposition.widgets.feature_report import ExamplePatch, FeatureReport
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.gallery_view import GalleryPicture, GalleryRow, GalleryView
from napari_bio_superposition.widgets.job_queue import JobQueue
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn
from napari_bio_superposition.widgets.latest_job import LatestJob
from napari_bio_superposition.widgets.selection import SelectionMode

if TYPE_CHECKING:
    import pandas as pd

    from napari_bio_superposition.widgets.failures import Failure

_GROUPINGS: Final = (Keys.GENOTYPE, Keys.TREATMENT, Keys.LINE, Keys.PLATE, Keys.IMAGE)
_LISTED: Final = 5
_NEAR_NAME_PX: Final = 94
_READING, _ABSENT = "reading…", "no picture"


class FeaturePageView(FeaturesPage):
    """Shows the feature that any view asked for last."""

    title = "Feature"
    tip = "What is known of one feature?"
    run_text = "Show again"

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.number = QSpinBox()
        self.number.setPrefix("latent ")
        self.number.setKeyboardTracking(False)
        self.number.setAccessibleName("Number of the feature")
        self.name = QLineEdit()
        self.name.setPlaceholderText("Name it")
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("Notes; kept beside the model, for all images")
        self.notes.setFixedHeight(44)
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        self.histogram = Histogram("Mean activation of active patches")
        self.group_box = CalmComboBox()
        self.means = MeanChart()
        self.directions, self.companions = LatentTable(), LatentTable()
        self.view_box = CalmComboBox()
        self.find_button = QPushButton("Find images…")
        self.find_button.setToolTip("Name the folder of the images, or of results, of this table")
        self.find_button.hide()
        self.gallery = GalleryView()
        self.query = LatestJob(self)
        self.reader = JobQueue(self)
        self._report: FeatureReport | None = None
        self._of_table: Any = None
        self._latent: int | None = None
        self._lay_out()
        self._connect()
        self.refresh()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self.number)
        head.addWidget(self.name, 1)
        classes = QHBoxLayout()
        classes.addWidget(QLabel("Mean by"))
        classes.addWidget(self.group_box, 1)
        near = QGridLayout()
        near.setSpacing(3)
        for column, (text, table) in enumerate(
            (("Nearest direction", self.directions), ("Active together", self.companions))
        ):
            table.search.hide()
            table.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            table.setFixedHeight(26 + 22 * _LISTED)
            table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            near.addWidget(QLabel(text), 0, column)
            near.addWidget(table, 1, column)
        look = QHBoxLayout()
        look.addWidget(QLabel("Examples"))
        look.addWidget(self.view_box, 1)
        look.addWidget(self.find_button)
        for part in (head, self.notes, self.facts, self.histogram, classes, self.means, near, look):
            if isinstance(part, QWidget):
                self.page_layout.addWidget(part)
            else:
                self.page_layout.addLayout(part)
        for box in (self.group_box, self.view_box):
            box.setMinimumContentsLength(10)
        self.page_layout.addWidget(self.gallery)
        self.page_layout.addWidget(self.message)
        self.page_layout.addStretch(1)

    def _connect(self) -> None:
        study = self.explorer.study
        study.shown_feature_changed.connect(self._on_feature_shown)
        study.table_changed.connect(self.refresh)
        study.selection_changed.connect(self._on_selection_changed)
        self.number.valueChanged.connect(self.latent_chosen)
        self.name.editingFinished.connect(self._save_name)
        self.notes.installEventFilter(self)
        self.group_box.activated.connect(self.ask)
        self.view_box.activated.connect(self._draw_gallery)
        for table in (self.directions, self.companions):
            table.latent_clicked.connect(self.latent_chosen)
        self.gallery.picture_clicked.connect(self._on_picture_clicked)
        self.gallery.picture_opened.connect(self.row_opened)
        self.find_button.clicked.connect(self._ask_place)
        self.explorer.study.places_changed.connect(self._read_absent)
        self.reader.answered.connect(self._on_read)
        self.reader.failed.connect(self._on_unread)
        self.reader.idle.connect(self._draw_gallery)
        self.query.answered.connect(self.show_outcome)
        self.query.failed.connect(self.show_failure)

    def refresh(self) -> None:
        """Take notice of another table."""
        table = self.explorer.study.table
        self._report = None  # its rows are those of another table
        self.query.forget()
        self.reader.ask([])
        self.gallery.set_rows([])
        self.setEnabled(table is not None)
        if table is None:
            return
        is_blocked = self.number.blockSignals(True)
        self.number.setRange(0, table.n_vars - 1)
        self.number.blockSignals(is_blocked)
        chosen = self.group_box.currentText()
        self.group_box.clear()
        self.group_box.addItems([key for key in _GROUPINGS if key in table.obs])
        self.group_box.setCurrentIndex(max(0, self.group_box.findText(chosen)))
        self._latent = None
        self.activate()

    def activate(self) -> None:
        """Collect what the feature's page shows, where that is not done yet."""
        shown = self.explorer.study.shown_feature
        if shown is not None and shown != self._latent and self.isVisible():
            self.ask()

    def ask(self, *_: Any) -> None:
        """Collect the page of the feature that was asked for last."""
        self._latent = self.explorer.study.shown_feature
        if self._latent is not None:
            self.query.ask(self.make_job)

    def make_job(self) -> Job[Any]:
        """Return the job that collects the page of the chosen feature."""
        latent = self.explorer.study.shown_feature
        chosen = self.number.value() if latent is None else latent
        return self.explorer.describe(chosen, self.group_box.currentText())

    def show_outcome(self, outcome: FeatureReport) -> None:
        """Show the page."""
        self._report, self._of_table = outcome, self.explorer.study.table
        self.message.clear()
        is_blocked = self.number.blockSignals(True)
        self.number.setValue(outcome.latent)
        self.number.blockSignals(is_blocked)
        book = self.explorer.read_notes()
        self.name.setText(book.names.get(outcome.latent, ""))
        self.notes.setPlainText(book.notes.get(outcome.latent, ""))
        self.facts.setText(_describe(outcome))
        self.histogram.set_counts(outcome.page.histogram, float(outcome.page.edges[-1]))
        self.means.set_rows(_mean_rows(outcome.page.classes))
        _show_near(self.directions, outcome.by_direction, "cosine")
        _show_near(self.companions, outcome.page.together, "pearson")
        self._list_views()
        self._read_absent()

    def shut_down(self) -> None:
        """Stop asking."""
        self.query.shut_down()
        self.reader.shut_down()

    def find_images(self, place: Path) -> None:
        """Look for the images of the table in a folder, too."""
        self.explorer.study.add_place(place)

    def _ask_place(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of images, or of results")
        if chosen:
            self.find_images(Path(chosen))

    def _read_absent(self) -> None:
        """Read the examples of images that are not open, image by image."""
        report, study = self._report, self.explorer.study
        if report is None or self._of_table is not study.table:
            return
        by_image: dict[str, list[ExamplePatch]] = {}
        for one in report.examples:
            if one.pixels is None:
                by_image.setdefault(one.image_id, []).append(one)
        if not study.places:
            by_image.clear()
        shelf, latent = self.explorer.shelf() if by_image else None, report.latent
        self.reader.ask(
            [partial(shelf.read_examples, some, latent) for some in by_image.values()]
            if shelf is not None
            else []
        )
        self._draw_gallery()

    def _on_read(self, found: "Mapping[int, ExamplePatch]") -> None:
        """Complete examples of the present report; a patch may stand for several kinds."""
        report = self._report
        if report is None:
            return
        examples = []
        for one in report.examples:
            read = found.get(one.row, one)
            examples.append(
                replace(one, pixels=read.pixels, activation=read.activation, reason=read.reason)
            )
        roles = report.channel_roles or self.explorer.channel_roles
        self._report = replace(report, examples=tuple(examples), channel_roles=roles)
        if roles != report.channel_roles:
            self._list_views()
        self._draw_gallery()

    def _on_unread(self, failure: "Failure") -> None:
        """Where one image fails as a whole (no networks, for instance), all do."""
        self.reader.ask([])
        self.message.show_failure(failure)

    def _list_views(self) -> None:
        roles = () if self._report is None else self._report.channel_roles
        chosen = self.view_box.currentText()
        self.view_box.clear()
        self.view_box.addItems(list_views(roles))
        self.view_box.setCurrentIndex(max(0, self.view_box.findText(chosen)))

    @override
    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Save the notes when the user leaves them."""
        if watched is self.notes and event.type() == event.Type.FocusOut:
            self._save_notes()
        return bool(super().eventFilter(watched, event))

    def _draw_gallery(self, *_: Any) -> None:
        report = self._report
        if report is None:
            return
        pictures = draw_examples(
            report.examples, report.channel_roles, self.view_box.currentText(), report.top
        )
        rows: dict[str, list[GalleryPicture]] = {}
        for place, example in enumerate(report.examples):
            if place in pictures:
                picture = GalleryPicture(example.row, pictures[place], example.title)
            else:
                is_coming = self.reader.busy and not example.reason
                why = f"{example.title}\n{example.image_id}: {example.reason or 'not open'}"
                note = _READING if is_coming else _ABSENT
                picture = GalleryPicture.blank(example.row, note, why)
            rows.setdefault(example.kind, []).append(picture)
        self.gallery.set_rows([GalleryRow(kind, tuple(found)) for kind, found in rows.items()])
        self._tell_absent(len(report.examples) - len(pictures), len(report.examples))
        self._on_selection_changed()

    def _tell_absent(self, n_absent: int, n_all: int) -> None:
        self.find_button.setVisible(n_absent > 0)
        if self.message.tone == "error":
            return  # it says more
        if n_absent and not self.reader.busy:
            self.message.show_plain(
                f"{n_absent} of {n_all} examples lie in images that are neither open nor found. "
                "Find images looks into a folder; the tool tip of a picture says more."
            )
        else:
            self.message.clear()

    def _on_feature_shown(self, latent: int) -> None:
        is_blocked = self.number.blockSignals(True)
        self.number.setValue(latent)
        self.number.blockSignals(is_blocked)
        self.activate()

    def _on_picture_clicked(self, row: int, modifiers: Any) -> None:
        is_added = bool(modifiers & Qt.KeyboardModifier.ShiftModifier)
        mode: SelectionMode = "add" if is_added else "replace"
        self.explorer.study.selection.select([row], mode, source="table")

    def _on_selection_changed(self, *_: Any) -> None:
        mask = self.explorer.study.selection.mask
        if self._report is not None:
            rows = {example.row for example in self._report.examples}
            self.gallery.mark({row for row in rows if row < len(mask) and mask[row]})

    def _save_name(self) -> None:
        latent, name = self.number.value(), self.name.text()
        self._change_notes(lambda book: book.with_name(latent, name))

    def _save_notes(self) -> None:
        latent, note = self.number.value(), self.notes.toPlainText()
        self._change_notes(lambda book: book.with_note(latent, note))

    def _change_notes(self, change: Any) -> None:
        try:
            self.explorer.change_notes(change)
        except BioSuperpositionError as error:
            self.message.show_error(str(error))


def _describe(report: FeatureReport) -> str:
    page = report.page
    parts = [
        f"Active at {page.firing_rate:.2%} of places and in {page.active_patches:.0%} of patches",
        f"largest activation {page.max_activation:.3g}",
    ]
    if np.isfinite(page.plate_effect):
        parts.append(f"plates explain {page.plate_effect:.0%} of the variance between wells")
    else:
        parts.append("plate effect unknown (it needs two plates)")
    return "; ".join(parts) + "."


def _mean_rows(classes: "pd.DataFrame") -> list[MeanRow]:
    return [
        MeanRow(
            str(row["class"]) or "(none)",
            float(row["mean"]),
            float(row["low"]),
            float(row["high"]),
            f"{row['n_patches']} patches of {row['n_wells']} wells",
        )
        for _, row in classes.iterrows()
    ]


def _show_near(table: LatentTable, near: "pd.DataFrame | None", measure: str) -> None:
    if near is None:
        table.show_rows([], [])
        return
    values = LatentColumn(measure, near[measure].to_numpy(float), form=".2f")
    table.show_rows(near["latent"].to_numpy(), [values])
    table.view.setColumnWidth(0, _NEAR_NAME_PX)
