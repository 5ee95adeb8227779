"""The tab with the scatter plot: which layout, which colour, which points. It computes nothing."""

from typing import Any

import numpy as np
from qtpy.QtCore import QStringListModel, Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCompleter,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.widgets.explore_card import HoverCard
from napari_bio_superposition.widgets.explore_controller import DENSITY, PLAIN, ExploreController
from napari_bio_superposition.widgets.explore_link import SelectionLink
from napari_bio_superposition.widgets.explore_table import Layout
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.scatter_colour import Colouring
from napari_bio_superposition.widgets.scatter_view import ScatterView, Tool

FEATURE = "feature…"
_TOOLS: tuple[tuple[Tool, str, str], ...] = (
    ("lasso", "Lasso", "Draw around points. Shift adds, Ctrl takes away."),
    ("rectangle", "Box", "Draw a rectangle. Shift adds, Ctrl takes away."),
    ("pan", "Move", "Drag the plot; the right button does so with any tool. Wheel: zoom."),
)
_HINT = "No patches to show yet.\nAnalyse an image, or open a table (.h5ad, .zarr)."
_NO_LAYOUT = "This table has no layout yet.\nPress Compute layouts and trajectory."
_LARGEST_POINT_PX = 15
_NARROW = "QPushButton { padding: 3px 6px; }"


class EmbeddingPanel(QWidget):
    """Shows one layout of the study's table, coloured, linked with the selection.

    Parameters
    ----------
    controller
        Knows the table.
    """

    feature_asked = Signal(str)
    """Colour by this feature; whoever can read it answers with `show_colouring`."""
    open_clicked = Signal()
    save_clicked = Signal()
    export_clicked = Signal()

    def __init__(self, controller: ExploreController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._layouts: list[Layout] = []
        self._shown: tuple[int, Layout, int] | None = None
        self.open_button, self.save_button = QPushButton("Open table…"), QPushButton("Save table…")
        self.save_button.setToolTip("Save the table with its groups, layouts and pseudotime")
        self.table_label = QLabel()
        self.layout_box, self.colour_box = CalmComboBox(), CalmComboBox()
        self.feature_line = QLineEdit()
        self.size_box = QSpinBox()
        self.view = ScatterView()
        self.hover = HoverCard(controller, self.view, lambda: self.colour_name)
        self.card = self.hover.card
        self.tool_buttons: dict[Tool, QPushButton] = {}
        self.fit_button, self.export_button = QPushButton(), QPushButton()
        self.undo_button, self.redo_button = QPushButton(), QPushButton()
        self._actions = (
            self.fit_button, self.undo_button, self.redo_button, self.export_button,
        )  # fmt: skip
        self._prepare()
        self._lay_out()
        self.link = SelectionLink(controller.study, self.view)
        self._connect()
        self.refresh()

    def _prepare(self) -> None:
        self.layout_box.setAccessibleName("Layout")
        self.colour_box.setAccessibleName("Colour by")
        self.feature_line.setPlaceholderText("Name of a feature, then Enter")
        self._names = QStringListModel(self)
        completer = QCompleter(self._names, self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.feature_line.setCompleter(completer)
        self.size_box.setRange(1, _LARGEST_POINT_PX)
        self.size_box.setValue(3)
        self.size_box.setSuffix(" px")
        self.size_box.setToolTip("Size of a point")
        group = QButtonGroup(self)
        for tool, text, tip in _TOOLS:
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setCheckable(True)
            group.addButton(button)
            self.tool_buttons[tool] = button
        self.tool_buttons[self.view.tool].setChecked(True)
        for button, text, tip in (
            (self.fit_button, "All", "Show all points (double click)"),
            (self.undo_button, "Undo", "The selection before (Ctrl+Z in the plot)"),
            (self.redo_button, "Redo", "The selection after (Ctrl+Shift+Z in the plot)"),
            (self.export_button, "Export…", "Save this plot as PDF, SVG or PNG"),
        ):
            button.setText(text)
            button.setToolTip(tip)
        for button in (*self.tool_buttons.values(), *self._actions):
            button.setStyleSheet(_NARROW)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.open_button)
        top.addWidget(self.save_button)
        top.addWidget(self.table_label, 1)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        first = QHBoxLayout()
        first.addWidget(self.layout_box, 1)
        first.addWidget(self.size_box)
        form.addRow("Layout", first)
        second = QHBoxLayout()
        second.addWidget(self.colour_box, 1)
        second.addWidget(self.feature_line, 1)
        form.addRow("Colour", second)
        tools = QHBoxLayout()
        tools.setSpacing(3)
        for button in (*self.tool_buttons.values(), self.fit_button):
            tools.addWidget(button)
        tools.addStretch(1)
        for button in self._actions[1:]:
            tools.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 0)
        layout.addLayout(top)
        layout.addLayout(form)
        layout.addLayout(tools)
        layout.addWidget(self.view, 1)

    def _connect(self) -> None:
        study = self._controller.study
        self.open_button.clicked.connect(self.open_clicked)
        self.save_button.clicked.connect(self.save_clicked)
        self.export_button.clicked.connect(self.export_clicked)
        self.layout_box.currentIndexChanged.connect(self._on_layout_chosen)
        self.colour_box.currentIndexChanged.connect(self._on_colour_chosen)
        self.feature_line.returnPressed.connect(self._on_feature_named)
        self.size_box.valueChanged.connect(self.view.set_diameter)
        for tool, button in self.tool_buttons.items():
            button.toggled.connect(lambda is_on, tool=tool: self._on_tool(tool, is_on))
        self.fit_button.clicked.connect(self.view.show_all)
        self.undo_button.clicked.connect(study.selection.undo)
        self.redo_button.clicked.connect(study.selection.redo)

    # --- what is shown -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the study's table, with the layout and the colour that were chosen where it can."""
        table = self._controller.table
        layout, colour = self.layout_box.currentText(), self.colour_name
        self._layouts = self._controller.layouts
        _fill(self.layout_box, [one.name for one in self._layouts], layout)
        columns = self._controller.columns
        extra = [FEATURE] if self._controller.features else []
        _fill(self.colour_box, [PLAIN, DENSITY, *columns, *extra], colour)
        self._names.setStringList(self._controller.features)
        self.table_label.setText("" if table is None else f"{table.n_obs:,} patches")
        self.save_button.setEnabled(table is not None)
        self.view.hint = _HINT if table is None else _NO_LAYOUT
        self.feature_line.setVisible(self.colour_name == FEATURE)
        self._show_layout()

    @property
    def layout_shown(self) -> Layout | None:
        """The layout that is shown."""
        index = self.layout_box.currentIndex()
        return self._layouts[index] if 0 <= index < len(self._layouts) else None

    @property
    def colour_name(self) -> str:
        """What the colour box says."""
        return str(self.colour_box.currentText())

    def choose_layout(self, name: str) -> None:
        """Choose a layout by its name, where there is one."""
        self.layout_box.setCurrentIndex(max(0, self.layout_box.findText(name)))

    def choose_feature(self, feature: str) -> None:
        """Colour by a feature."""
        self.feature_line.setText(feature)
        index = self.colour_box.findText(FEATURE)
        if index != self.colour_box.currentIndex():
            self.colour_box.setCurrentIndex(index)  # asks for the feature by itself
        else:
            self._on_feature_named()

    def show_colouring(self, colouring: Colouring) -> None:
        """Colour the points, where the colouring still fits the table."""
        if len(colouring.codes) == len(self.view.scene):
            self.view.set_colouring(colouring)

    def _show_layout(self) -> None:
        layout, table = self.layout_shown, self._controller.table
        if layout is None or table is None:
            self._shown = None
            self.view.set_points(np.zeros((0, 2)))
            return
        shown = (id(table), layout, id(table.obsm[layout.key]))
        if shown == self._shown:  # the same points: the view stays where the user moved it
            feature = self.feature_line.text().strip()
            if self.colour_name != FEATURE or self.view.scene.colouring.title != feature:
                self._show_colour()
            return
        self._shown = shown
        self.view.axis_names = layout.axis_names
        self.view.set_points(layout.points_of(table))
        self.link.refresh()
        self._show_colour()

    def _show_colour(self) -> None:
        if self.colour_name == FEATURE:
            self._on_feature_named()
        elif len(self.view.scene):
            self.show_colouring(self._controller.colour(self.colour_name))

    # --- what the user does ------------------------------------------------------------------

    def _on_layout_chosen(self) -> None:
        self._show_layout()

    def _on_colour_chosen(self) -> None:
        is_feature = self.colour_name == FEATURE
        self.feature_line.setVisible(is_feature)
        if is_feature and not self.feature_line.text():
            self.feature_line.setFocus()
            return
        self._show_colour()

    def _on_feature_named(self) -> None:
        name = self.feature_line.text().strip()
        if name and len(self.view.scene):
            self.feature_asked.emit(name)

    def _on_tool(self, tool: Tool, is_on: bool) -> None:
        if is_on:
            self.view.tool = tool

    def shut_down(self) -> None:
        """Stop listening to the study."""
        self.link.close()


def _fill(box: Any, texts: list[str], chosen: str) -> None:
    """Offer other choices, quietly; the present one stays where it is among them."""
    box.blockSignals(True)
    box.clear()
    box.addItems(texts)
    if texts:
        box.setCurrentIndex(texts.index(chosen) if chosen in texts else 0)
    box.blockSignals(False)
