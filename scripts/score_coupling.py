"""Score couplings where the truth is planted: matches, genes, verdicts, robustness to neighbours.

``python scripts/score_coupling.py planted|lines|states|verdicts|neighbours FIRST_SEED LAST_SEED
[--cells N] [--unlike] [--scgem FOLDER] [--lines]`` prints one JSON object per row and adds them to
benchmarks/results/coupling.json. Run by hand: minutes to an hour of processor time.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.bench_alignment import embed_points, make_sheet, make_views
from sklearn.decomposition import NMF, PCA
from sklearn.metrics import roc_auc_score

from napari_bio_superposition.alignment import CouplingConfig, couple, score_pairs
from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_prediction import (
    divide_classes,
    score_ridge,
    score_split_cells,
)
from napari_bio_superposition.alignment.genes_targets import make_design
from napari_bio_superposition.alignment.geodesics import METRICS
from napari_bio_superposition.alignment.survey import measure_paths, survey_modality
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.simulate import (
    FACTORS,
    GENOTYPES,
    RnaConfig,
    sample_states,
    simulate_rna_of,
)

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "coupling.json"
NEIGHBOURS = (10, 20, 30, 50, 110)
QUICK = {"neighbours": (15, 30), "n_landmarks": 120, "n_starts": 12, "n_resamples": 4}


def main() -> None:
    """Run the chosen measurement for a range of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("planted", "lines", "states", "verdicts", "neighbours"))
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--cells", type=int, default=0)
    parser.add_argument("--scgem", type=Path)
    parser.add_argument("--lines", action="store_true", help="neighbours on look-alikes of lines")
    parser.add_argument("--unlike", action="store_true", help="verdicts on unlike RNA alone")
    args = parser.parse_args()
    for seed in range(args.first, args.last + 1):
        if args.what == "planted":
            rows: Iterator[dict[str, Any]] = iter([score_planted(args.cells or 2000, seed)])
        elif args.what == "lines":
            rows = score_lines(args.cells or 1047, seed)
        elif args.what == "states":
            rows = score_states(args.cells or 2000, seed)
        elif args.what == "verdicts":
            rows = score_verdicts(args.cells or 300, seed, unlike=args.unlike)
        else:
            rows = score_neighbours(args.cells or 1047, seed, args.scgem, lines=args.lines)
        for row in rows:
            _keep(args.what, row)


def score_planted(n: int, seed: int) -> dict[str, Any]:
    """Couple two views of one sheet; rank genes that follow the sheet, and modules that do not."""
    views = make_views(n, seed)
    coupling, seconds = _couple(views, CouplingConfig(n_nulls=0), seed)
    scores = score_pairs(coupling, *views)
    rng = np.random.default_rng(10_000 + seed)
    expression, kind = _draw_genes(make_sheet(n, seed), rng)
    wells = [f"p{i % 2}/w{i % 20}" for i in rng.permutation(n)]
    design = make_design(wells, [well[:2] for well in wells], n_rna=n)
    part = divide_classes(coupling.plan, views[0], design, 40)[0][0]
    genes = GenePredictionConfig(n_components=20)
    plain = run(score_ridge(part, expression, genes, 50, rng=rng))
    split = run(score_split_cells(part, expression, genes, 50, rng=rng))
    linked = kind == "linked"
    return {
        "cells": n,
        "seed": seed,
        "FOSCTTM": scores.overall,
        "shared structure": _correlate_paths(views, rng),
        "AUROC z": roc_auc_score(linked, plain.z),
        "AUROC z on other cells": roc_auc_score(linked, split.z),
        "linked found": _share_found(split, linked),
        "unlinked modules found": _share_found(split, kind == "module"),
        "other genes found": _share_found(split, kind == "noise"),
        "CPU seconds of the coupling": seconds,
    }


def _correlate_paths(views: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> float:
    """Return how far two views of the same cells agree about the paths between them."""
    surveys = [
        run(survey_modality(view, CouplingConfig(neighbours=(30,)), name="view", rng=rng))
        for view in views
    ]
    cells = surveys[0].landmarks
    everyone = [
        measure_paths(survey.neighbours, cells, 30, survey.config)[0][:, cells]
        for survey in surveys
    ]
    return float(np.corrcoef(everyone[0].ravel(), everyone[1].ravel())[0, 1])


def _draw_genes(sheet: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return log counts: 100 genes follow the sheet, 100 two hidden latents, 100 nothing."""
    kind = np.repeat(["linked", "module", "noise"], 100)
    place = (sheet - sheet.mean(axis=0)) / sheet.std(axis=0)
    hidden = rng.normal(size=(len(sheet), 2))
    log_rate = np.tile(rng.normal(0.5, 0.8, 300), (len(sheet), 1))
    log_rate[:, :100] += 0.5 * place @ rng.normal(size=(2, 100))
    log_rate[:, 100:200] += 0.5 * hidden @ rng.normal(size=(2, 100))
    return np.log1p(rng.poisson(np.exp(log_rate)).astype(float)), kind


def _share_found(scores: Any, rows: np.ndarray) -> float:
    """Return the share of genes that count as found: q below 0.05 and R2 above 0."""
    return float(((scores.q < 0.05) & (scores.r2 > 0))[rows].mean())


def score_lines(n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Couple a look-alike of a co-assay of four cell lines by each metric."""
    topics, components, line = _draw_lines(n, np.random.default_rng(seed))
    yield from _score_metrics((topics, components), line.astype(str), seed)


def _score_metrics(
    views: tuple[np.ndarray, np.ndarray], labels: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    """Couple two views of the same cells by each metric."""
    for metric in METRICS:
        coupling, seconds = _couple(views, CouplingConfig(metric=metric, n_nulls=0), seed)
        scores = score_pairs(coupling, *views, list(labels))
        yield {
            "cells": len(labels),
            "seed": seed,
            "metric": metric,
            "FOSCTTM": scores.overall,
            "FOSCTTM of projections": scores.projected_to_rna,
            "within classes": scores.within_class,
            "LTA": _transfer(coupling.plan, labels, labels),
            "CPU seconds": seconds,
        }


def _draw_lines(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return topics of open regions, components of counts, and the line of each cell.

    The lines lie alike in both modalities, up to noise; cells within a line do not correspond.
    """
    line = rng.choice(4, n, p=rng.dirichlet([6] * 4))
    centres = rng.normal(size=(4, 6))
    state = centres[line] + 0.3 * rng.normal(size=(n, 6))
    loadings = 0.8 * rng.normal(size=(6, 1500)) * (rng.random((6, 1500)) < 0.15)
    rate = np.exp(rng.normal(-1, 1.3, 1500) + state @ loadings + 0.3 * rng.normal(size=(n, 1)))
    total = 1500 * np.exp(0.35 * rng.normal(size=(n, 1)))
    counts = rng.poisson(rate / rate.sum(axis=1, keepdims=True) * total)
    logged = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)
    components = PCA(10, random_state=0).fit_transform(logged)
    moved = centres + 0.35 * rng.normal(size=centres.shape)
    state = moved[line] + 0.3 * rng.normal(size=(n, 6))
    loadings = 0.9 * rng.normal(size=(6, 2500)) * (rng.random((6, 2500)) < 0.2)
    logit = rng.normal(-3.2, 0.8, 2500) + state @ loadings + 0.4 * rng.normal(size=(n, 1))
    is_open = (rng.random((n, 2500)) < 1 / (1 + np.exp(-logit))).astype(float)
    weights = np.log1p(n / np.maximum(is_open.sum(axis=0), 1))
    weighted = is_open / np.maximum(is_open.sum(axis=1, keepdims=True), 1) * weights
    topics = NMF(19, init="nndsvda", max_iter=150, random_state=0).fit_transform(weighted)
    return topics / np.maximum(topics.sum(axis=1, keepdims=True), 1e-12), components, line


def score_states(n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Couple the true states of simulated cells with the RNA of the same cells, by each metric."""
    rng = np.random.default_rng(seed)
    states = sample_states(rng.integers(0, len(GENOTYPES), n), rng=rng)
    table = simulate_rna_of(states, RnaConfig(), rng=rng)
    counts = table.X.toarray()
    logged = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)
    components = PCA(30, random_state=0).fit_transform(logged)
    factors = np.stack([getattr(states, name) for name in FACTORS], axis=1)
    yield from _score_metrics((factors, components), states.genotype.astype(str), seed)


def _transfer(plan: np.ndarray, labels: np.ndarray, labels_rna: np.ndarray) -> float:
    """Return the share of rows whose class holds most of their mass."""
    classes = np.unique(labels_rna)
    mass = np.stack([plan[:, labels_rna == name].sum(axis=1) for name in classes])
    return float(np.mean(classes[mass.argmax(axis=0)] == labels))


def score_verdicts(n: int, seed: int, *, unlike: bool = False) -> Iterator[dict[str, Any]]:
    """Judge RNA that is shuffled, of another shape, and (not where *unlike*) true."""
    rng = np.random.default_rng(20_000 + seed)
    images, rna = make_views(n, seed)
    shape = list(SHAPES)[seed % len(SHAPES)]
    unrelated = embed_points(SHAPES[shape](n, rng), 15, rng)
    cases = {"shuffled": rng.permuted(rna, axis=0), f"unrelated: {shape}": unrelated}
    for name, other in (cases if unlike else cases | {"true": rna}).items():
        coupling, seconds = _couple((images, other), CouplingConfig(**QUICK, n_nulls=6), seed)
        halves = coupling.halves
        yield {
            "cells": n,
            "seed": seed,
            "RNA": name,
            "verdict": coupling.verdict,
            "excess": None if halves is None else halves.excess,
            "over the tighter": None if halves is None else halves.excess_over_tighter,
            "reproducibility": None if halves is None else halves.reproducibility,
            "CPU seconds": seconds,
        }


def _sphere(n: int, rng: np.random.Generator) -> np.ndarray:
    points = rng.normal(size=(n, 3))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


def _ring_with_stalk(n: int, rng: np.random.Generator) -> np.ndarray:
    angle, outside = 2 * np.pi * rng.random(n), rng.random(n) < 0.3
    ring = np.c_[np.cos(angle), np.sin(angle)]
    stalk = np.c_[1 + 1.5 * rng.random(n), np.zeros(n)]
    return np.asarray(np.where(outside[:, None], stalk, ring) + 0.06 * rng.normal(size=(n, 2)))


def _star(n: int, rng: np.random.Generator) -> np.ndarray:
    arm, length = rng.choice(4, n, p=[0.4, 0.25, 0.2, 0.15]), rng.random(n)
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
    return np.asarray(length[:, None] * corners[arm] + 0.06 * rng.normal(size=(n, 3)))


def _torus(n: int, rng: np.random.Generator) -> np.ndarray:
    around, across = 2 * np.pi * rng.random((2, n))
    radius = 2 + 0.7 * np.cos(across)
    return np.c_[radius * np.cos(around), radius * np.sin(around), 0.7 * np.sin(across)]


def _clusters(n: int, rng: np.random.Generator) -> np.ndarray:
    centres = 1.5 * rng.normal(size=(6, 5))
    return np.asarray(centres[rng.choice(6, n)] + 0.4 * rng.normal(size=(n, 5)))


SHAPES = {
    "sphere": _sphere,
    "ring with stalk": _ring_with_stalk,
    "star": _star,
    "torus": _torus,
    "clusters": _clusters,
}
"""Of the unrelated RNA; seeds take turns."""


def score_neighbours(
    n: int, seed: int, scgem: Path | None, *, lines: bool = False
) -> Iterator[dict[str, Any]]:
    """Couple with every fixed number of neighbours, and with the choice among all of them."""
    if lines:
        name = f"lines, {n}"
        first, second, line = _draw_lines(n, np.random.default_rng(seed))
        labels = line.astype(str)
    elif scgem is None:
        name, labels = f"sheet, {n}", None
        first, second = make_views(n, seed)
    else:
        name = "scgem"
        first = np.loadtxt(scgem / "methylation.txt")
        second = np.loadtxt(scgem / "expression.txt")
        labels = np.loadtxt(scgem / "expression_type.txt").astype(int).astype(str)
    choices = {"automatic": CouplingConfig(n_nulls=0)}
    choices |= {str(k): CouplingConfig(n_nulls=0, neighbours=(k,)) for k in NEIGHBOURS}
    for chosen, config in choices.items():
        coupling, seconds = _couple((first, second), config, seed)
        scores = score_pairs(coupling, first, second, None if labels is None else list(labels))
        row = {
            "data": name,
            "seed": seed,
            "neighbours": chosen,
            "used": list(coupling.k),
            "epsilon": coupling.epsilon,
            "FOSCTTM": scores.overall,
            "FOSCTTM of projections": scores.projected_to_rna,
        }
        if labels is not None:
            row["LTA"] = _transfer(coupling.plan, labels, labels)
        yield row | {"CPU seconds": seconds}


def _couple(
    views: tuple[np.ndarray, np.ndarray], config: CouplingConfig, seed: int
) -> tuple[Any, float]:
    start = time.process_time()
    coupling = run(couple(*views, config, rng=np.random.default_rng(seed)))
    return coupling, time.process_time() - start


def _keep(what: str, row: dict[str, Any]) -> None:
    """Print a row and add it to the results, so that a run that is cut short keeps what it has."""
    row = {
        key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()
    }
    print(json.dumps(row), flush=True)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results.setdefault(what, []).append(row)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
