"""What the Analyse widget does, without a widget: works on any viewer model. No Qt."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.widgets.analysis_jobs import (
    FinishedAnalysis,
    analyze_source,
    load_result,
    save_result,
)
from napari_bio_superposition.widgets.feature_display import FeatureDisplay
from napari_bio_superposition.widgets.garbage import with_quick_collections
from napari_bio_superposition.widgets.overlays import OverlayLayers, ScaleMode
from napari_bio_superposition.widgets.result_layers import make_result_layers
from napari_bio_superposition.widgets.sources import ImageSource, SourcePixels, find_sources
from napari_bio_superposition.widgets.study import Study

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What the list of features shows, one entry per latent; plain arrays."""

    mean: npt.NDArray[np.float64]
    firing_rate: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mean)

    @classmethod
    def of_table(cls, table: Any) -> "FeatureStatistics":
        """Take the statistics from the columns of a feature table."""
        names = (Keys.MEAN_ACTIVATION, Keys.FIRING_RATE, Keys.MAX_ACTIVATION)
        return cls(*(np.asarray(table.var[name], float) for name in names))


class AnalyseController:
    """Holds the result that is shown, and turns choices into jobs, layers and overlays.

    Parameters
    ----------
    viewer
        The napari viewer or a bare `ViewerModel`.
    """

    result_changed = Signal()
    """Another result is shown, or none."""
    overlay_removed = Signal(int)
    """The layer of this latent is gone."""

    def __init__(self, viewer: "ViewerModel") -> None:
        self._viewer = viewer
        self.study = Study.of(viewer)
        self._result: FinishedAnalysis | None = None
        self._result_layers: list[ref[Layer]] = []
        self.display = FeatureDisplay.of(viewer)
        self.display.removed.connect(self._on_overlay_removed)

    @property
    def overlays(self) -> OverlayLayers:
        """The layers of features, shared by all docks of the viewer."""
        return self.display.overlays

    @property
    def result(self) -> FinishedAnalysis | None:
        """The result that is shown."""
        return self._result

    @property
    def statistics(self) -> FeatureStatistics | None:
        """The features of the result; ``None`` where they were skipped."""
        if self._result is None or self._result.analysis.table is None:
            return None
        return FeatureStatistics.of_table(self._result.analysis.table)

    def sources(self) -> list[ImageSource]:
        """Return the fields of view that are open."""
        return find_sources(self._viewer.layers)

    def analyze(self, source: ImageSource, config: "AnalyzeConfig") -> Job[FinishedAnalysis]:
        """Return the job that analyses *source*; networks of the last run are used again."""
        models = None
        if self._result is not None and _networks(self._result.config) == _networks(config):
            models = self._result.models
        return analyze_source(SourcePixels.take(source), config, models)

    def load(self, source: ImageSource, folder: Path) -> Job[FinishedAnalysis]:
        """Return the job that brings a saved result back onto *source*."""
        return load_result(SourcePixels.take(source), folder)

    def save(self, folder: Path) -> Job[Path]:
        """Return the job that writes the result that is shown.

        Raises
        ------
        TableError
            Where there is none.
        """
        if self._result is None:
            raise TableError("There is no result yet. Press Run first.")
        return save_result(self._result, folder)

    def show(self, finished: FinishedAnalysis) -> None:
        """Show a result: all of its layers, or none where one cannot be made.

        The layers of an earlier result of the same image are replaced; those of other images stay.
        """
        layers = make_result_layers(finished.analysis, finished.geometry, finished.name)
        if self._result is not None and self._result.name == finished.name:
            self._remove_result_layers()
        self._add_all(layers)
        self._result_layers = [ref(layer) for layer in layers]
        self._result = finished
        self.study.add_analysis(
            finished.analysis, finished.models, geometry=finished.geometry, name=finished.name
        )
        self.result_changed.emit()

    def check_features(self) -> None:
        """Make sure that there are features to show.

        Raises
        ------
        TableError
            Where there is no result.
        """
        if self._result is None:
            raise TableError("There is no result yet. Press Run first.")

    def hide_overlay(self, latent: int) -> None:
        """Remove the overlay of one latent."""
        self.display.hide(latent)

    def set_scale_mode(self, mode: ScaleMode) -> None:
        """Colour by one fixed scale per feature, or by each image's own range."""
        self.display.set_look(scale_mode=mode)

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of overlays, present and future ones."""
        self.display.set_look(opacity=opacity)

    def close(self) -> None:
        """Let go of the result; the study keeps what other docks show."""
        self.display.removed.disconnect(self._on_overlay_removed)
        self._result = None
        self._result_layers.clear()

    def _on_overlay_removed(self, latent: int) -> None:
        self.overlay_removed.emit(latent)

    def _add_all(self, layers: "list[Layer]") -> None:
        added: list[Layer] = []
        try:
            for layer in layers:
                self._viewer.layers.append(layer)
                added.append(layer)
        except BaseException:
            for layer in added:
                with suppress(ValueError):
                    self._viewer.layers.remove(layer)
            raise

    def _remove_result_layers(self) -> None:
        with with_quick_collections():
            for reference in self._result_layers:
                layer = reference()
                if layer is not None and layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)
        self._result_layers = []


def _networks(config: "AnalyzeConfig") -> tuple[str, ...]:
    """Return what decides which networks are loaded, and where."""
    segmentation = config.segmentation
    return config.model, config.device, segmentation.method, segmentation.weights
