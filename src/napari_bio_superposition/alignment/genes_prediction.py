"""Genes predicted from images, class by class, each beside its null. No controls, no files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_folds import make_folds, split_wells
from napari_bio_superposition.alignment.genes_halves import Halves, score_halves
from napari_bio_superposition.alignment.genes_null import GeneScores, run_null
from napari_bio_superposition.alignment.genes_regressors import (
    predict_by_network,
    predict_by_trees,
    score_predictions,
)
from napari_bio_superposition.alignment.genes_ridge import (
    Targets,
    compress_targets,
    make_hats,
    score_hats,
)
from napari_bio_superposition.alignment.genes_targets import (
    Design,
    project_targets,
    split_cells,
    weights_within,
)
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class GeneData:
    """Everything that a table of genes and its controls start from.

    Parameters
    ----------
    plan
        The coupling, ``(n, m)``.
    features
        Image features that genes are predicted from, ``(n, d)``.
    representation, latent
        What was coupled: of the patches ``(n, e)``, of the RNA cells ``(m, f)``.
    expression
        ``(m, n_genes)``.
    design
        Wells, plates, classes.
    other_features
        Name to other features of the same patches: those of the CNN, of a random SAE.
    unrelated
        Latent space and expression of an unrelated tissue, where there is one.
    """

    plan: Any
    features: Matrix
    representation: Matrix
    latent: Matrix
    expression: Matrix
    design: Design
    other_features: Mapping[str, Matrix] = field(default_factory=dict)
    unrelated: tuple[Matrix, Matrix] | None = None


@dataclass(frozen=True, eq=False)
class ClassData:
    """The patches of one class with their targets.

    Parameters
    ----------
    name
        The class.
    rows
        Indices of the patches, ``(n,)``.
    weights
        ``(n, m_class)``: shares of the class's RNA cells in each patch; rows sum to 1.
    cells
        Indices of these RNA cells.
    features
        Of the images, ``(n, d)``.
    design
        Of these patches.
    """

    name: str
    rows: IntArray
    weights: Any
    cells: IntArray
    features: Matrix
    design: Design

    def strata(self, within: str) -> npt.NDArray[np.str_]:
        """Return within what the coupling is permuted: the class, or its plates."""
        return self.design.plates if within == "plate" else self.design.classes


def divide_classes(
    plan: Any, features: Matrix, design: Design, min_patches: int
) -> tuple[list[ClassData], dict[str, str]]:
    """Return the classes that can be scored, and why the others cannot.

    Parameters
    ----------
    plan
        ``(n, m)``.
    features
        Of the images, ``(n, d)``.
    design
        Wells, plates and classes.
    min_patches
        Classes with fewer are left out.
    """
    usable, left_out = [], {}
    for name in design.shared_classes:
        cells = np.flatnonzero(design.rna_classes == name)
        weights, rows = weights_within(plan, design.classes == name, design.rna_classes == name)
        wells = np.unique(design.groups[rows])
        if len(rows) < min_patches:
            left_out[name] = f"{len(rows)} patches, {min_patches} are asked for"
        elif len(wells) < 2:
            left_out[name] = f"all patches are of one well, {wells[0]}"
        else:
            part = ClassData(name, rows, weights, cells, features[rows], design.take(rows))
            usable.append(part)
    return usable, left_out


def score_ridge(
    part: ClassData,
    expression: Matrix,
    config: GenePredictionConfig,
    n_permutations: int,
    *,
    rng: np.random.Generator,
) -> Job[GeneScores]:
    """Predict the genes of one class by ridge and compare with permuted couplings.

    Parameters
    ----------
    part
        Patches, weights and features.
    expression
        Of all RNA cells, ``(m, n_genes)``.
    config
        Folds and components.
    n_permutations
        Draws of the null.
    rng
        Draws folds and permutations.
    """
    yield Progress(f"Targets of {part.name}")
    targets = compress_targets(project_targets(part.weights, expression[part.cells]))
    return (yield from score_targets(part, targets, config, n_permutations, rng=rng))


def score_targets(
    part: ClassData,
    targets: Targets,
    config: GenePredictionConfig,
    n_permutations: int,
    *,
    rng: np.random.Generator,
) -> Job[GeneScores]:
    """Score given targets by ridge; see `score_ridge`."""
    splits = split_wells(part.design.groups, part.design.plates, config.n_folds, rng=rng)
    folds = make_folds(part.features, splits, config.n_components)
    hats = make_hats(folds, targets, part.design.groups, rng)

    def statistic(order: IntArray | None) -> Matrix:
        return score_hats(hats, targets, order)

    return (
        yield from run_null(
            statistic,
            part.strata(config.permute_within).tolist(),
            n_permutations,
            rng=rng,
            step=f"Permuting the coupling of {part.name}",
        )
    )


def score_split_cells(
    part: ClassData,
    expression: Matrix,
    config: GenePredictionConfig,
    n_permutations: int,
    *,
    rng: np.random.Generator,
) -> Job[GeneScores]:
    """Learn from one half of the RNA cells and score on the other half's targets.

    The halves share the coupling but no cell, so that the noise of single cells, which the coupling
    makes a smooth function of the image, is no longer predictable from itself. The null permutes
    the cells; see `genes_halves`.
    """
    yield Progress(f"Targets of {part.name}")
    first, second, both = split_cells(part.weights, rng=rng)
    kept = np.flatnonzero(both)
    design = part.design.take(kept)
    splits = split_wells(design.groups, design.plates, config.n_folds, rng=rng)
    folds = make_folds(part.features[kept], splits, config.n_components)
    targets = compress_targets(project_targets(first, expression[part.cells]))
    halves = Halves(make_hats(folds, targets, design.groups, rng), first, second)
    return (
        yield from score_halves(
            [halves],
            expression[part.cells],
            n_permutations,
            rng=rng,
            step=f"Permuting RNA cells of {part.name}",
        )
    )


def score_network(
    part: ClassData,
    expression: Matrix,
    config: GenePredictionConfig,
    *,
    device: str = "cpu",
    rng: np.random.Generator,
) -> Job[GeneScores]:
    """Predict the genes of one class by the MLP and compare with refits on permuted couplings."""
    values = project_targets(part.weights, expression[part.cells])
    groups, seed = part.design.groups, int(rng.integers(2**31 - 1))
    splits = split_wells(groups, part.design.plates, config.n_folds, rng=rng)
    folds = make_folds(part.features, splits, config.n_components)

    def statistic(order: IntArray | None) -> Matrix:
        true = values if order is None else values[order]
        predicted = predict_by_network(folds, true, groups, config, seed=seed, device=device)
        return score_predictions(folds, predicted, true)

    return (yield from _null_of(statistic, part, config, "MLP", rng))


def score_trees(
    part: ClassData, latent: Matrix, config: GenePredictionConfig, *, rng: np.random.Generator
) -> Job[GeneScores]:
    """Predict the latent dimensions of one class by XGBoost, with refits on permuted couplings.

    Returns
    -------
    GeneScores
        One value per dimension of *latent* ``(m, d)``.
    """
    values = project_targets(part.weights, latent[part.cells])
    seed = int(rng.integers(2**31 - 1))
    splits = split_wells(part.design.groups, part.design.plates, config.n_folds, rng=rng)
    folds = make_folds(part.features, splits, config.n_components_xgboost)

    def statistic(order: IntArray | None) -> Matrix:
        true = values if order is None else values[order]
        return score_predictions(folds, predict_by_trees(folds, true, seed=seed), true)

    return (yield from _null_of(statistic, part, config, "XGBoost", rng))


def _null_of(
    statistic: Any,
    part: ClassData,
    config: GenePredictionConfig,
    name: str,
    rng: np.random.Generator,
) -> Job[GeneScores]:
    return (
        yield from run_null(
            statistic,
            part.strata(config.permute_within).tolist(),
            config.n_permutations_slow,
            rng=rng,
            step=f"Refitting {name} for {part.name}",
        )
    )


def score_all(
    plan: Any,
    features: Matrix,
    expression: Matrix,
    design: Design,
    config: GenePredictionConfig,
    *,
    rng: np.random.Generator,
) -> Job[Mapping[str, GeneScores]]:
    """Score every class by ridge with the few permutations of the controls."""
    parts, _ = divide_classes(plan, features, design, config.min_patches)
    scores = {}
    for part in parts:
        scores[part.name] = yield from score_ridge(
            part, expression, config, config.control_permutations, rng=rng
        )
    return scores
