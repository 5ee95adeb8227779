"""The images behind the study's table, open or on disk, for jobs in a thread. No Qt, no layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_bio_superposition.core.errors import BioSuperpositionError, ImageReadError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.feature_report import ExamplePatch
from napari_bio_superposition.widgets.preload import gentle_imports
from napari_bio_superposition.widgets.study import OpenImage

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_bio_superposition.workflows.analyze import ImageAnalysis
    from napari_bio_superposition.workflows.explore_images import ImageLibrary
    from napari_bio_superposition.workflows.loading import LoadedModels

_NO_PLACE: Final = "its image is not open; say where the images are with Find images"


@dataclass(eq=False)
class ImageShelf:
    """Finds images of a table; networks and the list of files are read at the first use.

    Parameters
    ----------
    table
        Of the study.
    images
        The open ones.
    places
        Folders and files in which others may lie, results among them.
    models
        Networks that are loaded already.
    """

    table: "AnnData"
    images: Sequence[OpenImage]
    places: tuple[Path, ...]
    models: "LoadedModels | None"
    _library: "ImageLibrary | None" = field(default=None, init=False)

    def open(self) -> "Job[tuple[LoadedModels, ImageLibrary]]":
        """Return networks and images; only the first call takes its time.

        Raises
        ------
        BioSuperpositionError
            Where the networks of the table are gone, or the loaded ones are others.
        """
        yield Progress("Looking for images")
        with gentle_imports():
            from napari_bio_superposition.workflows.explore_image import check_models, settings_of
            from napari_bio_superposition.workflows.loading import load_models

        if self.models is None:
            self.models = yield from load_models(settings_of(self.table, device="auto"))
        if self._library is None:
            check_models(self.table, self.models)
            self._library = self._list_images()
        return self.models, self._library

    def _list_images(self) -> "ImageLibrary":
        from napari_bio_superposition.workflows.explore_image import settings_of
        from napari_bio_superposition.workflows.explore_images import ImageLibrary

        config = settings_of(self.table)
        at_hand = {one.analysis.image.id: one.analysis.image for one in self.images}
        library = ImageLibrary({}, config, at_hand)
        for place in reversed(self.places):  # the newest has the last word
            try:
                found = ImageLibrary.open([place], config)
            except (BioSuperpositionError, OSError):
                continue  # no images there: another place may have them
            library = replace(
                library,
                fields={**library.fields, **found.fields},
                results=(*found.results, *library.results),
            )
        return library

    def read_examples(
        self, examples: Sequence[ExamplePatch], latent: int
    ) -> Job[Mapping[int, ExamplePatch]]:
        """Return patches with pixels and map, or with the reason why there are none, by row."""
        models, library = yield from self.open()
        from napari_bio_superposition.workflows.explore_images import cut_thumbnails

        missing: dict[str, str] = {}
        rows, feature = [one.row for one in examples], feature_name(latent)
        job = cut_thumbnails(self.table, rows, feature, library, models, missing=missing)
        cut = yield from job
        found = {}
        for one in examples:
            thumbnail = cut.get(one.row)
            if thumbnail is None:
                reason = missing.get(one.image_id, "") if self.places else _NO_PLACE
                found[one.row] = replace(one, reason=reason or "it could not be read")
            else:
                pixels, activation = thumbnail.channels, thumbnail.activation
                found[one.row] = replace(one, pixels=pixels, activation=activation, reason="")
        return found

    def encode(self, image_id: str) -> "Job[tuple[ImageAnalysis, LoadedModels]]":
        """Read an image and encode the patches that the table has of it.

        Raises
        ------
        ImageReadError
            Where the image is found nowhere.
        """
        if not self.places:
            raise ImageReadError(f"{image_id} is not open. Press Find images, and name its folder.")
        models, library = yield from self.open()
        from napari_bio_superposition.workflows.explore_image import encode_image

        analysis = yield from encode_image(self.table, image_id, models, library)
        return analysis, models
