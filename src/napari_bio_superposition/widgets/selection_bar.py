"""How many patches are selected, undo, redo, and groups. It selects nothing itself."""

from qtpy.QtWidgets import QHBoxLayout, QInputDialog, QLabel, QToolButton, QWidget

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.widgets.image_link import REDO_KEY, UNDO_KEY
from napari_bio_superposition.widgets.study import Study


class SelectionBar(QWidget):
    """Tells of the selection; buttons step through it and save it as a group.

    Parameters
    ----------
    study
        Owns the selection.
    """

    def __init__(self, study: Study, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._study = study
        self.label = QLabel()
        self.undo_button = _make_button("↶", f"Undo the last selection ({UNDO_KEY})")
        self.redo_button = _make_button("↷", f"Redo the selection ({REDO_KEY})")
        self.clear_button = _make_button("None", "Select nothing")
        self.save_button = _make_button("Save group…", "Keep the selected patches under a name")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label, 1)
        for button in (self.undo_button, self.redo_button, self.clear_button, self.save_button):
            row.addWidget(button)
        self.undo_button.clicked.connect(study.selection.undo)
        self.redo_button.clicked.connect(study.selection.redo)
        self.clear_button.clicked.connect(self._clear)
        self.save_button.clicked.connect(self._ask_name)
        study.selection_changed.connect(self.refresh)
        study.table_changed.connect(self.refresh)
        self.refresh()

    def refresh(self, *_: str) -> None:
        """Show the selection as it is."""
        selection = self._study.selection
        n = len(selection)
        self.label.setText(f"{n:,} of {selection.n_rows:,} selected")
        self.label.setToolTip("Patches. Click one on the image; Shift adds, Ctrl toggles")
        self.undo_button.setEnabled(selection.can_undo)
        self.redo_button.setEnabled(selection.can_redo)
        self.clear_button.setEnabled(n > 0)
        self.save_button.setEnabled(n > 0)

    def _clear(self) -> None:
        self._study.selection.clear()

    def _ask_name(self) -> None:
        name, is_ok = QInputDialog.getText(self, "Save group", "Name of the group")
        if not is_ok:
            return
        try:
            self._study.save_group(name)
        except TableError as error:
            self.label.setText(str(error))


def _make_button(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    return button
