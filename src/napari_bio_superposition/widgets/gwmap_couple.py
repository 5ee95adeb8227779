"""The step Couple of the GW-map dock: settings, verdict, charts. It starts and computes nothing."""

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.gwmap_charts import BasinChart, NullChart
from napari_bio_superposition.widgets.gwmap_state import GwMap
from napari_bio_superposition.widgets.message import MessageLine
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.workflows.couple_config import CoupleConfig

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_bio_superposition.widgets.gwmap_jobs import RnaCells

_NO_CLASSES: Final = "none"
_COLOURS: Final = {
    "no plan": "#b3261e",
    "no alignment": "#b3261e",
    "ambiguous": "#a85b00",
    "low confidence": "#a85b00",
    "class-level only": "#1f5fa8",
    "cell-level": "#1b6e3c",
    "not tested": "#5c5c5c",
}
"""Behind white text, each with a contrast above 4.5."""


class CouplePanel(QWidget):
    """Shows what would be coupled, the settings, and how far a coupling can be trusted.

    Parameters
    ----------
    state
        Of the dock.
    """

    open_clicked = Signal()

    def __init__(self, state: GwMap, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.inputs_label, self.figures_label = QLabel(), QLabel()
        self.class_box = CalmComboBox()
        self.class_box.setAccessibleName("Known classes")
        self.class_box.setToolTip(
            "A column of patches and cells: adds how well labels transfer, beside permuted labels. "
            "Nothing is chosen by it."
        )
        self.open_button = QPushButton("Open a coupling…")
        self.form: ConfigForm[CoupleConfig] = ConfigForm(
            CoupleConfig(), hidden=("label", "label_rna", "paired")
        )
        self.verdict_label = QLabel()
        self.explanation = MessageLine()
        self.nulls, self.basins = NullChart(), BasinChart()
        self._lay_out()
        self.open_button.clicked.connect(self.open_clicked)
        self._signals = (state.rna_changed, state.coupling_changed, state.study.table_changed)
        for signal in self._signals:
            signal.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        for label in (self.inputs_label, self.figures_label):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        top = QHBoxLayout()
        top.addWidget(self.inputs_label, 1)
        top.addWidget(self.open_button)
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Known classes", self.class_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 4, 6, 0)
        layout.addLayout(top)
        layout.addLayout(rows)
        layout.addWidget(Section("Settings", self.form))
        layout.addWidget(self.verdict_label)
        layout.addWidget(self.explanation)
        layout.addWidget(self.nulls)
        layout.addWidget(self.basins)
        layout.addWidget(self.figures_label)
        layout.addStretch(1)

    def read_config(self) -> CoupleConfig:
        """Return the settings.

        Raises
        ------
        ConfigError
            Where they contradict each other.
        """
        chosen = str(self.class_box.currentText())
        label = "" if chosen == _NO_CLASSES else chosen
        return dataclasses.replace(self.form.read_config(), label=label)

    def read_inputs(self) -> "tuple[AnnData, RnaCells]":
        """Return patches and cells.

        Raises
        ------
        TableError
            Saying what to do.
        """
        table, rna = self._state.study.table, self._state.rna
        if table is None:
            raise TableError("There are no patches. Analyse an image, or open a table in Explore.")
        if rna is None:
            raise TableError("There are no RNA cells. Prepare or open them in the tab RNA.")
        return table, rna

    def refresh(self) -> None:
        """Show what there is."""
        table, rna = self._state.study.table, self._state.rna
        patches = "no patches yet" if table is None else f"{table.n_obs:,} patches"
        cells = "no RNA cells yet" if rna is None else f"{rna.table.n_obs:,} RNA cells"
        self.inputs_label.setText(f"{patches}, {cells}")
        self._offer_classes()
        coupling = self._state.coupling
        for widget in (self.verdict_label, self.figures_label):
            widget.setVisible(coupling is not None)
        self.explanation.clear()
        self.nulls.show_null({"losses": {}, "observed": []})
        self.basins.show_basins([])
        if coupling is not None:
            self._show_figures(coupling.figures)

    def _offer_classes(self) -> None:
        before = str(self.class_box.currentText())
        columns = [_NO_CLASSES, *self._state.class_columns()]
        self.class_box.blockSignals(True)
        self.class_box.clear()
        self.class_box.addItems(columns)
        usual = Keys.GENOTYPE if before in ("", _NO_CLASSES) else before
        self.class_box.setCurrentIndex(columns.index(usual) if usual in columns else 0)
        self.class_box.blockSignals(False)

    def _show_figures(self, figures: Any) -> None:
        verdict = str(figures["verdict"])
        self.verdict_label.setText(f"Verdict: {verdict}")
        colour = _COLOURS.get(verdict, "#5c5c5c")
        self.verdict_label.setStyleSheet(
            f"QLabel {{ background: {colour}; color: white; font-weight: bold; padding: 5px; }}"
        )
        self.explanation.show_plain(" ".join([*figures["explanation"], *figures["warnings"]]))
        self.nulls.show_null(figures["null"])
        self.basins.show_basins(figures["basins"])
        self.figures_label.setText("\n".join(describe_figures(figures)))

    def shut_down(self) -> None:
        """Stop listening."""
        for signal in self._signals:
            signal.disconnect(self.refresh, missing_ok=True)


def _say_source(used: Any) -> str:
    return ", ".join([used["from"], *used["steps"]])


def describe_figures(figures: Any) -> list[str]:
    """Return the main figures of ``coupling.json`` as a person reads them."""
    support, errors = figures["effective_support"], figures["marginal_error"]
    across = figures["agreement"]["across_k"]
    others = [f"{value:.2f} (k {k})" for k, value in across.items() if k != str(figures["k"])]
    used = figures["used"]
    lines = [
        f"Coupled: patches {_say_source(used['image'])} with RNA {_say_source(used['rna'])}.",
        f"k {', '.join(map(str, figures['k_averaged']))}, epsilon {figures['epsilon']:g}, "
        f"loss {figures['loss']:.4f}, solver {figures['solver'].replace('_', ' ')}.",
        f"A patch is coupled with {support['mean']:.0f} of {figures['n_rna_cells']:,} cells on "
        "average.",
    ]
    if others:
        lines.append(f"Agreement with other numbers of neighbours: {', '.join(others)}.")
    lines.append(f"Marginal errors {errors['rows']:.1e} and {errors['columns']:.1e}.")
    transfer = figures.get("label_transfer")
    if transfer is not None and figures["settings"].get("classes", "scores") != "scores":
        lines.append("Label transfer says nothing: classes were given to the coupling.")
    elif transfer is not None:
        score = transfer["to_images"]
        lines.append(
            f"Label transfer to patches {score['barycentric']:.2f} "
            f"(permuted labels {score['null_mean']:.2f}, at most {score['null_max']:.2f})."
        )
    return lines
