"""What every dock widget shares: it lets go of its jobs when its dock is closed."""

from qtpy.QtCore import QEvent
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QWidget
from typing_extensions import override


class Dock(QWidget):
    """A widget in a dock of napari."""

    def _shut_down(self) -> None:
        """Cancel jobs and let go of signals; may be called more than once."""

    @override
    def event(self, event: QEvent | None) -> bool:
        # napari takes the widget out of its dock when the dock is closed, and tells nobody.
        is_moved = event is not None and event.type() == QEvent.Type.ParentChange
        if is_moved and self.parent() is None:
            self._shut_down()
        return bool(super().event(event))

    @override
    def closeEvent(self, event: QCloseEvent | None) -> None:
        self._shut_down()
        super().closeEvent(event)
