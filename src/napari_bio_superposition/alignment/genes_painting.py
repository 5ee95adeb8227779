"""Predicted expression of each patch with its uncertainty: arrays for an overlay. No images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_couplings import Alternative
from napari_bio_superposition.alignment.genes_folds import Fold, reduce_features, split_wells
from napari_bio_superposition.alignment.genes_prediction import ClassData, GeneData, divide_classes
from napari_bio_superposition.alignment.genes_ridge import choose_alpha, compress_targets, make_hat
from napari_bio_superposition.alignment.genes_targets import project_targets
from napari_bio_superposition.core.errors import TableError

Matrix = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class PaintedValues:
    """Predicted values of each patch, ``(n,)`` each; nan where nothing can be predicted.

    Parameters
    ----------
    values
        Predicted by the fold that held the patch's well out, in units of the expression.
    spread
        Standard deviation over basins, k and folds together.
    spread_basins, spread_k, spread_folds
        Its parts.
    """

    values: Matrix
    spread: Matrix
    spread_basins: Matrix
    spread_k: Matrix
    spread_folds: Matrix


def paint_values(
    data: GeneData,
    values: Matrix,
    alternatives: Sequence[Alternative],
    config: GenePredictionConfig,
    *,
    rng: np.random.Generator,
) -> PaintedValues:
    """Predict one value of the RNA cells at each patch, by every serious coupling.

    Parameters
    ----------
    data
        Coupling, image features and design.
    values
        Of the RNA cells, ``(m,)``: a gene's log expression, or a module's score.
    alternatives
        Other couplings that cannot be dismissed; see `genes_couplings.find_alternatives`.
    config
        Folds and components.
    rng
        Draws the folds, the same for all couplings.
    """
    seed = int(rng.integers(2**31 - 1))

    def predict(some_plan: Any) -> tuple[Matrix, Matrix]:
        moved = replace(data, plan=some_plan)
        return predict_patches(moved, values, config, rng=np.random.default_rng(seed))

    predicted, by_fold = predict(data.plan)
    others: dict[str, list[Matrix]] = {"basin": [predicted], "k": [predicted]}
    for alternative in alternatives:
        others[alternative.kind].append(predict(alternative.plan)[0])
    basins, ks = (np.std(np.stack(others[kind]), axis=0) for kind in ("basin", "k"))
    total = np.sqrt(basins**2 + ks**2 + by_fold**2)
    return PaintedValues(predicted, total, basins, ks, by_fold)


def predict_patches(
    data: GeneData,
    values: Matrix,
    config: GenePredictionConfig,
    *,
    rng: np.random.Generator,
) -> tuple[Matrix, Matrix]:
    """Return held-out predictions and their spread over the models of the folds, ``(n,)`` each.

    Raises
    ------
    TableError
        Where no class has enough patches and wells.
    """
    predicted = np.full(len(data.features), np.nan)
    spread = predicted.copy()
    parts, left_out = divide_classes(data.plan, data.features, data.design, config.min_patches)
    if not parts:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise TableError(f"No class can be painted ({reasons}). Give more patches and wells.")
    for part in parts:
        target = project_targets(part.weights, values[part.cells, None])
        predicted[part.rows], spread[part.rows] = _predict_class(part, target, config, rng)
    return predicted, spread


def _predict_class(
    part: ClassData, target: Matrix, config: GenePredictionConfig, rng: np.random.Generator
) -> tuple[Matrix, Matrix]:
    everyone = np.arange(len(part.rows))
    groups = part.design.groups
    held_out = np.full(len(everyone), np.nan)
    models = []
    for train, test in split_wells(groups, part.design.plates, config.n_folds, rng=rng):
        first, second = reduce_features(part.features[train], part.features, config.n_components)
        fold = Fold(train, everyone, first, second)
        hat = make_hat(fold, choose_alpha(fold, compress_targets(target), groups, rng=rng))
        known = target[train]
        found = np.clip((hat.left @ (hat.right @ known))[:, 0], known.min(), known.max())
        held_out[test] = found[test]
        models.append(found)
    return held_out, np.std(np.stack(models), axis=0)
