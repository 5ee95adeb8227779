"""The page Find: all features, filtered and sorted; named lists; CSV and HTML. No science."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QPushButton,
    QWidget,
)

from napari_bio_superposition.core.errors import BioSuperpositionError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn

if TYPE_CHECKING:
    import pandas as pd

_ALL_LISTS, _ANY_CLASS, _ANY_COLUMN = "All features", "Any class", "No correlation"
_MOST_IN_GALLERY: Final = 24
_COLUMNS: Final = (
    ("name", "Name", "", "The name that somebody gave it"),
    (Keys.FIRING_RATE, "Density", ".2%", "Share of places on which it is active"),
    (Keys.MEAN_ACTIVATION, "Mean", ".2g", "Mean activation over all patches"),
    ("log2_fold_change", "log2 FC", ".2f", "Of the last comparison"),
    ("q_well", "q well", ".2g", "Of the last comparison"),
    ("top_class", "Class", "", "The class with the highest mean"),
)


class FindPage(FeaturesPage):
    """Lists all features of the table with what is known of them."""

    title = "Find"
    tip = "Search, filter and sort all features; keep lists of them"
    run_text = "List features"

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.list_box, self.class_box, self.column_box = (CalmComboBox() for _ in range(3))
        self.least_density, self.most_density = _make_percent(0.0), _make_percent(100.0)
        self.least_correlation = _make_number(0.0)
        self.least_fold = _make_number(0.0, 20.0)
        self.table = LatentTable(explorer.display)
        self.note = QLabel()
        self.keep_button = QPushButton("Keep as list…")
        self.csv_button = QPushButton("CSV…")
        self.html_button = QPushButton("Gallery…")
        self._all: pd.DataFrame | None = None
        self._found: pd.DataFrame | None = None
        self._lay_out()
        self._connect()
        self.refresh_choices()

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        grid.addWidget(self.list_box, 0, 0, 1, 2)
        grid.addWidget(self.class_box, 0, 2, 1, 2)
        grid.addWidget(QLabel("Density"), 1, 0)
        grid.addWidget(self.least_density, 1, 1)
        grid.addWidget(QLabel("to"), 1, 2)
        grid.addWidget(self.most_density, 1, 3)
        grid.addWidget(self.column_box, 2, 0, 1, 2)
        grid.addWidget(QLabel("at least"), 2, 2)
        grid.addWidget(self.least_correlation, 2, 3)
        fold = QLabel("Fold change, |log2|")
        fold.setToolTip("Of the last comparison, on the page Compare")
        grid.addWidget(fold, 3, 0, 1, 2)
        grid.addWidget(QLabel("at least"), 3, 2)
        grid.addWidget(self.least_fold, 3, 3)
        buttons = QHBoxLayout()
        for button in (self.keep_button, self.csv_button, self.html_button):
            buttons.addWidget(button)
        self.page_layout.addLayout(grid)
        self.page_layout.addWidget(self.table, 1)
        self.page_layout.addWidget(self.note)
        self.page_layout.addLayout(buttons)
        self.page_layout.addWidget(self.message)

    def _connect(self) -> None:
        for box in (self.list_box, self.class_box):
            box.activated.connect(self.apply)
        self.column_box.activated.connect(self._forget)
        least = (self.least_density, self.least_correlation, self.least_fold)
        for number in (*least, self.most_density):
            number.valueChanged.connect(self.apply)
        self.table.latent_clicked.connect(self.latent_chosen)
        self.table.failed.connect(self.message.show_error)
        self.keep_button.clicked.connect(self._ask_name)
        self.csv_button.clicked.connect(self._ask_csv)
        self.html_button.clicked.connect(self._ask_gallery)
        self.explorer.study.table_changed.connect(self.refresh_choices)

    def refresh_choices(self) -> None:
        """Offer the classes, columns and lists of the table and the model."""
        table = self.explorer.study.table
        self._all = self._found = None
        self.table.show_rows([], [])
        self.setEnabled(table is not None)
        numbers = [] if table is None else _numeric_columns(table.obs)
        classes = [] if table is None else sorted(set(map(str, table.obs[Keys.GENOTYPE])) - {""})
        _fill(self.column_box, _ANY_COLUMN, numbers)
        _fill(self.class_box, _ANY_CLASS, classes)
        self._refresh_lists()

    def make_job(self) -> Job[Any]:
        """Return the job that gathers what is known of all features."""
        column = self.column_box.currentText()
        return self.explorer.list_features(() if column == _ANY_COLUMN else (column,))

    def show_outcome(self, outcome: "pd.DataFrame | Path") -> None:
        """Show the list, or where the gallery was written."""
        if isinstance(outcome, Path):
            self.message.show_good(f"Saved in {outcome}.")
            return
        self._all = outcome
        self._refresh_lists()
        self.apply()

    def apply(self, *_: Any) -> None:
        """Show the features that fit the filter."""
        if self._all is None:
            return
        column = self.column_box.currentText()
        column = "" if column == _ANY_COLUMN else column
        chosen_class, chosen_list = self.class_box.currentText(), self.list_box.currentText()
        try:
            found = self.explorer.filter_features(
                self._all,
                min_firing_rate=self.least_density.value() / 100,
                max_firing_rate=self.most_density.value() / 100,
                top_class="" if chosen_class == _ANY_CLASS else chosen_class,
                min_log2_fold_change=self.least_fold.value(),
                correlates_with=column,
                min_correlation=self.least_correlation.value(),
                named_list="" if chosen_list == _ALL_LISTS else chosen_list,
            )
        except BioSuperpositionError as error:
            self.message.show_error(str(error))
            return
        self._found = found
        self.message.clear()
        self.note.setText(f"{len(found):,} of {len(self._all):,} features")
        self.table.show_rows(found["latent"].to_numpy(), _list_columns(found, column))

    def keep_list(self, name: str) -> None:
        """Keep the shown features under a name, for all images of the model."""
        self.explorer.change_notes(lambda book: book.with_list(name, self.table.model.latents))
        self._refresh_lists()

    def write_csv(self, path: Path) -> None:
        """Write the shown features, in the order on the screen."""
        from napari_bio_superposition.features.search import write_list

        write_list(self._need_rows(), path)
        self.message.show_good(f"Saved in {path}.")

    def _need_rows(self) -> "pd.DataFrame":
        if self._found is None or self._found.empty:
            raise TableError("There is no feature in the list. Press List features first.")
        return self._found.set_index("latent", drop=False).loc[self.table.model.latents]

    def _forget(self, *_: Any) -> None:
        if self._all is not None:
            self.message.show_plain("Press List features: the correlations are computed then.")

    def _refresh_lists(self) -> None:
        try:
            names = sorted(self.explorer.read_notes().lists)
        except BioSuperpositionError as error:
            self.message.show_error(str(error))
            names = []
        _fill(self.list_box, _ALL_LISTS, names)

    def _ask_name(self) -> None:
        name, is_ok = QInputDialog.getText(self, "Keep list", "Name of the list")
        if is_ok:
            self._try(lambda: self.keep_list(name))

    def _ask_csv(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save features", "features.csv", "CSV (*.csv)")
        if path:
            self._try(lambda: self.write_csv(Path(path)))

    def _ask_gallery(self) -> None:
        title, name = "Save gallery", "features.html"
        path, _ = QFileDialog.getSaveFileName(self, title, name, "HTML (*.html)")
        if path:
            self._try(lambda: self.write_gallery(Path(path)))

    def write_gallery(self, path: Path) -> None:
        """Write the first shown features with their examples as one page of HTML."""
        latents = [int(latent) for latent in self._need_rows()["latent"][:_MOST_IN_GALLERY]]
        self.job_wanted.emit(self.explorer.write_gallery(latents, path))

    def _try(self, action: Any) -> None:
        try:
            action()
        except BioSuperpositionError as error:
            self.message.show_error(str(error))


def _list_columns(found: "pd.DataFrame", correlated: str) -> list[LatentColumn]:
    wanted = [*_COLUMNS]
    if correlated:
        tip = f"Pearson correlation with {correlated} over patches"
        wanted.insert(1, (f"correlation_{correlated}", "r", ".2f", tip))
    return [
        LatentColumn(title, found[key].to_numpy(), tip, form)
        for key, title, form, tip in wanted
        if key in found
    ]


def _numeric_columns(obs: Any) -> list[str]:
    places = (Keys.Y, Keys.X)
    return [str(c) for c in obs.columns if obs[c].dtype.kind in "fiu" and c not in places]


def _fill(box: CalmComboBox, first: str, others: list[str]) -> None:
    chosen = box.currentText()
    box.clear()
    box.addItems([first, *others])
    box.setCurrentIndex(max(0, box.findText(chosen)))
    box.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)


def _make_percent(value: float) -> QDoubleSpinBox:
    box = _make_number(value, 100.0)
    box.setSuffix(" %")
    box.setDecimals(3)  # rare features fire on a thousandth of a percent
    return box


def _make_number(value: float, top: float = 1.0) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.0, top)
    box.setSingleStep(top / 20)
    box.setValue(value)
    box.setKeyboardTracking(False)
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # they take a third of the width
    box.setMinimumWidth(64)
    return box
