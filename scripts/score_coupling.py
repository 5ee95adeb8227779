"""Score couplings where the truth is planted: matches, genes, verdicts, robustness to neighbours.

``python scripts/score_coupling.py planted|verdicts|neighbours FIRST_SEED LAST_SEED [--cells N]
[--unlike] [--scgem FOLDER]`` prints one JSON object per row and adds them to
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
from sklearn.metrics import roc_auc_score

from napari_bio_superposition.alignment import CouplingConfig, couple, score_pairs
from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_prediction import (
    divide_classes,
    score_ridge,
    score_split_cells,
)
from napari_bio_superposition.alignment.genes_targets import make_design
from napari_bio_superposition.core.progress import run

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "coupling.json"
NEIGHBOURS = (10, 20, 30, 50, 110)
QUICK = {"neighbours": (15, 30), "n_landmarks": 120, "n_starts": 12, "n_resamples": 4}


def main() -> None:
    """Run the chosen measurement for a range of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("planted", "verdicts", "neighbours"))
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--cells", type=int, default=0)
    parser.add_argument("--scgem", type=Path)
    parser.add_argument("--unlike", action="store_true", help="verdicts on unlike RNA alone")
    args = parser.parse_args()
    for seed in range(args.first, args.last + 1):
        if args.what == "planted":
            rows: Iterator[dict[str, Any]] = iter([score_planted(args.cells or 2000, seed)])
        elif args.what == "verdicts":
            rows = score_verdicts(args.cells or 300, seed, unlike=args.unlike)
        else:
            rows = score_neighbours(args.cells or 1000, seed, args.scgem)
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
        "AUROC z": roc_auc_score(linked, plain.z),
        "AUROC z on other cells": roc_auc_score(linked, split.z),
        "linked found": _share_found(split, linked),
        "unlinked modules found": _share_found(split, kind == "module"),
        "other genes found": _share_found(split, kind == "noise"),
        "CPU seconds of the coupling": seconds,
    }


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


def score_neighbours(n: int, seed: int, scgem: Path | None) -> Iterator[dict[str, Any]]:
    """Couple with every fixed number of neighbours, and with the choice among all of them."""
    if scgem is None:
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
            mass = np.stack([coupling.plan[:, labels == c].sum(axis=1) for c in np.unique(labels)])
            row["LTA"] = float(np.mean(np.unique(labels)[mass.argmax(axis=0)] == labels))
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
