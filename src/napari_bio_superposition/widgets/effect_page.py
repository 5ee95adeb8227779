"""The page Effect: class, death and place when a feature is taken away or pushed. No science."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QLabel, QWidget

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.latent_table import LatentTable
from napari_bio_superposition.widgets.latent_table_model import LatentColumn

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from napari_bio_superposition.workflows.steering import FeatureEffect

_HINT = "Look at a feature first: click one in a table, then press Apply."
_TITLES: Final = {"class": "P({})", "death": "{}", "embedding": "{}"}
"""Of read-outs: a probability, a prediction, a coordinate."""
_NAME_WIDTH_PX, _NUMBER_WIDTH_PX = 106, 50
_NOTHING: Final = 1e-3
"""What is smaller than this share of the other figures of a read-out is shown as 0."""
_COLUMNS: Final = (
    ("before", "Before", "Mean over the patches"),
    ("after", "After", "The same with the feature changed"),
    ("change", "Change", "Mean change"),
    ("low", "2.5 %", "Patches change by at least this"),
    ("high", "97.5 %", "Patches change by at most this"),
)


class EffectPage(FeaturesPage):
    """Changes the feature that is looked at, and shows what read-outs make of it."""

    title = "Effect"
    tip = "What does a feature do to class, death and position?"
    run_text = "Apply"

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.feature_label = QLabel()
        self.factor = QDoubleSpinBox()
        self.factor.setRange(0.0, 100.0)
        self.factor.setSingleStep(0.5)
        self.factor.setValue(0.0)
        self.factor.setToolTip("0 takes the feature away, 1 changes nothing, 2 doubles it")
        self.patch_box = CalmComboBox()
        self.patch_box.addItems(["All patches of the image", "Selected patches"])
        self.table = LatentTable()
        self.table.search.hide()
        self.table.model.row_title = "Read-out"
        self.note = QLabel()
        self.note.setWordWrap(True)
        form = QFormLayout()
        form.addRow("Feature", self.feature_label)
        form.addRow("Multiply by", self.factor)
        form.addRow("In", self.patch_box)
        self.page_layout.addLayout(form)
        self.page_layout.addWidget(self.table, 1)
        self.page_layout.addWidget(self.note)
        self.page_layout.addWidget(self.message)
        explorer.study.shown_feature_changed.connect(self._on_feature_shown)
        self._on_feature_shown(explorer.study.shown_feature)

    def make_job(self) -> Job[Any]:
        """Return the job that changes the feature and reads what follows."""
        study = self.explorer.study
        if study.shown_feature is None:
            raise TableError(_HINT)
        rows = study.selection.mask if self.patch_box.currentIndex() == 1 else None
        return self.explorer.steer(study.shown_feature, self.factor.value(), rows)

    def show_outcome(self, outcome: "FeatureEffect") -> None:
        """Show the read-outs before and after."""
        found = outcome.outputs
        names = [
            _TITLES[kind].format(output)
            for kind, output in zip(found["read_out"], found["output"], strict=True)
        ]
        columns = [
            LatentColumn(title, values, tip, ".2g")
            for values, (_, title, tip) in zip(_round(found).T, _COLUMNS, strict=True)
        ]
        self.table.show_rows(range(len(found)), columns, names)
        self.table.view.setColumnWidth(0, _NAME_WIDTH_PX)
        for column in range(1, 1 + len(columns)):
            self.table.view.setColumnWidth(column, _NUMBER_WIDTH_PX)
        missing = "".join(f" No {name}: {why}." for name, why in outcome.missing.items())
        self.note.setText(
            f"{feature_name(outcome.latent)} times {outcome.factor:g} in {outcome.n_patches} "
            f"patches.{missing} The read-outs are fitted on this table: they describe it, and "
            "prove no cause."
        )
        self.message.clear()

    def _on_feature_shown(self, latent: int | None) -> None:
        self.feature_label.setText(_HINT if latent is None else feature_name(latent))


def _round(found: "pd.DataFrame") -> "npt.NDArray[np.float64]":
    values = found[[key for key, _, _ in _COLUMNS]].to_numpy(float)
    least = _NOTHING * np.abs(values).max(axis=1, keepdims=True)
    return np.where(np.abs(values) < least, 0.0, values)
