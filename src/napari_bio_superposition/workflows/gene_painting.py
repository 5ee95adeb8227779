"""Virtual spatial transcriptomics: a gene or a module on the patches, with its uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from napari_bio_superposition.alignment.genes_couplings import Alternative
from napari_bio_superposition.alignment.genes_painting import PaintedValues, paint_values
from napari_bio_superposition.alignment.genes_prediction import GeneData
from napari_bio_superposition.alignment.representation import choose_representation
from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.workflows.genes_config import GenesConfig
from napari_bio_superposition.workflows.genes_data import CoupledStudy, banner_of, read_design

Matrix = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class PaintedGene:
    """Predicted expression of every patch.

    Parameters
    ----------
    name
        Of the gene or module.
    painted
        Values with their spread over basins, k and folds.
    obs
        Rows of the table of patches: image, place.
    banner
        What has to stand above the picture where the coupling is not to be trusted; else empty.
    unit
        Of the values.
    """

    name: str
    painted: PaintedValues
    obs: pd.DataFrame
    banner: str
    unit: str

    @property
    def opacity(self) -> Matrix:
        """How sure each value is, 1 to 0: 1 less its spread relative to that of all values."""
        scale = float(np.nanstd(self.painted.values)) or 1.0
        return np.nan_to_num(np.clip(1 - self.painted.spread / scale, 0.0, 1.0))

    def grid(self, image: str) -> "PaintedGrid":
        """Return the patches of one image as an array with one element per patch.

        Raises
        ------
        TableError
            Where the table has no such image.
        """
        rows = np.flatnonzero((self.obs[Keys.IMAGE].astype(str) == image).to_numpy())
        if not len(rows):
            images = self.obs[Keys.IMAGE].astype(str).unique()
            raise TableError(f"No image {image!r}; there are {list_choices(images[:10])}.")
        y, x = (self.obs[key].to_numpy(dtype=np.int64)[rows] for key in (Keys.Y, Keys.X))
        step = _step(y, x)
        origin = int(y.min()), int(x.min())
        places = (y - origin[0]) // step, (x - origin[1]) // step
        shape = int(places[0].max()) + 1, int(places[1].max()) + 1
        arrays = []
        for values in (self.painted.values, self.painted.spread, self.opacity):
            array = np.full(shape, np.nan, dtype=np.float32)
            array[places] = values[rows]
            arrays.append(array)
        return PaintedGrid(arrays[0], arrays[1], np.nan_to_num(arrays[2]), origin, step)


@dataclass(frozen=True, eq=False)
class PaintedGrid:
    """One image's patches as arrays ``(rows, columns)``; nan where no patch was kept.

    Parameters
    ----------
    values, spread, opacity
        Prediction, its standard deviation, and 0 to 1.
    origin
        ``(y, x)`` of the first element's top-left pixel.
    step
        Pixels between elements.
    """

    values: Matrix
    spread: Matrix
    opacity: Matrix
    origin: tuple[int, int]
    step: int


def paint_gene(
    study: CoupledStudy,
    genes: str | Sequence[str],
    config: GenesConfig | None = None,
    *,
    alternatives: Sequence[Alternative] = (),
) -> PaintedGene:
    """Predict a gene, or the score of a module, at every patch from wells that did not teach it.

    Parameters
    ----------
    study
        From `genes_data.load_coupling`.
    genes
        A gene, or the genes of a module: the mean of their z-scored log expression.
    config
        Settings; the defaults where omitted.
    alternatives
        From `predict_genes`, or `genes_files.read_alternatives`: other couplings of like loss.
        Without them the spread is that of the folds alone.

    Raises
    ------
    TableError
        Where a gene is not in the RNA table.
    """
    config = config or GenesConfig()
    rng = np.random.default_rng(config.seed)
    names = [genes] if isinstance(genes, str) else list(genes)
    values = _read_values(study, names)
    features = choose_representation(
        study.image, config.use_rep, preferred=(), name="image", rng=rng
    ).values
    empty = np.zeros((0, 0))
    data = GeneData(study.plan, features, empty, empty, empty, read_design(study, config))
    painted = paint_values(data, values, alternatives, config, rng=rng)
    is_module = len(names) > 1
    return PaintedGene(
        name=f"module of {len(names)} genes" if is_module else names[0],
        painted=painted,
        obs=study.image.obs,
        banner=banner_of(study.verdict),
        unit="mean z of log expression" if is_module else "log1p of counts per 10,000",
    )


def _read_values(study: CoupledStudy, names: list[str]) -> Matrix:
    unknown = [name for name in names if name not in study.rna.var_names]
    if unknown or not names:
        some = list_choices(study.rna.var_names[:5])
        raise TableError(
            f"{list_choices(unknown[:5])} not among the {study.rna.n_vars} genes of the RNA table "
            f"(such as {some}). Check the names."
        )
    values = study.rna[:, names].X
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    dense = dense.astype(np.float64)
    if len(names) == 1:
        return dense[:, 0]
    spread = dense.std(axis=0)
    scaled = (dense - dense.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.asarray(scaled.mean(axis=1))


def _step(y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> int:
    """Return the pixels between neighbouring patches of a grid."""
    gaps = np.concatenate([np.diff(np.unique(y)), np.diff(np.unique(x))])
    return int(gaps.min()) if len(gaps) else 128
