"""The controls that stand beside every table of genes (method specification, section 16.8).

A target is a smooth function of the image by construction: the coupling is computed from the image
and blurred. So a high R2, and beating permuted rows, is expected of any cloud of RNA cells. Each
control takes away one thing that a claim on genes would rest on, and does the same again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_couplings import Origin
from napari_bio_superposition.alignment.genes_folds import make_folds, split_wells
from napari_bio_superposition.alignment.genes_halves import Halves, score_halves
from napari_bio_superposition.alignment.genes_null import GeneScores
from napari_bio_superposition.alignment.genes_prediction import (
    GeneData,
    divide_classes,
    score_all,
    score_split_cells,
)
from napari_bio_superposition.alignment.genes_ridge import (
    choose_alpha,
    compress_targets,
    make_hat,
)
from napari_bio_superposition.alignment.genes_targets import Design, project_targets, split_cells
from napari_bio_superposition.alignment.nulls import GAUSSIAN, SHUFFLED, rebuild_geometry
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import IntArray

Matrix = npt.NDArray[Any]
Couple = Callable[[Matrix, Matrix, Origin], "Job[Any]"]
"""Image and RNA representation, and which patches and cells their rows stand for, to a plan
``(n, m)``, by the settings of the coupling at hand."""
_WHOLE = Origin()


@dataclass(frozen=True, eq=False)
class Control:
    """One control: scores by class, or why there are none.

    Parameters
    ----------
    name
        Of the control, with what varies behind a slash: ``plates/plate1``.
    scores
        Class to scores; empty where it was not run.
    reason
        Why it was not run, or what is left out.
    same_genes
        Whether the scores are of the table's own genes.
    """

    name: str
    scores: Mapping[str, GeneScores]
    reason: str = ""
    same_genes: bool = True


def control_geometry(
    data: GeneData, config: GenePredictionConfig, couple: Couple, *, rng: np.random.Generator
) -> Job[list[Control]]:
    """Couple with a Gaussian cloud of the RNA's covariance, and with an unrelated tissue.

    Every point of the cloud carries the expression, and the class, of the RNA cell nearest to it.
    """
    cloud = rebuild_geometry(data.latent.astype(np.float64), GAUSSIAN, rng=rng)
    nearest = _nearest(data.latent, cloud, 1)[:, 0]
    plan = yield from couple(data.representation, cloud, Origin(cells=nearest))
    design = _with_cells(data.design, nearest)
    scores = yield from score_all(
        plan, data.features, data.expression[nearest], design, config, rng=rng
    )
    controls = [Control("geometry/gaussian", scores)]
    if data.unrelated is None:
        reason = "no unrelated tissue is given (--unrelated FILE.h5ad)"
        return [*controls, Control("geometry/unrelated", {}, reason)]
    latent, expression = data.unrelated
    plan = yield from couple(data.representation, latent, Origin(related=False))
    everyone = np.full(len(data.design.classes), "all"), np.full(len(latent), "all")
    design = Design(data.design.groups, data.design.plates, *everyone)
    scores = yield from score_all(plan, data.features, expression, design, config, rng=rng)
    return [*controls, Control("geometry/unrelated", scores, same_genes=False)]


def control_swapped(
    data: GeneData, config: GenePredictionConfig, couple: Couple, *, rng: np.random.Generator
) -> Job[list[Control]]:
    """Couple image features whose columns are shuffled within classes.

    ``from_images`` predicts their targets from the true images, which should fail; ``from_swapped``
    from the shuffled features themselves: what is left there is circular.
    """
    swapped = data.representation.astype(np.float64).copy()
    for name in np.unique(data.design.classes):
        rows = data.design.classes == name
        swapped[rows] = rebuild_geometry(swapped[rows], SHUFFLED, rng=rng)
    plan = yield from couple(swapped, data.latent, _WHOLE)
    controls = []
    for name, features in (("from_images", data.features), ("from_swapped", swapped)):
        scores = yield from score_all(plan, features, data.expression, data.design, config, rng=rng)
        controls.append(Control(f"swapped/{name}", scores))
    return controls


def control_held_out(
    data: GeneData, config: GenePredictionConfig, couple: Couple, *, rng: np.random.Generator
) -> Job[list[Control]]:
    """Couple the training wells alone, and score on wells that took no part in it (rule 8).

    The target of a held-out patch is the mean target of the coupled patches nearest to it. That
    alone would be circular once more: so it is learned from one half of the RNA cells and scored on
    the other, as in `score_split_cells`.
    """
    design = data.design
    if len(np.unique(design.groups)) < 2:
        return [Control("held_out", {}, "all patches are of one well")]
    splits = split_wells(design.groups, design.strata, config.held_out_folds, rng=rng)
    plans = []
    for train, test in splits:
        plan = yield from couple(data.representation[train], data.latent, Origin(rows=train))
        plans.append((train, test, plan))
    scores = {}
    for name in design.shared_classes:
        found = yield from _score_held_out(data, plans, name, config, rng)
        if found is not None:
            scores[name] = found
    reason = "" if scores else "every class has too few patches or wells in a part"
    return [Control("held_out", scores, reason)]


def _score_held_out(
    data: GeneData,
    plans: list[tuple[IntArray, IntArray, Any]],
    name: str,
    config: GenePredictionConfig,
    rng: np.random.Generator,
) -> Job[GeneScores | None]:
    halves, cells = [], np.zeros(0, np.int64)
    for train, test, plan in plans:
        parts, _ = divide_classes(
            plan, data.features[train], data.design.take(train), config.min_patches // 2
        )
        part = next((part for part in parts if part.name == name), None)
        held_out = test[data.design.classes[test] == name]
        if part is None or not len(held_out):
            return None
        yield Progress(f"Targets of held-out wells, {name}")
        coupled = train[part.rows]
        first, second, both_halves = split_cells(part.weights, rng=rng)
        coupled = coupled[both_halves]
        target = compress_targets(project_targets(first, data.expression[part.cells]))
        rows = np.arange(len(coupled))
        both = np.concatenate([coupled, held_out])
        split = (rows, len(coupled) + np.arange(len(held_out)))
        fold = make_folds(data.features[both], [split], config.n_components)[0]
        alpha = choose_alpha(fold, target, data.design.groups[both], rng=rng)
        extend = _extend(data.representation[coupled], data.representation[held_out], config)
        halves.append(Halves([make_hat(fold, alpha, extend)], first, second))
        cells = part.cells  # those of the class, the same in every part
    return (
        yield from score_halves(
            halves,
            data.expression[cells],
            config.control_permutations,
            rng=rng,
            step=f"Permuting RNA cells of {name}, held-out wells",
        )
    )


def _extend(coupled: Matrix, held_out: Matrix, config: GenePredictionConfig) -> Any:
    """Return the mean over the nearest coupled patches as a matrix, ``(n_held_out, n_coupled)``."""
    number = min(config.n_extended, len(coupled))
    nearest = _nearest(coupled, held_out, number)
    rows = np.repeat(np.arange(len(held_out)), number)
    entries = np.full(len(rows), 1 / number)
    shape = (len(held_out), len(coupled))
    return sparse.csr_array((entries, (rows, nearest.ravel())), shape=shape)


def control_features(
    data: GeneData, config: GenePredictionConfig, couple: Couple, *, rng: np.random.Generator
) -> Job[list[Control]]:
    """Go the same way with other features: those of the CNN, and of a random SAE."""
    if not data.other_features:
        return [Control("features", {}, "the table of patches has no CNN features (obsm X_cnn)")]
    controls = []
    for name, features in data.other_features.items():
        plan = yield from couple(features, data.latent, _WHOLE)
        scores = yield from score_all(plan, features, data.expression, data.design, config, rng=rng)
        controls.append(Control(f"features/{name}", scores))
    return controls


def control_plates(
    data: GeneData, config: GenePredictionConfig, couple: Couple, *, rng: np.random.Generator
) -> Job[list[Control]]:
    """Couple and score every plate on its own."""
    plates, sizes = np.unique(data.design.plates, return_counts=True)
    if len(plates) < 2:
        return [Control("plates", {}, "there is one plate only")]
    controls = []
    for plate in plates[np.argsort(-sizes, kind="stable")][: config.max_plates]:
        rows = np.flatnonzero(data.design.plates == plate)
        if len(rows) < config.min_patches:
            reason = f"{len(rows)} patches, {config.min_patches} are asked for"
            controls.append(Control(f"plates/{plate}", {}, reason))
            continue
        plan = yield from couple(data.representation[rows], data.latent, Origin(rows=rows))
        scores = yield from score_all(
            plan, data.features[rows], data.expression, data.design.take(rows), config, rng=rng
        )
        reason = "" if scores else "every class has too few patches or one well on it"
        controls.append(Control(f"plates/{plate}", scores, reason))
    return controls


def control_split_cells(
    data: GeneData, config: GenePredictionConfig, *, rng: np.random.Generator
) -> Job[list[Control]]:
    """Learn from one half of the RNA cells, score on the other; see `score_split_cells`."""
    parts, _ = divide_classes(data.plan, data.features, data.design, config.min_patches)
    scores = {}
    for part in parts:
        scores[part.name] = yield from score_split_cells(
            part, data.expression, config, config.control_permutations, rng=rng
        )
    return [Control("split_cells", scores)]


def measure_genes(expression: Matrix, latent: Matrix, n_neighbours: int = 15) -> dict[str, Matrix]:
    """Return what makes any gene predictable: ``log_mean``, ``dropout``, ``moran``, ``(n_genes,)``.

    Moran's I is taken over the neighbour graph of the RNA cells' latent space.
    """
    neighbours = NearestNeighbors(n_neighbors=min(n_neighbours, len(latent) - 1)).fit(latent)
    graph = sparse.csr_matrix(neighbours.kneighbors_graph())
    graph = graph.maximum(graph.T).astype(np.float64)
    return {
        "log_mean": np.log1p(expression.mean(axis=0)),
        "dropout": np.mean(expression <= 0, axis=0),
        "moran": measure_moran(graph, expression),
    }


def measure_moran(graph: Any, values: Matrix) -> Matrix:
    """Return Moran's I of every column over a graph, ``n / W sum w_ij z_i z_j / sum z_i^2``.

    0 where a column does not vary. All genes at once; scanpy's takes half a minute to compile.
    """
    centred = values.astype(np.float64) - values.mean(axis=0)
    total = np.sum(centred**2, axis=0)
    joined = np.sum(centred * (graph @ centred), axis=0) * len(values) / graph.sum()
    return np.asarray(np.divide(joined, total, out=np.zeros_like(total), where=total > 1e-12))


def residual_z(z: Matrix, measured: Mapping[str, Matrix]) -> Matrix:
    """Return what is left of z after level, dropout and smoothness of the genes are accounted for.

    Least squares on the three, their squares and products; nan stays nan.
    """
    known = np.isfinite(z)
    columns = [np.ones(int(known.sum()))]
    base = []
    for values in measured.values():
        spread = values[known].std()
        base.append((values[known] - values[known].mean()) / (spread if spread > 0 else 1.0))
    columns += base
    columns += [a * b for number, a in enumerate(base) for b in base[number:]]
    table = np.stack(columns, axis=1)
    residual = np.full(z.shape, np.nan)
    if known.sum() > table.shape[1]:
        residual[known] = z[known] - table @ np.linalg.lstsq(table, z[known], rcond=None)[0]
    return residual


def random_features(pooled: Matrix, like: Matrix, *, rng: np.random.Generator) -> Matrix:
    """Return random sparse features of pooled CNN features, as many and as often active as *like*.

    Random directions followed by a threshold: the pooled analogue of an SAE with random weights.

    Parameters
    ----------
    pooled
        ``(n, width)``.
    like
        SAE features ``(n, n_latents)``.
    rng
        Draws the directions.
    """
    centred = pooled.astype(np.float64) - pooled.mean(axis=0)
    directions = rng.standard_normal((pooled.shape[1], like.shape[1]))
    activity = centred @ directions / np.sqrt(pooled.shape[1])
    share = np.clip(np.mean(like > 0), 0.01, 0.99)
    return np.asarray(np.maximum(activity - np.quantile(activity, 1 - share, axis=0), 0.0))


def _nearest(points: Matrix, others: Matrix, number: int) -> IntArray:
    found = NearestNeighbors(n_neighbors=number).fit(points)
    return np.asarray(found.kneighbors(others, return_distance=False), dtype=np.int64)


def _with_cells(design: Design, cells: IntArray) -> Design:
    return Design(design.groups, design.plates, design.classes, design.rna_classes[cells])
