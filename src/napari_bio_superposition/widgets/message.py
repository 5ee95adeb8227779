"""A line that tells the user one sentence, with details on demand. It decides nothing."""

from typing import Literal

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QPalette, QShowEvent
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from napari_bio_superposition.widgets.failures import Failure

Tone = Literal["plain", "good", "error"]

_COLOURS: dict[Tone, tuple[str, str]] = {
    "plain": ("", ""),
    "good": ("#1b6e3c", "#7fd6a0"),
    "error": ("#b3261e", "#ff9d94"),
}
"""Text colour on a light and on a dark background, each with a contrast above 4.5."""


class MessageLine(QWidget):
    """Shows one sentence; hidden while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._details = ""
        self._tone: Tone = "plain"
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.details_button = QPushButton("Details…")
        self.details_button.clicked.connect(self._show_details)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._label, 1)
        row.addWidget(self.details_button, 0, Qt.AlignmentFlag.AlignTop)
        self.clear()

    @property
    def text(self) -> str:
        """The sentence; empty while there is none."""
        return self._text

    @property
    def tone(self) -> Tone:
        """Whether it tells of an error, of a success, or of neither."""
        return self._tone

    def clear(self) -> None:
        """Say nothing."""
        self._show("", "plain")

    def show_plain(self, text: str) -> None:
        """Tell how things are."""
        self._show(text, "plain")

    def show_good(self, text: str) -> None:
        """Tell that something went well."""
        self._show(text, "good")

    def show_error(self, text: str) -> None:
        """Tell what is wrong and what to do."""
        self._show(text, "error")

    def show_failure(self, failure: Failure) -> None:
        """Tell why a job failed; the details are one click away where it was not foreseen."""
        self._show(failure.message, "error", details="" if failure.expected else failure.details)

    def _show(self, text: str, tone: Tone, *, details: str = "") -> None:
        self._text, self._tone, self._details = text, tone, details
        self._label.setText(text)
        self._colour()
        self.details_button.setVisible(bool(details))
        self.setVisible(bool(text))

    @override
    def showEvent(self, event: QShowEvent | None) -> None:
        super().showEvent(event)
        self._colour()

    @override
    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._colour()  # the user changed napari's theme

    def _colour(self) -> None:
        # napari themes by style sheet, which the palette of this widget reflects once it is
        # polished; the label's own palette already holds the colour that is set here.
        self.ensurePolished()
        is_dark = self.palette().color(QPalette.ColorRole.WindowText).lightness() > 127
        colour = _COLOURS[self._tone][1 if is_dark else 0]
        self._label.setStyleSheet(f"color: {colour};" if colour else "")

    def _show_details(self) -> None:
        dialog = QDialog(self)
        dialog.setWindowTitle("Details for a report")
        text = QPlainTextEdit(self._details)
        text.setReadOnly(True)
        text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(dialog.reject)
        layout = QVBoxLayout(dialog)
        layout.addWidget(text)
        layout.addWidget(buttons)
        dialog.resize(640, 400)
        dialog.open()
