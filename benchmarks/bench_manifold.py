"""PHATE, diffusion map, pseudotime and PAGA: shared neighbours against the direct calls.

Both sides get the same principal components, parameters and seed. The direct calls search
neighbours twice (PHATE's tree, scanpy's exact search; its approximate one, the default from 8192
patches, fails with the pynndescent of our constraints); ours search once, exactly.

Figures are seconds of the processor, all threads together: other work on the machine moves them
less than those of a clock. PHATE's k-means, matrix power and scaling, which both sides share, are
most of it: with 2,000 and 5,000 patches the ratio is 1 within a noise of some 7 %.
"""

import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import phate
import scanpy as sc
from anndata import AnnData

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.embedding import count_neighbors, lay_out_phate
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig
from napari_bio_superposition.manifold.neighbors import add_graph, find_neighbors
from napari_bio_superposition.manifold.trajectory import add_trajectory
from napari_bio_superposition.manifold.trajectory_config import TrajectoryConfig

_SIZES = (2000, 5000, 15_000)
_N_PCS = 50
_T = 20  # fixed on both sides: the search for it costs the same, and would hide the rest


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _warm_up()
        return [compare(n) for n in _SIZES]


def make_scores(n: int, seed: int = 0) -> np.ndarray:
    """Return principal components of three arms that leave one state, ``(n, 50)``."""
    rng = np.random.default_rng(seed)
    along, arm = rng.uniform(size=n), rng.integers(3, size=n)
    scores = rng.normal(size=(n, _N_PCS)) * np.geomspace(1, 0.3, _N_PCS)
    scores[np.arange(n), arm] += 12 * along
    scores[:, 3] += 4 * np.sin(4 * along)
    return np.asarray(scores, np.float32)


def compare(n: int) -> dict[str, Any]:
    """Time both sides on the same scores; compare pseudotime."""
    scores = make_scores(n)
    ours, theirs = _table(scores), _table(scores)
    steps: dict[str, float] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ordered = _timed(steps, "ours", lambda: _ours(ours, steps))
    between = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _timed(steps, "direct", lambda: _direct(theirs, steps))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = [table.obs["dpt_pseudotime"].to_numpy() for table in (ordered, theirs)]
    known = np.isfinite(times).all(axis=0)
    layouts = [table.obsm["X_phate"] for table in (ordered, theirs)]
    return {
        "n": n,
        "n_pcs": _N_PCS,
        "speedup": steps["direct"] / steps["ours"],
        **{f"{name}_cpu_s": round(seconds, 2) for name, seconds in steps.items()},
        "pseudotime_correlation": float(np.corrcoef(times[0][known], times[1][known])[0, 1]),
        "phate_difference": float(np.abs(layouts[0] - layouts[1]).max() / np.ptp(layouts[1])),
        "more_memory_ours_mb": (between - before) / 1024,
        "more_memory_direct_mb": (after - between) / 1024,
    }


def _timed(steps: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = work()
    steps[name] = time.process_time() - start
    return result


def _table(scores: np.ndarray) -> AnnData:
    return AnnData(np.zeros((len(scores), 1), np.float32), obsm={"X_pca": scores})


def _ours(table: AnnData, steps: dict[str, float]) -> AnnData:
    scores = table.obsm["X_pca"]
    config = EmbeddingConfig(phate_t=_T)
    k = count_neighbors(config)
    neighbors = _timed(steps, "ours_neighbors", lambda: find_neighbors(scores, k))
    table.obsm["X_phate"] = _timed(
        steps, "ours_phate", lambda: lay_out_phate(scores, config, 0, neighbors)
    )
    add_graph(table, neighbors, 15)
    return run(add_trajectory(table, TrajectoryConfig(root="0")))


def _direct(table: AnnData, steps: dict[str, float]) -> None:
    scores = table.obsm["X_pca"]
    operator = phate.PHATE(
        knn=5, decay=40, t=_T, n_pca=None, mds_solver="smacof", random_state=0, verbose=0, n_jobs=1
    )
    table.obsm["X_phate"] = _timed(steps, "direct_phate", lambda: operator.fit_transform(scores))
    _timed(
        steps,
        "direct_neighbors",
        lambda: sc.pp.neighbors(table, 15, use_rep="X_pca", transformer="sklearn"),
    )
    sc.tl.diffmap(table, 15)
    table.uns["iroot"] = 0
    sc.tl.dpt(table, n_dcs=10)
    sc.tl.leiden(table, 0.65, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    sc.tl.paga(table, "leiden")


def _warm_up() -> None:
    """Let numba compile on both sides before anything is timed."""
    small = make_scores(300)
    _ours(_table(small), {})
    _direct(_table(small), {})
