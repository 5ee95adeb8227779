"""Choice of the image among the open layers, and of the role of each channel. It reads no pixel."""

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_bio_superposition.core.types import ROLES
from napari_bio_superposition.imaging.roles import guess_roles
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.message import MessageLine
from napari_bio_superposition.widgets.sources import ImageSource

_NO_CHANNEL = "—"
_AXES_TEXT = {
    "CYX": "first axis: channels",
    "ZYX": "first axis: focal planes (maximum)",
    "CZYX": "channels, focal planes (maximum)",
    "ZCYX": "focal planes (maximum), channels",
}
_NO_IMAGE = (
    "Open an image, press Open image…, or take the sample: File > Open Sample > Bio Superposition."
)


class ChannelPanel(QWidget):
    """Shows the open fields of view; the user picks one and says what its channels show."""

    changed = Signal()
    """Another image, another meaning of its axes, or another role."""
    open_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sources: list[ImageSource] = []
        self._chosen: ImageSource | None = None
        self._roles: tuple[str, ...] = ROLES
        self.image_box = CalmComboBox()
        self.image_box.setToolTip("One layer with a channel axis, or layers of one size and place")
        self.open_button = QPushButton("Open image…")
        self.open_button.setToolTip("TIFF, OME-TIFF, OME-Zarr or a Harmony export")
        self.axes_label, self.axes_box = QLabel("Axes"), CalmComboBox()
        self.role_boxes: dict[str, CalmComboBox] = {}
        self.message = MessageLine()
        self._role_rows = QFormLayout()
        self._role_rows.setContentsMargins(0, 0, 0, 0)
        self._lay_out()
        self._make_role_rows()
        self.image_box.currentIndexChanged.connect(self._on_image_chosen)
        self.axes_box.currentIndexChanged.connect(self._on_axes_chosen)
        self.open_button.clicked.connect(self.open_clicked)
        self.set_sources([])

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.image_box, 1)
        top.addWidget(self.open_button)
        axes = QHBoxLayout()
        axes.addWidget(self.axes_label)
        axes.addWidget(self.axes_box, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addLayout(axes)
        layout.addLayout(self._role_rows)
        layout.addWidget(self.message)

    @property
    def source(self) -> ImageSource | None:
        """The chosen field of view."""
        return self._chosen

    @property
    def chosen_roles(self) -> dict[str, str]:
        """Role to channel name; empty for a role that no channel plays."""
        roles = {}
        for role, box in self.role_boxes.items():
            roles[role] = box.currentText() if box.currentIndex() > 0 else ""
        return roles

    def set_sources(self, sources: Sequence[ImageSource]) -> None:
        """Offer other fields of view; the chosen one stays chosen while it is there."""
        self._sources = list(sources)
        keep = [i for i, source in enumerate(sources) if source.same_layers(self._chosen)]
        before = self._chosen
        self.image_box.blockSignals(True)
        self.image_box.clear()
        for index, source in enumerate(sources):
            self.image_box.addItem(source.name)
            channels = ", ".join(source.channel_names)
            self.image_box.setItemData(index, channels, Qt.ItemDataRole.ToolTipRole)
        self.image_box.setCurrentIndex(keep[0] if keep else len(sources) - 1)
        self.image_box.blockSignals(False)
        self.image_box.setEnabled(bool(sources))
        if keep and before is not None and before.axes in sources[keep[0]].axes_choices:
            self._keep(sources[keep[0]].with_axes(before.axes), before)
        else:
            self._choose(sources[-1] if sources else None)

    def set_roles(self, roles: Sequence[str]) -> None:
        """Offer a row for each of *roles*: the usual ones and those a model names."""
        wanted = (*ROLES, *(role for role in roles if role not in ROLES))
        if wanted != self._roles:
            self._roles = wanted
            self._make_role_rows()
            self._fill_channels({})

    def set_chosen_roles(self, roles: Mapping[str, str]) -> None:
        """Choose channels by role, as a saved result has them."""
        for role, box in self.role_boxes.items():
            box.blockSignals(True)
            box.setCurrentIndex(max(0, box.findText(roles.get(role, ""))))
            box.blockSignals(False)
        self.changed.emit()

    def _make_role_rows(self) -> None:
        while self._role_rows.rowCount():
            self._role_rows.removeRow(0)
        self.role_boxes = {}
        for role in self._roles:
            box = CalmComboBox()
            box.setAccessibleName(f"Channel of {role}")
            box.setToolTip(f"Channel that shows {role}")
            box.currentIndexChanged.connect(lambda _: self.changed.emit())
            self.role_boxes[role] = box
            self._role_rows.addRow(role.capitalize(), box)

    def _keep(self, source: ImageSource, before: ImageSource) -> None:
        """Take a fresh description of the same layers; roles stay unless channels were renamed."""
        self._chosen = source
        self._show_axes()
        if source.channel_names != before.channel_names:
            index_of = {name: i for i, name in enumerate(before.channel_names)}
            renamed = {
                role: source.channel_names[index_of[name]]
                for role, name in self.chosen_roles.items()
                if name in index_of and len(source.channel_names) == len(before.channel_names)
            }
            self._fill_channels(renamed)
        self.changed.emit()

    def _choose(self, source: ImageSource | None) -> None:
        self._chosen = source
        self._show_axes()
        self._fill_channels({})
        if source is None:
            self.message.show_plain(_NO_IMAGE)
        else:
            self.message.clear()
        self.changed.emit()

    def _show_axes(self) -> None:
        choices = self._chosen.axes_choices if self._chosen is not None else ()
        self.axes_box.blockSignals(True)
        self.axes_box.clear()
        for axes in choices:
            self.axes_box.addItem(_AXES_TEXT.get(axes, axes), axes)
        if self._chosen is not None:
            self.axes_box.setCurrentIndex(choices.index(self._chosen.axes))
        self.axes_box.blockSignals(False)
        self.axes_label.setVisible(len(choices) > 1)
        self.axes_box.setVisible(len(choices) > 1)

    def _fill_channels(self, preferred: Mapping[str, str]) -> None:
        names = self._chosen.channel_names if self._chosen is not None else ()
        roles = guess_roles(names)
        if self._chosen is not None:
            roles |= self._chosen.roles
        roles |= preferred
        for role, box in self.role_boxes.items():
            box.blockSignals(True)
            box.clear()
            box.addItems([_NO_CHANNEL, *names])
            box.setCurrentIndex(names.index(roles[role]) + 1 if roles.get(role) in names else 0)
            box.setEnabled(bool(names))
            box.blockSignals(False)

    def _on_image_chosen(self, index: int) -> None:
        self._choose(self._sources[index] if 0 <= index < len(self._sources) else None)

    def _on_axes_chosen(self, index: int) -> None:
        if self._chosen is not None and index >= 0:
            self._choose(self._chosen.with_axes(self.axes_box.itemData(index)))
