"""The page Compare: which features differ between two groups of patches. No science."""

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSplitter, QWidget

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.features.differential_config import DifferentialConfig
from napari_bio_superposition.widgets.explorer_jobs import ComparedGroups
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn
from napari_bio_superposition.widgets.patch_groups import REST, PatchGroup, find_groups
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.widgets.volcano_view import VolcanoPoints, VolcanoView

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS: Final = (
    (
        "log2_fold_change",
        "log2 FC",
        ".2f",
        "log2 of the ratio of means, on a scale that is safe near 0",
    ),
    ("auroc", "AUROC", ".2f", "Chance that a patch of the first group is above one of the second"),
    (
        "q_well",
        "q well",
        ".2g",
        "Rank-sum test over wells, Benjamini-Hochberg: the unit of inference",
    ),
    ("q_patch", "q patch", ".2g", "The same over patches, which takes them as independent"),
    ("mean_first", "First", ".2g", "Mean activation in the first group"),
    ("mean_second", "Second", ".2g", "Mean activation in the second group"),
)


class ComparePage(FeaturesPage):
    """Compares two groups; the plot and the table choose features."""

    title = "Compare"
    tip = "Which features differ between two groups of patches?"
    run_text = "Compare"

    channel_asked = Signal(int)
    """The user wants to know what this CNN channel is made of."""

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.first_box, self.second_box = CalmComboBox(), CalmComboBox()
        self.form: ConfigForm[Any] = ConfigForm(DifferentialConfig())
        self.settings = Section("Settings", self.form)
        self.volcano = VolcanoView()
        self.table = LatentTable(explorer.display)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.explain_button = QPushButton()
        self.explain_button.setToolTip("Split this channel of the network into features")
        self.explain_button.hide()
        self._channel: int | None = None
        self._is_cnn = False
        self._first: list[PatchGroup] = []
        self._second: list[PatchGroup] = []
        self._lay_out()
        self.volcano.latent_clicked.connect(self._on_clicked)
        self.table.latent_clicked.connect(self._on_clicked)
        self.explain_button.clicked.connect(self._explain)
        self.table.failed.connect(self.message.show_error)
        study = explorer.study
        study.table_changed.connect(self.refresh_groups)
        study.groups_changed.connect(self.refresh_groups)
        study.shown_feature_changed.connect(self._on_feature_shown)
        self.refresh_groups()

    def _lay_out(self) -> None:
        groups = QHBoxLayout()
        for part in (self.first_box, QLabel("vs"), self.second_box):
            groups.addWidget(part, 0 if isinstance(part, QLabel) else 1)
            if isinstance(part, CalmComboBox):
                part.setSizeAdjustPolicy(
                    CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
                )
                part.setMinimumContentsLength(8)
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(self.volcano)
        split.addWidget(self.table)
        split.setSizes([150, 230])
        self.page_layout.addLayout(groups)
        self.page_layout.addWidget(self.settings)
        self.page_layout.addWidget(split, 1)
        self.page_layout.addWidget(self.explain_button)
        self.page_layout.addWidget(self.note)
        self.page_layout.addWidget(self.message)

    def refresh_groups(self) -> None:
        """Offer the groups there are, and keep the choices."""
        study = self.explorer.study
        self._first = find_groups(study)
        self._second = find_groups(study, with_rest=True)
        for box, groups in ((self.first_box, self._first), (self.second_box, self._second)):
            chosen = box.currentData()
            box.clear()
            for group in groups:
                box.addItem(group.title, group.key)
            index = box.findData(chosen)
            box.setCurrentIndex(max(index, 0) if groups else -1)

    def choose_groups(self, first: str, second: str = REST) -> None:
        """Choose two groups by their keys."""
        self.first_box.setCurrentIndex(self.first_box.findData(first))
        self.second_box.setCurrentIndex(self.second_box.findData(second))

    def make_job(self) -> Job[Any]:
        """Return the job that compares the chosen groups."""
        first, second = self.first_box.currentIndex(), self.second_box.currentIndex()
        if first < 0 or second < 0:
            raise TableError("There is no table yet. Run the dock Analyse first.")
        config = self.form.read_config()
        return self.explorer.compare(self._first[first], self._second[second], config)

    def show_outcome(self, outcome: ComparedGroups) -> None:
        """Show plot and table."""
        table = outcome.table
        self._is_cnn = outcome.config.values == "cnn"
        self._channel = None
        self.explain_button.setText("What is a channel made of? Click one")
        self.explain_button.setEnabled(False)
        self.explain_button.setVisible(self._is_cnn)
        self.table.set_kind("Channel" if self._is_cnn else "Feature", tickable=not self._is_cnn)
        columns = [LatentColumn(t, table[key].to_numpy(), tip, f) for key, t, f, tip in _COLUMNS]
        self.table.show_rows(table["latent"].to_numpy(), columns, table["feature"].tolist())
        self.volcano.y_title = "−log10 p"
        units = "wells" if outcome.config.level == "well" else "patches"
        self.volcano.x_title = f"log2 fold change; p over {units}"
        self.volcano.set_points(
            _points(outcome.volcano), least_fold=outcome.config.min_log2_fold_change
        )
        self.note.setText(_describe(outcome))

    def _on_clicked(self, number: int) -> None:
        """Show the map of what was clicked; numbers of CNN channels are not those of latents."""
        if not self._is_cnn:
            self.latent_chosen.emit(number)
            return
        self._channel = number
        self.volcano.choose(number)
        self.table.choose(number)
        self.explain_button.setText(f"What is channel {number} made of?")
        self.explain_button.setEnabled(True)
        self.channel_chosen.emit(number)

    def _explain(self) -> None:
        if self._channel is not None:
            self.channel_asked.emit(self._channel)

    def _on_feature_shown(self, latent: int) -> None:
        if self._is_cnn:
            return
        self.volcano.choose(latent)
        self.table.choose(latent)


def _points(volcano: "pd.DataFrame") -> VolcanoPoints:
    return VolcanoPoints(
        latents=volcano["latent"].to_numpy(),
        names=tuple(volcano["feature"]),
        x=volcano["x"].to_numpy(float),
        y=volcano["y"].to_numpy(float),
        strong=volcano["significant"].to_numpy(bool),
    )


def _describe(outcome: ComparedGroups) -> str:
    table = outcome.table
    kind = "channels" if outcome.config.values == "cnn" else "features"
    if table.empty:
        return f"None of the {kind} is alive in these patches."
    row = table.iloc[0]
    counts = (
        f"{int(table['significant'].sum())} of {len(table)} {kind} differ; "
        f"{row['n_patches']} and {row['n_patches_second']} patches of {row['n_wells']} and "
        f"{row['n_wells_second']} wells."
    )
    return " ".join((counts, str(row["warning"]))).strip()
