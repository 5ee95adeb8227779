"""Joins a scatter plot with the study's selection, both ways. It knows no other view."""

import numpy as np

from napari_bio_superposition.widgets.scatter_scene import Mask
from napari_bio_superposition.widgets.scatter_view import ScatterView
from napari_bio_superposition.widgets.selection import SelectionMode
from napari_bio_superposition.widgets.study import Study


class SelectionLink:
    """What is chosen in a plot is selected in the study, and what is selected shows in the plot.

    Parameters
    ----------
    study
        Of the viewer.
    view
        A plot with one point per row of the study's table.
    """

    def __init__(self, study: Study, view: ScatterView) -> None:
        self._study = study
        self._view = view
        view.region_chosen.connect(self._on_region)
        view.row_clicked.connect(self._on_clicked)
        view.undo_asked.connect(study.selection.undo)
        view.redo_asked.connect(study.selection.redo)
        view.came_into_sight.connect(self.refresh)
        study.selection_changed.connect(self._on_selected)

    def close(self) -> None:
        """Stop listening to the study."""
        self._study.selection_changed.disconnect(self._on_selected, missing_ok=True)

    def refresh(self) -> None:
        """Show the selection as it is."""
        self._on_selected()

    def _on_region(self, mask: Mask, mode: SelectionMode) -> None:
        self._study.selection.select(mask, mode, source="plot")

    def _on_clicked(self, row: int | None, mode: SelectionMode) -> None:
        selection = self._study.selection
        if row is None:
            if mode == "replace":
                selection.clear(source="plot")
            return
        selection.select([row], "toggle" if mode == "remove" else mode, source="plot")

    def _on_selected(self, *_: object) -> None:
        selection = self._study.selection
        if selection.n_rows != len(self._view.scene):
            return  # the plot is about to show another table
        if not self._view.isVisible():
            return  # a plot behind another tab follows when it comes into sight
        n_selected = len(selection)
        self._view.set_selected(selection.mask if n_selected else None)
        only = int(np.argmax(selection.mask)) if n_selected == 1 else None
        self._view.set_current(only)
