"""The permutation null of genes: fixed hat matrices and a common basis, against refitting."""

import time
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from napari_bio_superposition.alignment.genes_folds import Fold, make_folds, split_wells
from napari_bio_superposition.alignment.genes_null import permute_within
from napari_bio_superposition.alignment.genes_ridge import compress_targets, make_hat, score_hats

_ALPHA = 10.0
_N_REFITTED = 3


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per number of patches."""
    return [measure_null(1000, 3000, 200), measure_null(2000, 3000, 200)]


def make_problem(n: int, n_genes: int) -> tuple[list[Fold], np.ndarray]:
    """Return folds of image features, and blurred targets of *n* patches, as a coupling gives."""
    rng = np.random.default_rng(0)
    state, cells = rng.random((n, 2)), rng.random((n, 2))
    features = np.tanh(state @ rng.normal(size=(2, 200))) + 0.3 * rng.normal(size=(n, 200))
    weights = np.exp(-((state[:, None] - cells[None]) ** 2).sum(axis=2) / 0.01)
    expression = np.log1p(rng.poisson(1.0, (n, n_genes)) + 3 * cells @ rng.random((2, n_genes)))
    targets = weights @ expression / weights.sum(axis=1, keepdims=True)
    wells = np.array([f"w{i % 20}" for i in range(n)])
    splits = split_wells(wells, np.full(n, "p"), 5, rng=rng)
    return make_folds(features, splits, 100), targets


def measure_null(n: int, n_genes: int, n_permutations: int) -> dict[str, Any]:
    """Time the whole null by hat matrices, and some permutations of it by refitting."""
    folds, targets = make_problem(n, n_genes)
    rng = np.random.default_rng(1)
    strata = ["all"] * n
    orders = [permute_within(strata, rng=rng) for _ in range(n_permutations)]
    start = time.process_time()
    common = compress_targets(targets)
    hats = [make_hat(fold, _ALPHA) for fold in folds]
    fast = [score_hats(hats, common, order) for order in orders]
    hat_s = time.process_time() - start
    start = time.process_time()
    slow = [_refit(folds, targets[order]) for order in orders[:_N_REFITTED]]
    refit_s = (time.process_time() - start) / _N_REFITTED * n_permutations
    return {
        "patches": n,
        "genes": n_genes,
        "permutations": n_permutations,
        "basis": common.basis.shape[1],
        "hat_cpu_s": hat_s,
        "refit_cpu_s_extrapolated": refit_s,
        "ratio": refit_s / hat_s,
        "largest_difference": float(np.abs(np.stack(fast[:_N_REFITTED]) - np.stack(slow)).max()),
    }


def _refit(folds: list[Fold], targets: np.ndarray) -> np.ndarray:
    """Return R2 of every gene with one ridge fit of all genes per fold."""
    error = total = np.zeros(targets.shape[1])
    for fold in folds:
        model = Ridge(alpha=_ALPHA).fit(fold.inputs_train, targets[fold.train])
        true = targets[fold.test]
        error = error + ((true - model.predict(fold.inputs_test)) ** 2).sum(axis=0)
        total = total + ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return 1 - error / total
