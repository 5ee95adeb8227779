"""One per viewer: the table, the models, the selection and its groups. No Qt, no computing.

Views (image, plots, tables) know the study and never one another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray
from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.selection import Selection

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_bio_superposition.workflows.analyze import ImageAnalysis
    from napari_bio_superposition.workflows.loading import LoadedModels


@dataclass(frozen=True, eq=False)
class OpenImage:
    """An image on the canvas with its result.

    Parameters
    ----------
    analysis
        Its patches, nuclei, tokens and table.
    models
        The networks that made it.
    geometry
        Where it lies in the world.
    name
        How its layers are called.
    rows
        Position in the study's table of each accepted patch, ``(n_accepted,)``; -1 where the table
        lacks it.
    """

    analysis: "ImageAnalysis"
    models: "LoadedModels"
    geometry: Geometry
    name: str
    rows: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def origins(self) -> IntArray:
        """Row and column of the top-left pixels of the accepted patches, ``(n_accepted, 2)``."""
        patches = self.analysis.patches
        return patches.origins[patches.accepted]

    @property
    def side_px(self) -> int:
        """Edge of a patch."""
        return self.analysis.patches.side

    @property
    def scale_key(self) -> str:
        """What activations have to share to be compared by colour: the weights."""
        return str(sorted(self.analysis.provenance.models.items()))

    def overlay(self, latent: int) -> FloatArray:
        """Return the map of one latent from the cached tokens, ``(height, width)``."""
        from napari_bio_superposition.workflows.analyze import overlay

        return overlay(self.analysis, self.models, latent)

    def patches_at(self, pixel: npt.ArrayLike) -> IntArray:
        """Return the accepted patches that cover a pixel ``(y, x)``, the best centred first."""
        offset = np.asarray(pixel, float) + 0.5 - self.origins
        covers = ((offset >= 0) & (offset < self.side_px)).all(axis=1)
        distance = np.abs(offset - self.side_px / 2).max(axis=1)
        found: IntArray = np.flatnonzero(covers)
        return found[np.argsort(distance[found], kind="stable")]


class Study:
    """What the docks of one viewer share; get it by ``Study.of(viewer)``.

    The study lives as long as its viewer, not as long as a dock, and holds no layer.
    """

    table_changed = Signal()
    """`table` is another object: read everything again."""
    selection_changed = Signal(str)
    """Carries the source: ``image``, ``plot``, ``table`` or ``history``."""
    groups_changed = Signal()
    shown_feature_changed = Signal(int)
    """A view asks to look at this latent."""
    images_changed = Signal()
    """An image was analysed, is no longer open, or another one is looked at."""
    open_requested = Signal(str)
    """A view asks to open the image of this id, which is not open; see `claim_open`."""
    places_changed = Signal()
    """There is another folder in which images of the table may lie."""

    _of_viewer: ClassVar[WeakKeyDictionary[Any, "Study"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._table: AnnData | None = None
        self._models: LoadedModels | None = None
        self._images: dict[str, OpenImage] = {}
        self._current: str | None = None
        self._shown_feature: int | None = None
        self._places: tuple[Path, ...] = ()
        self._is_claimed = False
        self.selection = Selection()
        self.selection.changed.connect(self.selection_changed.emit)

    @classmethod
    def of(cls, viewer: Any) -> "Study":
        """Return the study of *viewer*, whether that is the viewer or napari's proxy of it."""
        while hasattr(viewer, "__wrapped__"):
            viewer = viewer.__wrapped__
        if viewer not in cls._of_viewer:
            cls._of_viewer[viewer] = cls()
        return cls._of_viewer[viewer]

    @property
    def table(self) -> "AnnData | None":
        """Patches of all images x features; names of rows are patch ids."""
        return self._table

    @property
    def models(self) -> "LoadedModels | None":
        """The networks that made the table, once an analysis has loaded them."""
        return self._models

    @property
    def images(self) -> Mapping[str, OpenImage]:
        """The open images by their id."""
        return MappingProxyType(self._images)

    @property
    def current(self) -> OpenImage | None:
        """The open image that is looked at: the last one analysed, until another is chosen."""
        return None if self._current is None else self._images.get(self._current)

    def set_current(self, image_id: str) -> None:
        """Look at another open image; nothing happens where it is not open."""
        if image_id in self._images and image_id != self._current:
            self._current = image_id
            self.images_changed.emit()

    @property
    def shown_feature(self) -> int | None:
        """The latent that was looked at last."""
        return self._shown_feature

    def set_table(self, table: "AnnData | None") -> None:
        """Show another table; the selection follows its patches, as far as they are in it."""
        old, self._table = self._table, table
        n_rows = 0 if table is None else table.n_obs
        old_rows = np.full(n_rows, -1, np.int64)
        if table is not None and old is not None:
            old_rows = np.asarray(old.obs_names.get_indexer(table.obs_names), np.int64)
        self.selection.move_rows(old_rows)
        for image_id, image in self._images.items():
            self._images[image_id] = self._with_rows(image)
        self.table_changed.emit()
        self.groups_changed.emit()

    def add_analysis(
        self,
        analysis: "ImageAnalysis",
        models: "LoadedModels",
        *,
        geometry: Geometry | None = None,
        name: str = "",
    ) -> None:
        """Take the result of an open image, and its rows into the table.

        An earlier result of the same image is replaced. A table of other models is left behind:
        their features cannot be compared. The rows of a table that knows all patches stay.

        Parameters
        ----------
        analysis
            A complete result; its table may be missing.
        models
            The networks that made it.
        geometry
            Where the image lies; by its pixel size where omitted.
        name
            How its layers are called; its id where omitted.
        """
        image = analysis.image
        self._models = models
        opened = OpenImage(analysis, models, geometry or Geometry.of_image(image), name or image.id)
        self._images[image.id] = self._with_rows(opened)
        if analysis.table is not None:
            self.set_table(_join(self._table, analysis.table, image.id))
        self._current = image.id
        self.images_changed.emit()

    def close_image(self, image_id: str) -> None:
        """Forget an image that is no longer open; its rows stay in the table."""
        if self._images.pop(image_id, None) is None:
            return
        if self._current == image_id:
            self._current = next(reversed(self._images), None)
        self.images_changed.emit()

    @property
    def places(self) -> tuple[Path, ...]:
        """Folders and files in which images of the table may lie, results among them."""
        return self._places

    def add_place(self, place: Path) -> None:
        """Remember where images of the table may lie; the newest place is looked at first."""
        if place not in self._places:
            self._places = (place, *self._places)
            self.places_changed.emit()

    def request_open(self, image_id: str) -> bool:
        """Return whether an image is open; where it is not, ask whoever can to open it.

        `is_claimed` then tells whether somebody took it over.
        """
        self._is_claimed = False
        if image_id in self._images:
            return True
        self.open_requested.emit(image_id)
        return image_id in self._images

    def claim_open(self) -> bool:
        """Take over what `open_requested` asks for; false where another view was first."""
        is_first, self._is_claimed = not self._is_claimed, True
        return is_first

    @property
    def is_claimed(self) -> bool:
        """Whether a view opens the image that was asked for last."""
        return self._is_claimed

    def show_feature(self, latent: int) -> None:
        """Ask all views to look at a latent."""
        self._shown_feature = latent
        self.shown_feature_changed.emit(latent)

    @property
    def groups(self) -> Mapping[str, BoolArray]:
        """The saved groups: name to mask over the table's rows."""
        if self._table is None:
            return MappingProxyType({})
        obs, prefix = self._table.obs, Keys.GROUP_PREFIX
        columns = [name for name in obs.columns if str(name).startswith(prefix)]
        return MappingProxyType(
            {name.removeprefix(prefix): np.asarray(obs[name], bool) for name in columns}
        )

    def save_group(self, name: str, rows: npt.ArrayLike | None = None) -> None:
        """Save the selection, or other rows, under a name, as a boolean column of the table.

        Parameters
        ----------
        name
            Of the group; an existing one is replaced.
        rows
            Positions, or a mask over all rows; the selection where omitted.

        Raises
        ------
        TableError
            Where there is no table, no row, or the name is empty or has a slash.
        """
        name = name.strip()
        if self._table is None:
            raise TableError("There is no table yet. Analyse an image first.")
        if not name or "/" in name:
            raise TableError(f"{name!r} is no name of a group. Give it letters, and no slash.")
        mask = np.zeros(self._table.n_obs, bool)
        mask[self.selection.mask if rows is None else np.asarray(rows)] = True
        if not mask.any():
            raise TableError("Nothing is selected. Select patches in the image or in a plot first.")
        self._table.obs[Keys.GROUP_PREFIX + name] = mask
        self.groups_changed.emit()

    def remove_group(self, name: str) -> None:
        """Remove a saved group; nothing happens where there is none."""
        column = Keys.GROUP_PREFIX + name
        if self._table is not None and column in self._table.obs:
            del self._table.obs[column]
            self.groups_changed.emit()

    def _with_rows(self, image: OpenImage) -> OpenImage:
        patches = image.analysis.patches
        ids = np.array(patches.ids, object)[patches.accepted]
        rows = np.full(len(ids), -1, np.int64)
        if self._table is not None:
            rows = np.asarray(self._table.obs_names.get_indexer(ids), np.int64)
        return replace(image, rows=rows)


def _join(old: "AnnData | None", new: "AnnData", image_id: str) -> "AnnData":
    """Return the study's table with the rows of one image."""
    from napari_bio_superposition.features.table import concat_tables  # brings anndata

    if old is None:
        return new
    if new.obs_names.isin(old.obs_names).all() and _same_values(old, new):
        return old  # with its embeddings and groups
    others = old[(old.obs[Keys.IMAGE].astype(str) != image_id).to_numpy()]
    try:
        joined = concat_tables([others.copy(), new]) if others.n_obs else new
    except TableError:
        return new
    return _keep_groups(old, joined)


def _same_values(old: "AnnData", new: "AnnData") -> bool:
    """Whether the rows of an image were computed alike, so that the old ones can stay."""
    if not old.var_names.equals(new.var_names):
        return False
    kept = old[new.obs_names].X
    difference = abs(kept - new.X)
    return bool(difference.max() <= 1e-6 * max(1.0, float(abs(new.X).max())))


def _keep_groups(old: "AnnData", joined: "AnnData") -> "AnnData":
    for name in old.obs.columns:
        if str(name).startswith(Keys.GROUP_PREFIX):
            known = old.obs[name].reindex(joined.obs_names)
            joined.obs[name] = known.eq(True).to_numpy(bool)
    return joined
