"""What the Features dock does, without a widget: works on any viewer model. No Qt, no torch."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_bio_superposition.core.errors import ModelError, RegionError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.core.types import BoolArray, IntArray
from napari_bio_superposition.widgets import explorer_jobs
from napari_bio_superposition.widgets.explorer_jobs import (
    ComparedGroups,
    DrawnChannel,
    RankedRegions,
)
from napari_bio_superposition.widgets.feature_display import FeatureDisplay
from napari_bio_superposition.widgets.feature_report import FeatureReport, collect_report
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.image_layers import make_image_layers
from napari_bio_superposition.widgets.image_link import ImageLink
from napari_bio_superposition.widgets.image_shelf import ImageShelf
from napari_bio_superposition.widgets.patch_groups import REST, PatchGroup, rows_of_group
from napari_bio_superposition.widgets.region_sources import (
    RegionSource,
    find_region_sources,
    make_drawn_layer,
    make_painted_layer,
    read_regions,
)
from napari_bio_superposition.widgets.result_layers import make_result_layers
from napari_bio_superposition.widgets.sources import METADATA_KEY
from napari_bio_superposition.widgets.study import OpenImage, Study

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from napari.layers import Labels, Shapes

    from napari_bio_superposition.features.differential_config import DifferentialConfig
    from napari_bio_superposition.features.notes import NoteBook
    from napari_bio_superposition.workflows.analyze import ImageAnalysis
    from napari_bio_superposition.workflows.explore_channels import (
        ExplainedChannel,
        MatchedChannel,
    )
    from napari_bio_superposition.workflows.loading import LoadedModels

_NO_IMAGE = "There is no analysed image yet. Open one and press Run in the dock Analyse."
_NO_FEATURES = "This result has no features. Run the analysis with a model that fits the channels."


class Explorer:
    """Joins what the pages of the Features dock need of one viewer.

    Parameters
    ----------
    viewer
        The napari viewer or a bare `ViewerModel`.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.study = Study.of(viewer)
        self.display = FeatureDisplay.of(viewer)
        self.link = ImageLink.of(viewer)
        self._compared: ComparedGroups | None = None
        self._shelf: ImageShelf | None = None
        study = self.study
        for event in (study.table_changed, study.images_changed, study.places_changed):
            event.connect(self._on_images_changed)
        self._on_images_changed()

    @property
    def layers(self) -> Any:
        """The viewer's layers."""
        return self._viewer.layers

    def image(self) -> OpenImage:
        """Return the image that is looked at.

        Raises
        ------
        TableError
            Where there is none, or it has no features.
        """
        image = self.study.current
        if image is None:
            raise TableError(_NO_IMAGE)
        if image.analysis.tokens is None:
            raise TableError(_NO_FEATURES)
        return image

    def shelf(self) -> ImageShelf:
        """Return where the images behind the table are found.

        Raises
        ------
        TableError
            Where there is no table.
        """
        if self._shelf is None:
            study = self.study
            images = list(study.images.values())
            self._shelf = ImageShelf(self._table(), images, study.places, study.models)
        return self._shelf

    @property
    def channel_roles(self) -> tuple[str, ...]:
        """Of the networks, once they are loaded."""
        models = self.study.models or (None if self._shelf is None else self._shelf.models)
        return () if models is None else models.features.card.channel_roles

    def open_image(self, image_id: str) -> Job[Any]:
        """Return the job that reads an image of the table and encodes its patches."""
        return self.shelf().encode(image_id)

    def show_image(self, analysis: "ImageAnalysis", models: "LoadedModels") -> None:
        """Add an image that `open_image` read, as if it had been analysed."""
        image = analysis.image
        layers = [
            self._viewer.add_image(data, **options) for data, options, _ in make_image_layers(image)
        ]
        geometry = Geometry.of_layer(layers[0])
        if analysis.labels is not None:
            for layer in make_result_layers(analysis, geometry, image.id):
                self._viewer.layers.append(layer)
        self.study.add_analysis(analysis, models, geometry=geometry, name=image.id)

    def look_at(self, row: int) -> bool:
        """Bring a patch into the middle of the canvas; false where its image is not open."""
        for image_id, image in self.study.images.items():
            patch = np.flatnonzero(image.rows == row)
            if patch.size:
                self.study.set_current(image_id)
                centre = image.origins[patch[0]] + image.side_px / 2
                place = image.geometry.to_world(centre)
                self._viewer.scene.camera.center = (0.0, *(float(part) for part in place))
                return True
        return False

    def image_of(self, row: int) -> str:
        """Return the image of a row of the table."""
        return str(self._table().obs[Keys.IMAGE].iloc[row])

    def _on_images_changed(self, *_: Any) -> None:
        """Remember from which files images came: they may be closed, and wanted again."""
        self._shelf = None
        for layer in self.layers:
            path = getattr(layer.source, "path", None)
            if path and METADATA_KEY in layer.metadata and Path(path).exists():
                self.study.add_place(Path(path))

    # --- regions -----------------------------------------------------------------------------

    def region_sources(self) -> list[RegionSource]:
        """Return what can be a region of the image that is looked at."""
        image = self.study.current
        return [] if image is None else find_region_sources(self.layers, self.study, image)

    def add_painted_layer(self) -> "Labels":
        """Add a layer to paint regions on, and choose its brush."""
        return self._add_active(make_painted_layer(self.image()))

    def add_drawn_layer(self) -> "Shapes":
        """Add a layer to draw regions on, and choose its lasso."""
        return self._add_active(make_drawn_layer(self.image()))

    def read_regions(self, source: RegionSource) -> Mapping[str, BoolArray]:
        """Return the masks of a source; see `region_sources.read_regions`."""
        return read_regions(source, self.layers, self.study, self.image())

    def rows_in_region(self, mask: BoolArray) -> IntArray:
        """Return the rows of the table whose patches a region touches.

        Raises
        ------
        RegionError
            Where it touches none.
        """
        from napari_bio_superposition.features.regions import patches_in_region

        image = self.image()
        touched = image.rows[patches_in_region(image.origins, image.side_px, mask) > 0]
        found: IntArray = touched[touched >= 0]
        if not found.size:
            raise RegionError("The region touches no accepted patch. Paint elsewhere.")
        return found

    def rank_regions(self, regions: Mapping[str, BoolArray]) -> Job[RankedRegions]:
        """Return the job that ranks the features of each region."""
        return explorer_jobs.rank_regions(self.image(), dict(regions))

    # --- one feature -------------------------------------------------------------------------

    def describe(self, latent: int, groupby: str) -> Job[FeatureReport]:
        """Return the job that collects what is known of a feature.

        Raises
        ------
        TableError
            Where there is no table.
        """
        shelf = self.shelf()
        models = self.study.models or shelf.models
        return collect_report(shelf.table, shelf.images, models, latent, groupby or Keys.GENOTYPE)

    def read_notes(self) -> "NoteBook":
        """Return names, notes and lists of the model's features; none where there is no model."""
        from napari_bio_superposition.features.notes import NoteBook, read_notes

        path = self._notes_path()
        return NoteBook() if path is None else read_notes(path)

    def change_notes(self, change: "Callable[[NoteBook], NoteBook]") -> "NoteBook":
        """Change names, notes or lists, on disk at once.

        Raises
        ------
        TableError
            Where there is no model, or the change is refused.
        """
        from napari_bio_superposition.features.notes import change_notes

        path = self._notes_path()
        if path is None:
            raise TableError("Notes belong to a model. Run the dock Analyse first.")
        path.parent.mkdir(parents=True, exist_ok=True)
        return change_notes(path, change)

    def _notes_path(self) -> Path | None:
        """Return where the notes of the study's model lie; bundled models are not written to."""
        image = self.study.current
        if image is None:
            return None
        from napari_bio_superposition.features.notes import notes_path
        from napari_bio_superposition.models.catalogue import (
            bundled_folder,
            find_model,
            user_folder,
        )

        folder: Path | None = None
        with suppress(ModelError):  # a model that is gone has its notes in the user's folder
            folder = find_model(str(image.analysis.provenance.config.get("model", "")))
        if folder is not None and bundled_folder() in folder.resolve().parents:
            folder = None
        fallback = user_folder().parent / "notes"
        return notes_path(folder, image.models.features.card.weights_sha256, fallback)

    # --- groups ------------------------------------------------------------------------------

    def compare(
        self, first: PatchGroup, second: PatchGroup, config: "DifferentialConfig"
    ) -> Job[ComparedGroups]:
        """Return the job that compares two groups of patches.

        Raises
        ------
        TableError
            Where a group is empty.
        """
        first_rows = rows_of_group(self.study, first)
        is_rest = second.key == REST
        second_rows = ~first_rows if is_rest else rows_of_group(self.study, second)
        title = f"{first.title} against {second.title.lower() if is_rest else second.title}"
        return self._remember(
            explorer_jobs.compare(self._table(), first_rows, second_rows, config, title)
        )

    def _remember(self, job: Job[ComparedGroups]) -> Job[ComparedGroups]:
        """Keep the result of a comparison for the list of features."""
        self._compared = yield from job
        return self._compared

    # --- channels, lists, images -----------------------------------------------------------------

    def explain_channel(
        self, place: BoolArray | None, channel: int | None, *, greedily: bool
    ) -> "Job[ExplainedChannel | MatchedChannel]":
        """Return the job that splits a CNN channel at a place, or matches its map greedily."""
        if greedily:
            return explorer_jobs.match(self.image(), place, channel)
        return explorer_jobs.explain(self.image(), place, channel)

    def draw_channel(self, channel: int) -> Job[DrawnChannel]:
        """Return the job that computes the map of a CNN channel."""
        return explorer_jobs.draw_channel(self.image(), channel)

    def list_features(self, correlate: Sequence[str]) -> "Job[pd.DataFrame]":
        """Return the job that gathers what is known of all features."""
        compared = self._compared
        is_sae = compared is not None and compared.config.values == "sae"
        table = compared.table if compared is not None and is_sae else None
        return explorer_jobs.list_features(self._table(), correlate, table, self.read_notes())

    def filter_features(self, listed: "pd.DataFrame", **wanted: Any) -> "pd.DataFrame":
        """Return the features that fit a filter; see `FeatureFilter`."""
        from napari_bio_superposition.features.search import FeatureFilter, filter_features

        return filter_features(listed, FeatureFilter(**wanted), self.read_notes())

    def steer(self, latent: int, factor: float, patches: BoolArray | None) -> Job[Any]:
        """Return the job that changes a feature and reads what follows.

        Parameters
        ----------
        latent
            The feature.
        factor
            0 takes it away, 2 doubles it.
        patches
            Rows of the table that are changed; all of the image where ``None``.
        """
        return explorer_jobs.steer(self.image(), self._table(), latent, factor, patches)

    def write_gallery(self, latents: Sequence[int], path: Path) -> Job[Path]:
        """Return the job that writes a page of HTML with some features."""
        return explorer_jobs.write_gallery(self.shelf(), latents, self.read_notes(), path)

    def maximize(self, latent: int, config: Any) -> Job[Any]:
        """Return the job that makes images which excite a feature."""
        return explorer_jobs.maximize(self.shelf(), latent, config)

    def _table(self) -> "AnnData":
        if self.study.table is None:
            raise TableError(_NO_IMAGE)
        return self.study.table

    def _add_active(self, layer: Any) -> Any:
        self.layers.append(layer)
        self.layers.selection.active = layer
        return layer
