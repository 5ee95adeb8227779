"""The GW-map of the demo: simulated RNA, prepared and coupled, beside the truth. No figures."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from napari_bio_superposition.alignment.scores import fraction_closer
from napari_bio_superposition.alignment.verdict import CELL_LEVEL
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.imaging.simulation.states import FACTORS
from napari_bio_superposition.manifold.statistics import correlate
from napari_bio_superposition.transcriptome.config import RnaQualityConfig
from napari_bio_superposition.workflows.couple import CoupledTables, couple_files
from napari_bio_superposition.workflows.couple_config import CoupleConfig
from napari_bio_superposition.workflows.genes import predict_genes_files
from napari_bio_superposition.workflows.genes_config import GenesConfig
from napari_bio_superposition.workflows.genes_result import FOUND, GenesResult, find_genes
from napari_bio_superposition.workflows.rna import PreparedRna, prepare_rna_files
from napari_bio_superposition.workflows.rna_config import RnaPreparationConfig

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_bio_superposition.workflows.demo_config import DemoConfig

Numbers = npt.NDArray[np.float64]
STATES = (*FACTORS, "progression")
_DRAWS = (200, 200)
"""Bootstraps and shuffles of wells behind each correlation."""
_CLOSER_WITHIN = 0.35
"""Share above which a map is nearer to chance (0.5) than to use, as in the verdict on pairs."""
_MIN_GENES_PER_CELL = 100
"""The simulation has a tenth of the genes that the default of 250 is meant for."""


@dataclass(frozen=True, eq=False)
class RnaComparison:
    """The coupling of the simulated study with its simulated RNA, and how true it is.

    Parameters
    ----------
    rna, coupled, genes
        What the three steps found.
    closer, closer_within
        Share of RNA cells that are coupled more strongly with a patch than the cell whose true
        state is nearest to that of the patch: mean over patches; among all cells, and among those
        of its genotype. 0 is perfect, 0.5 chance.
    states
        One row per true quantity: rank correlation over patches of what the coupling predicts with
        what is true, with its interval and null over wells; and the same within genotypes.
    recovered
        One row per class: AUROC with which the z of a gene tells the genes that follow the images
        from those that do not, and how many genes were found, rightly and wrongly.
    """

    rna: PreparedRna
    coupled: CoupledTables
    genes: GenesResult
    closer: float
    closer_within: float
    states: pd.DataFrame
    recovered: pd.DataFrame

    @property
    def reading(self) -> str:
        """What the truth says of the verdict, which only a simulation can tell."""
        return read_verdict(
            self.coupled.coupling.verdict, cells_fit=self.closer_within < _CLOSER_WITHIN
        )

    def as_plain(self) -> dict[str, Any]:
        """Return the key figures as JSON values."""
        return {
            "verdict": self.coupled.coupling.verdict,
            "explanation": list(self.coupled.coupling.explanation),
            "reading": self.reading,
            "closer_than_nearest_true_state": self.closer,
            "closer_within_genotype": self.closer_within,
            "classes": self.coupled.config.classes,
            "states": self.states.to_dict(orient="index"),
            "genes": self.recovered.to_dict(orient="index"),
            "banner": self.genes.banner,
        }

    def as_lines(self) -> list[str]:
        """Return the outcome as a person reads it."""
        coupling = self.coupled.coupling
        lines = [
            f"Coupling with RNA: {coupling.verdict}. {coupling.explanation[0]}",
            "Genotypes are known of patches and of RNA cells, and were given to the coupling; the "
            "verdict is on the shapes alone.",
        ]
        lines.append(
            "RNA cells sorted by how strongly they are coupled with a patch: the truly nearest one "
            f"comes after {self.closer:.0%} of all cells, and after {self.closer_within:.0%} of "
            "those of its genotype (0% is perfect, 50% is chance)."
        )
        lines.append(self.reading)
        scores = ", ".join(
            f"{row.Index} {row.auroc_split_cells:.2f}" for row in self.recovered.itertuples()
        )
        lines.append(
            "Genes that follow the images told from others by z on other cells, AUROC over the "
            f"patches of a class (0.5 is chance): {scores}."
        )
        return [*lines, *map(_count_found, self.recovered.itertuples())]


def _count_found(row: Any) -> str:
    others = row.genes - row.linked
    return (
        f"Found ({row.Index}): {row.found_linked} of {row.linked} genes that follow the images, "
        f"and {row.found_others} of {others} that do not."
    )


def compare_with_rna(
    out: Path, table: "AnnData", truth: pd.DataFrame, config: "DemoConfig"
) -> Job[RnaComparison]:
    """Prepare the simulated RNA, couple it, predict genes, and compare all with the truth.

    Genotypes are given to the coupling: the leading components of the features of so few patches
    do not tell them by shape alone, as the true states do (docs/gw-map.md). Genes are predicted
    over all patches, because four wells of a genotype are too few.

    Parameters
    ----------
    out
        Folder of the demo: ``study/rna.h5ad`` and ``patches.h5ad`` are read, ``rna/``,
        ``coupling/`` and ``genes/`` are written.
    table
        The patches as they are in the file.
    truth
        True mean state of the cells of each patch, index the patch id.
    config
        Settings of the demo.
    """
    preparation = RnaPreparationConfig(
        quality=RnaQualityConfig(min_genes=_MIN_GENES_PER_CELL), seed=config.seed
    )
    rna = yield from prepare_rna_files([out / "study" / "rna.h5ad"], preparation, out / "rna")
    coupling = CoupleConfig(
        **_values(config.coupling),
        label=Keys.GENOTYPE,
        classes="intra-class",
        seed=config.seed,
        device=config.device,
    )
    coupled = yield from couple_files(
        out / "patches.h5ad", out / "rna" / "rna.h5ad", coupling, out / "coupling"
    )
    prediction = GenesConfig(
        **_values(config.genes),
        pooled=True,
        alternatives=False,
        seed=config.seed,
        device=config.device,
    )
    genes = yield from predict_genes_files(out / "coupling", prediction, out / "genes")
    yield Progress("Comparing the coupling with the truth")
    known = truth.reindex(table.obs_names)
    closer, closer_within = _rank_true_cells(coupled, known)
    states = yield from _compare_states(coupled, known, config.seed)
    recovered = score_genes(genes.genes, coupled.rna.var["linked"])
    return RnaComparison(rna, coupled, genes, closer, closer_within, states, recovered)


def _values(config: Any) -> Mapping[str, Any]:
    """Return the settings of a method without those that the demo has of its own."""
    names = {field.name for field in dataclasses.fields(config)} - {"device"}
    return {name: getattr(config, name) for name in names}


def read_verdict(verdict: str, *, cells_fit: bool) -> str:
    """Return whether the truth bears a verdict out, in a sentence.

    Parameters
    ----------
    verdict
        Of the coupling.
    cells_fit
        Whether single cells within genotypes, which were given, correspond in truth.
    """
    claimed = verdict == CELL_LEVEL
    found = f"single cells of a genotype {'correspond' if cells_fit else 'do not correspond'}"
    if claimed == cells_fit:
        return f"The truth bears the verdict out: {found}."
    if cells_fit:
        return (
            f"The verdict claims less than is true: {found}. Only a simulation can know; the "
            "losses of so few patches do not show it, and a user has to go by the verdict."
        )
    return f"The verdict claims more than is true: {found}."


def _rank_true_cells(coupled: CoupledTables, truth: pd.DataFrame) -> tuple[float, float]:
    """Return how far the cells of nearest true state stand behind others, overall and within."""
    names = list(FACTORS)
    cells = coupled.rna.obs[names].to_numpy(np.float64)
    centre, spread = cells.mean(axis=0), cells.std(axis=0)
    patches = (truth[names].to_numpy(np.float64) - centre) / spread
    rows = np.flatnonzero(np.isfinite(patches).all(axis=1))
    plan = coupled.coupling.plan
    strength = plan[rows].toarray() if sparse.issparse(plan) else np.asarray(plan)[rows]
    distance = cdist(patches[rows], (cells - centre) / spread)
    genotypes, of_cells = (
        table.obs[Keys.GENOTYPE].astype(str).to_numpy(dtype=str)
        for table in (coupled.image, coupled.rna)
    )
    return rank_nearest(strength, distance, (genotypes[rows], of_cells))


def rank_nearest(
    strength: Numbers,
    distance: Numbers,
    classes: tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]],
) -> tuple[float, float]:
    """Return the mean share of cells coupled more strongly than the one that is truly nearest.

    Parameters
    ----------
    strength
        Mass of each patch and cell, ``(n, m)``.
    distance
        Between their true states, ``(n, m)``.
    classes
        Of patches and of cells.

    Returns
    -------
    overall, within
        Among all cells, and among the cells of the patch's class: 0 perfect, 0.5 chance.
    """
    overall = fraction_closer(-strength, distance.argmin(axis=1))
    within = []
    for name in np.intersect1d(*classes):
        block = np.ix_(classes[0] == name, classes[1] == name)
        within.append(fraction_closer(-strength[block], distance[block].argmin(axis=1)))
    return float(overall.mean()), float(np.concatenate(within).mean())


def _compare_states(coupled: CoupledTables, truth: pd.DataFrame, seed: int) -> Job[pd.DataFrame]:
    """Correlate the true states that the coupling carries to the patches with their own."""
    obs = coupled.image.obs
    wells, plates = (obs[key].astype(str).to_numpy(dtype=str) for key in (Keys.GROUP, Keys.PLATE))
    genotypes = obs[Keys.GENOTYPE].astype(str).to_numpy(dtype=str)
    predicted = coupled.coupling.pull(coupled.rna.obs[list(STATES)].to_numpy(np.float64))
    rows = {}
    for column, name in enumerate(STATES):
        true = truth[name].to_numpy(np.float64)
        known = np.isfinite(true)
        found = yield from correlate(
            predicted[known, column],
            true[known],
            wells[known],
            plates[known],
            draws=_DRAWS,
            rng=np.random.default_rng(seed),
        )
        rows[name.replace("_", " ")] = {
            **found["spearman"].as_plain(),
            "within": _correlate_within(predicted[:, column], true, genotypes),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename(columns={"value": "spearman"})
    columns = ["spearman", "low", "high", "null_low", "null_high", "within"]
    return table[[*columns, "n_patches", "n_wells"]]


def _correlate_within(
    predicted: Numbers, true: Numbers, classes: npt.NDArray[np.str_]
) -> float | None:
    """Return the mean over classes of the rank correlation; ``None`` where nothing varies."""
    found = []
    for name in np.unique(classes):
        rows = (classes == name) & np.isfinite(true)
        if rows.sum() > 2 and np.ptp(true[rows]) > 0 and np.ptp(predicted[rows]) > 0:
            found.append(float(spearmanr(predicted[rows], true[rows]).statistic))
    return float(np.mean(found)) if found else None


def score_genes(table: pd.DataFrame, linked: pd.Series) -> pd.DataFrame:
    """Return how well the scores of genes tell those that follow the images from the others.

    Parameters
    ----------
    table
        One row per gene and class, with the control ``split_cells``; see `GenesResult`.
    linked
        Gene to whether it follows the images.
    """
    rows = {}
    for name, genes in table.groupby("class"):
        is_linked = linked.reindex(genes["gene"]).to_numpy(bool)
        found = genes["gene"].isin(find_genes(genes, "_split_cells")).to_numpy()
        rows[str(name)] = {
            "auroc": _auroc(is_linked, genes["z"].to_numpy(np.float64)),
            "auroc_split_cells": _auroc(is_linked, genes["z_split_cells"].to_numpy(np.float64)),
            "genes": len(genes),
            "linked": int(is_linked.sum()),
            "found_linked": int((found & is_linked).sum()),
            "found_others": int((found & ~is_linked).sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def _auroc(is_linked: npt.NDArray[np.bool_], score: Numbers) -> float:
    """Return the AUROC over genes that have a score: one found in no cell of a half has none."""
    from sklearn.metrics import roc_auc_score

    known = np.isfinite(score)
    return float(roc_auc_score(is_linked[known], score[known]))


__all__ = [
    "FOUND",
    "RnaComparison",
    "compare_with_rna",
    "rank_nearest",
    "read_verdict",
    "score_genes",
]
