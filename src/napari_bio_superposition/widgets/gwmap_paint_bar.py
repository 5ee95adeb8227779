"""The line below genes and landscape that paints: what, into which slot, with which uncertainty."""

from collections.abc import Sequence
from typing import Final

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QLineEdit, QPushButton, QWidget

from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.gwmap_charts import ColourBar
from napari_bio_superposition.widgets.gwmap_painting import SLOTS, Shown, Uncertainty

_UNCERTAINTY: Final[tuple[tuple[str, Uncertainty], ...]] = (
    ("as opacity", "opacity"),
    ("as a layer", "layer"),
    ("not shown", "none"),
)


class PaintBar(QWidget):
    """Names of genes, slot, uncertainty, and the scale of what was painted last."""

    paint_clicked = Signal()
    clear_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.genes_line = QLineEdit()
        self.genes_line.setPlaceholderText("Gene, or genes of a module: A, B, C")
        self.slot_box, self.uncertainty_box = CalmComboBox(), CalmComboBox()
        self.slot_box.addItems([f"layer {slot}" for slot in SLOTS])
        self.slot_box.setToolTip("Each slot is one layer per image, which the next gene takes over")
        for text, kind in _UNCERTAINTY:
            self.uncertainty_box.addItem(text, kind)
        self.uncertainty_box.setToolTip(
            "Spread over alternative alignments, numbers of neighbours and folds"
        )
        self.paint_button, self.clear_button = QPushButton("Paint"), QPushButton("Clear")
        self.clear_button.setToolTip("Remove all painted layers")
        self.scale = ColourBar()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.genes_line, 0, 0, 1, 3)
        layout.addWidget(self.paint_button, 0, 3)
        layout.addWidget(self.slot_box, 1, 0)
        layout.addWidget(QLabel("uncertainty"), 1, 1)
        layout.addWidget(self.uncertainty_box, 1, 2)
        layout.addWidget(self.clear_button, 1, 3)
        layout.addWidget(self.scale, 2, 0, 1, 4)
        self.genes_line.returnPressed.connect(self.paint_clicked)
        self.paint_button.clicked.connect(self.paint_clicked)
        self.clear_button.clicked.connect(self.clear_clicked)

    @property
    def genes(self) -> list[str]:
        """Names that were typed or clicked, each once."""
        names = (name.strip() for name in self.genes_line.text().split(","))
        return list(dict.fromkeys(name for name in names if name))

    def set_genes(self, names: Sequence[str]) -> None:
        """Show other names."""
        self.genes_line.setText(", ".join(names))
        self.genes_line.setCursorPosition(0)

    @property
    def slot(self) -> str:
        """Which of `SLOTS` is painted into."""
        return SLOTS[self.slot_box.currentIndex()]

    @property
    def uncertainty(self) -> Uncertainty:
        """How the spread is shown."""
        chosen: Uncertainty = self.uncertainty_box.currentData()
        return chosen

    def show_scale(self, shown: Shown | None) -> None:
        """Show what the colours of a slot mean; nothing without one."""
        if shown is None:
            self.scale.hide()
            return
        import numpy as np
        from napari.utils.colormaps import ensure_colormap

        colours = np.asarray(ensure_colormap(shown.colormap).map(np.linspace(0, 1, 9)))
        self.scale.show_scale(f"{shown.name}, {shown.unit}", shown.limits, colours.tolist())
