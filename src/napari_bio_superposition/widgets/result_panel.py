"""What an analysis gave: summary, list of features, saving and loading. It computes nothing."""

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_bio_superposition.widgets.controller import AnalyseController
from napari_bio_superposition.widgets.feature_list import FeatureList
from napari_bio_superposition.widgets.summary import summarize

_NO_RESULT = "No result yet: press Run, or load a result of the chosen image."
_NOTES_HEIGHT_PX = 96


class ResultPanel(QWidget):
    """Shows the controller's result."""

    save_clicked = Signal()
    load_clicked = Signal()

    def __init__(self, controller: AnalyseController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.title = QLabel()
        self.title.setStyleSheet("font-weight: bold;")
        self.summary = QLabel()
        self.notes = QLabel()
        for label in (self.title, self.summary, self.notes):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.notes.setMaximumHeight(_NOTES_HEIGHT_PX)
        self.features = FeatureList(controller)
        self.save_button = QPushButton("Save result…")
        self.load_button = QPushButton("Load result…")
        self.save_button.clicked.connect(self.save_clicked)
        self.load_button.clicked.connect(self.load_clicked)
        self._lay_out()
        controller.result_changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.save_button)
        buttons.addWidget(self.load_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        for widget in (self.title, self.summary, self.notes):
            layout.addWidget(widget)
        layout.addWidget(self.features, 1)
        layout.addLayout(buttons)

    def refresh(self) -> None:
        """Show the controller's present result."""
        result = self._controller.result
        self._is_ready = result is not None
        lines = [_NO_RESULT] if result is None else summarize(result.analysis)
        self.title.setText("" if result is None else result.name)
        self.title.setVisible(result is not None)
        self.summary.setText(lines[0])
        self.notes.setText("\n".join(lines[1:]))
        self.notes.setToolTip("\n".join(lines[1:]))
        self.notes.setVisible(len(lines) > 1)
        self.set_busy(False)

    def set_busy(self, is_busy: bool) -> None:
        """Allow saving and loading only while no job runs."""
        self.save_button.setEnabled(self._is_ready and not is_busy)
        self.load_button.setEnabled(not is_busy)
