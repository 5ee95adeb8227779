"""How close an analysis of the simulated study comes to the truth that was saved with it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy.stats import spearmanr
from stardist.matching import matching_dataset

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.imaging.simulate import Study
from napari_bio_superposition.imaging.simulation.states import FACTORS
from napari_bio_superposition.workflows.collect import IMAGES
from napari_bio_superposition.workflows.result_folder import folder_name, read_result

_IOU = 0.5


@dataclass(frozen=True, eq=False)
class TruthComparison:
    """Measured against true, per patch and overall."""

    nuclei_average_precision: float
    """At an intersection over union of 0.5, over all fields."""
    nuclei_count_ratio: float
    """Nuclei found per true nucleus."""
    death_spearman: float
    """Rank correlation of dead area over patches."""
    patches: pd.DataFrame
    """Index the patch id: true ``progression``, ``dead_area_rate`` and mean factors of the cells,
    and the measured rate."""

    def as_plain(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {name: value for name, value in asdict(self).items() if name != "patches"}

    def as_lines(self) -> list[str]:
        """Return the figures as a person reads them."""
        return [
            f"Nuclei against the simulated truth: average precision "
            f"{self.nuclei_average_precision:.2f} at IoU {_IOU}, "
            f"{self.nuclei_count_ratio:.2f} found per true one.",
            f"Dead area per patch against the truth: Spearman {self.death_spearman:.2f}.",
        ]


def compare_with_truth(study: Study, table: AnnData, analysis: Path) -> TruthComparison:
    """Compare nuclei and cell death of every analysed field with the simulated truth.

    Parameters
    ----------
    study
        The study; its fields are drawn again, one at a time.
    table
        The feature table of its images.
    analysis
        Folder that `analyze_files` wrote.
    """
    found: list[npt.NDArray[np.int32]] = []
    true: list[npt.NDArray[np.int32]] = []
    parts = []
    for field in study:
        labels = read_result(analysis / IMAGES / folder_name(field.image.id)).labels()
        if labels is not None:
            found.append(labels)
            true.append(field.labels)
        rows = table.obs[table.obs[Keys.IMAGE].astype(str) == field.image.id]
        origins = rows[[Keys.Y, Keys.X]].to_numpy(np.int64)
        truth = field.patch_truth(origins, _side_of(table)).set_index(rows.index)
        kept = truth[["progression", "dead_area_rate", *FACTORS]]
        parts.append(kept.assign(measured=rows[Keys.DEATH]))
    patches = pd.concat(parts)
    matched = matching_dataset(true, found, thresh=_IOU, show_progress=False)
    known = patches.dropna(subset=["dead_area_rate", "measured"])
    return TruthComparison(
        nuclei_average_precision=float(matched.accuracy),
        nuclei_count_ratio=float(matched.n_pred / max(1, matched.n_true)),
        death_spearman=float(spearmanr(known["dead_area_rate"], known["measured"]).statistic),
        patches=patches,
    )


def _side_of(table: AnnData) -> int:
    settings = json.loads(table.uns[Keys.PROVENANCE])["config"]
    return int(settings["patches"]["side_px"])
