"""The page Maximise: images that a feature likes best, beside real ones. No science."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtWidgets import QLabel, QWidget

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import feature_name
from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.models.activation_maximization_config import MaximizationConfig
from napari_bio_superposition.widgets.example_pictures import draw_normalized
from napari_bio_superposition.widgets.explorer_jobs import MaximizedFeature
from napari_bio_superposition.widgets.features_explorer import Explorer
from napari_bio_superposition.widgets.features_page import FeaturesPage
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.gallery_view import GalleryPicture, GalleryRow, GalleryView
from napari_bio_superposition.widgets.section import Section

if TYPE_CHECKING:
    import numpy.typing as npt

_SHOWN: Final = 4
_HINT = "Look at a feature first: click one in a table, then press Maximise."
_EFFORTS: Final = (
    (
        "A glance (1 image, 128 steps)",
        {"n_steps": 128, "decays": (1.2,), "jitters_px": (8,), "n_seeds": 1},
    ),
    ("Usual (6 images, 256 steps)", {"n_steps": 256, "decays": (0.8, 1.2), "jitters_px": (8,)}),
    ("As published (48 images, 2048 steps)", {"n_steps": 2048}),
)


class MaximizePage(FeaturesPage):
    """Makes images that excite the feature that is looked at."""

    title = "Maximise"
    tip = "Which image would a feature like best?"
    run_text = "Maximise"

    def __init__(self, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(explorer, parent)
        self.feature_label = QLabel()
        self.effort_box = CalmComboBox()
        self.effort_box.addItems([title for title, _ in _EFFORTS])
        self.form: ConfigForm[Any] = ConfigForm(MaximizationConfig())
        self.settings = Section("Settings", self.form)
        self.gallery = GalleryView()
        self.note = QLabel()
        self.note.setWordWrap(True)
        for part in (self.feature_label, self.effort_box, self.settings, self.gallery, self.note):
            self.page_layout.addWidget(part)
        self.page_layout.addWidget(self.message)
        self.page_layout.addStretch(1)
        self.effort_box.currentIndexChanged.connect(self.choose_effort)
        self.gallery.picture_clicked.connect(self._on_picture_clicked)
        explorer.study.shown_feature_changed.connect(self._on_feature_shown)
        self.choose_effort(0)
        self._on_feature_shown(explorer.study.shown_feature)

    def choose_effort(self, index: int) -> None:
        """Fill the settings with a usual choice; each can be changed."""
        self.form.show_config(replace(MaximizationConfig(), **_EFFORTS[index][1]))

    def make_job(self) -> Job[Any]:
        """Return the job that makes the images."""
        latent = self.explorer.study.shown_feature
        if latent is None:
            raise TableError(_HINT)
        return self.explorer.maximize(latent, self.form.read_config())

    def show_outcome(self, outcome: MaximizedFeature) -> None:
        """Show the best images beside the strongest real patches, normalised alike."""
        made = outcome.images
        n_made = min(_SHOWN, len(made.images))
        real = [one for one in outcome.examples if one.pixels is not None][:_SHOWN]
        pictures = draw_normalized(
            made.images[:n_made],
            [np.asarray(one.pixels) for one in real],
            outcome.channel_roles,
        )
        made_row = GalleryRow(
            f"Made for {feature_name(made.latent)}",
            tuple(self._made(outcome, place, pictures[place]) for place in range(n_made)),
        )
        real_row = GalleryRow(
            "Real patches that show it most, as the network sees them",
            tuple(
                GalleryPicture(one.row, picture, one.title)
                for one, picture in zip(real, pictures[n_made:], strict=True)
            ),
        )
        self.gallery.set_rows([made_row, real_row])
        best = f"The best scores {made.score[0]:.3g} with the hard gate"
        if np.isfinite(made.percentile[0]):
            best += f", more than {made.percentile[0]:.0f} % of real patches"
        self.note.setText(
            f"{best}. Images made: {len(made.images)}. They show what the feature answers to, "
            "not what occurs."
        )
        self.message.clear()

    @staticmethod
    def _made(
        outcome: MaximizedFeature, place: int, picture: "npt.NDArray[np.uint8]"
    ) -> GalleryPicture:
        made = outcome.images
        tip = (
            f"score {made.score[place]:.3g}; decay {made.decay[place]:g}, "
            f"jitter {made.jitter_px[place]} px, seed {made.seed[place]}"
        )
        return GalleryPicture(-1 - place, picture, tip)

    def _on_picture_clicked(self, key: int, _: Any) -> None:
        if key >= 0:
            self.explorer.study.selection.select([key], source="table")

    def _on_feature_shown(self, latent: int | None) -> None:
        self.feature_label.setText(_HINT if latent is None else f"For {feature_name(latent)}")
