"""What the pages of the Features dock have in common. No science."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.message import MessageLine

if TYPE_CHECKING:
    from napari_bio_superposition.widgets.failures import Failure


class FeaturesPage(QWidget):
    """One page, whose work the dock's Run button starts.

    The abstract methods are checked by mypy: Qt's metaclass leaves no room for that of `abc`.

    Parameters
    ----------
    explorer
        What the viewer holds.
    """

    title = ""
    tip = ""
    run_text = "Run"
    """Text of the Run button."""

    latent_chosen = Signal(int)
    """The user wants to look at this feature."""

    channel_chosen = Signal(int)
    """The user wants to look at this CNN channel."""

    row_opened = Signal(int)
    """The user wants to see this patch in its image."""

    job_wanted = Signal(object)
    """A job that the dock is to run, as its Run button does; `show_outcome` gets its result."""

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.explorer = explorer
        self.message = MessageLine()
        self.page_layout = QVBoxLayout(self)
        self.page_layout.setContentsMargins(0, 4, 0, 0)
        self.page_layout.setSpacing(4)

    @abstractmethod
    def make_job(self) -> Job[Any]:
        """Return what Run starts.

        Raises
        ------
        BioSuperpositionError
            Where something is missing; says what to do.
        """

    @abstractmethod
    def show_outcome(self, outcome: Any) -> None:
        """Show what the job of `make_job` returned."""

    def activate(self) -> None:
        """Come into sight: bring up to date what was let go out of sight."""

    def shut_down(self) -> None:
        """Stop whatever the page has under way."""

    def show_failure(self, failure: "Failure") -> None:
        """Tell why something could not be shown."""
        self.message.show_failure(failure)
