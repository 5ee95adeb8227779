"""PCA, UMAP and PHATE of the patches of a table, under scanpy's names. No plots, no models."""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import warnings
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from anndata import AnnData

from napari_bio_superposition.core.errors import MissingExtraError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig
from napari_bio_superposition.manifold.neighbors import (
    Neighbors,
    add_graph,
    decaying_kernel,
    find_neighbors,
)
from napari_bio_superposition.manifold.preprocessing import (
    alive_features,
    normalized_rows,
    preprocess,
)

EMBEDDING: Final = "bio_superposition_embedding"
"""Key in ``uns``: JSON text with settings, seeds, counts, and what was skipped and why."""
_MIN_PATCHES: Final = 3
_FEW_PATCHES: Final = 30
"""Below this, UMAP's spectral start can fail; the first two principal components serve."""
_STEPS: Final = 5
_LAYOUTS: Final = 2


def embed(
    adata: AnnData, config: EmbeddingConfig | None = None, *, rng: np.random.Generator
) -> Job[AnnData]:
    """Lay the patches of a table out by PCA, then UMAP, then PHATE.

    Parameters
    ----------
    adata
        A feature table; it is not changed.
    config
        Preparation and layout.
    rng
        The seeds of the libraries are drawn from it, always three, so that skipping one layout
        does not change another.

    Returns
    -------
    AnnData
        A copy with ``obsm`` ``X_pca``, ``X_umap``, ``X_phate`` and scanpy's ``pca``,
        ``neighbors`` and ``umap``; ``uns["bio_superposition_embedding"]`` says how they were
        made (see `describe_embedding`). With ``source="cnn"`` every name ends in ``_cnn``, so
        that both can stand side by side.

    Raises
    ------
    TableError
        Where there are fewer than three patches, or no feature to go by.
    MissingExtraError
        Where PHATE is asked for and not installed.

    Notes
    -----
    Sections 13 and 14 of the method specification.
    """
    config = config or EmbeddingConfig()
    if adata.n_obs < _MIN_PATCHES:
        raise TableError(
            f"The table holds {adata.n_obs} patches, and an embedding needs at least "
            f"{_MIN_PATCHES}. Analyse more images, or loosen the quality control."
        )
    skipped = _plan(config)
    pca_seed, umap_seed, phate_seed = (int(seed) for seed in rng.integers(2**31 - 1, size=3))
    result = adata.copy()
    yield Progress("Preparing features", 0, _STEPS, "steps")
    prepared = preprocess(adata, config)
    yield Progress("Principal components", 1, _STEPS, "steps")
    scores = _add_pca(result, prepared, config, pca_seed)
    yield Progress("Neighbours", 2, _STEPS, "steps")
    neighbors = None
    if len(skipped) < _LAYOUTS:
        neighbors = _add_graph(result, scores, config, umap_seed)
    yield Progress("UMAP", 3, _STEPS, "steps")
    if "umap" not in skipped:
        _add_umap(result, scores, config, umap_seed)
    notice = skipped.get("phate", "") if config.phate != "never" else ""
    yield Progress("PHATE", 4, _STEPS, "steps", notice)
    if "phate" not in skipped:
        layout = lay_out_phate(scores, config, phate_seed, neighbors)
        result.obsm[_named(Keys.PHATE, config)] = layout
    result.uns[_named(EMBEDDING, config)] = json.dumps(
        {
            "config": dataclasses.asdict(config),
            "seeds": {"pca": pca_seed, "umap": umap_seed, "phate": phate_seed},
            "n_patches": adata.n_obs,
            "n_features": prepared.shape[1],
            "n_pcs": scores.shape[1],
            "skipped": skipped,
        },
        sort_keys=True,
    )
    yield Progress("PHATE", _STEPS, _STEPS, "steps")
    return result


def describe_embedding(adata: AnnData, source: str = "features") -> dict[str, Any]:
    """Return how the embeddings of a table were made.

    Returns
    -------
    dict
        ``config``, ``seeds``, ``n_patches``, ``n_features``, ``n_pcs``, and ``skipped``: layout
        to reason.

    Raises
    ------
    TableError
        Where the table was not embedded.
    """
    key = EMBEDDING if source == "features" else f"{EMBEDDING}_{source}"
    if key not in adata.uns:
        raise TableError("The table has no embedding yet. Run `embed` first.")
    described: dict[str, Any] = json.loads(adata.uns[key])
    return described


def _plan(config: EmbeddingConfig) -> dict[str, str]:
    """Return the layouts that are left out, with the reason."""
    skipped = {}
    if not config.umap:
        skipped["umap"] = "not asked for"
    if config.phate == "never":
        skipped["phate"] = "not asked for"
    elif importlib.util.find_spec("phate") is None:
        missing = MissingExtraError("phate", "phate", "PHATE")
        if config.phate == "always":
            raise missing
        skipped["phate"] = str(missing)
    return skipped


def _named(key: str, config: EmbeddingConfig) -> str:
    return key if config.source == "features" else f"{key}_{config.source}"


def _add_pca(
    adata: AnnData, prepared: FloatArray, config: EmbeddingConfig, seed: int
) -> FloatArray:
    """Add the principal components where scanpy puts them; return the scores."""
    from sklearn.decomposition import PCA

    n_pcs = min(config.n_pcs, prepared.shape[0] - 1, prepared.shape[1])
    pca = PCA(n_pcs, random_state=seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # all patches alike: shares of nothing
        scores: FloatArray = pca.fit_transform(prepared).astype(np.float32)
    adata.obsm[_named(Keys.PCA, config)] = scores
    adata.uns[_named("pca", config)] = {
        "variance": pca.explained_variance_,
        "variance_ratio": np.nan_to_num(pca.explained_variance_ratio_),
        "params": {"zero_center": True, "use_highly_variable": False},
    }
    if config.source == "features":
        loadings = np.zeros((adata.n_vars, n_pcs), np.float32)
        loadings[alive_features(adata, config)] = pca.components_.T
        adata.varm["PCs"] = loadings
    return scores


def count_neighbors(config: EmbeddingConfig) -> int:
    """Return how many neighbours one search has to find for every graph of these settings.

    Six times as many as PHATE's width needs, which is what PHATE itself asks for first: finding
    them costs little more in one search, and looking up again the rows that reach farther costs
    more than the search (15,000 rows of 50 components: 1.8 s after a search of 0.9 s).
    """
    without = config.n_neighbors - 1
    return without if config.phate == "never" else max(without, _of_phate(config.phate_knn))


def _of_phate(knn: int) -> int:
    return 6 * (knn + 1)


def _add_graph(adata: AnnData, scores: FloatArray, config: EmbeddingConfig, seed: int) -> Neighbors:
    """Find the neighbours of all patches once, and add scanpy's graph of them."""
    neighbors = find_neighbors(scores, count_neighbors(config), seed=seed)
    with _quiet():
        add_graph(
            adata,
            neighbors,
            min(config.n_neighbors, adata.n_obs - 1),
            key=_named("neighbors", config),
            use_rep=_named(Keys.PCA, config),
            seed=seed,
        )
    return neighbors


def _add_umap(adata: AnnData, scores: FloatArray, config: EmbeddingConfig, seed: int) -> None:
    """Add UMAP as scanpy does: of the shared graph, or of its own where the settings want that."""
    graph = _named("neighbors", config)
    work = AnnData(
        obs=adata.obs[[]],
        obsm={_named(Keys.PCA, config): scores},
        obsp=dict(adata.obsp),
        uns={graph: adata.uns[graph]},
    )
    if config.umap_input == "rows" or config.metric != "euclidean":
        graph = _named("umap_neighbors", config)
        _add_own_graph(work, adata, scores, config, seed)
        adata.uns[graph] = work.uns[graph]
        for key in (work.uns[graph]["connectivities_key"], work.uns[graph]["distances_key"]):
            adata.obsp[key] = work.obsp[key]
    with _quiet():
        import scanpy

        _let_others_run()
        scanpy.tl.umap(
            work,
            min_dist=config.min_dist,
            init_pos="spectral" if adata.n_obs >= _FEW_PATCHES else _spread_out(scores),
            random_state=seed,
            neighbors_key=graph,
        )
    adata.obsm[_named(Keys.UMAP, config)] = np.asarray(work.obsm[Keys.UMAP], np.float32)
    adata.uns[_named("umap", config)] = work.uns["umap"]


def _let_others_run() -> None:
    """Have UMAP compile its optimisation so that it lets go of the interpreter while it runs.

    Each of its epochs keeps it otherwise, 0.3 s of 20,000 patches, and a window stands still.
    """
    from umap import layouts

    epoch = getattr(layouts, "_nb_optimize_layout_euclidean_single_epoch", None)
    if epoch is not None and not epoch.signatures:  # of a later umap the name may be another
        epoch.targetoptions["nogil"] = True


def _add_own_graph(
    work: AnnData, adata: AnnData, scores: FloatArray, config: EmbeddingConfig, seed: int
) -> None:
    rows = scores if config.umap_input == "pca" else normalized_rows(adata, config)
    work.obsm["rows"] = rows
    with _quiet():
        add_graph(
            work,
            find_neighbors(rows, config.n_neighbors - 1, metric=config.metric, seed=seed),
            min(config.n_neighbors, work.n_obs - 1),
            key=_named("umap_neighbors", config),
            use_rep="rows",
            seed=seed,
        )


def _spread_out(scores: FloatArray) -> FloatArray:
    """Return the first two principal components on the scale of UMAP's own start."""
    start = np.zeros((len(scores), 2), np.float32)
    start[:, : scores.shape[1]] = scores[:, :2]
    extent = float(np.abs(start).max())
    return start * np.float32(10 / extent) if extent > 0 else start


def lay_out_phate(
    scores: FloatArray, config: EmbeddingConfig, seed: int, neighbors: Neighbors | None = None
) -> FloatArray:
    """Return PHATE coordinates ``(n, 2)`` of principal component scores ``(n, n_pcs)``.

    Parameters
    ----------
    scores
        Principal components.
    config
        Settings.
    seed
        Of PHATE itself.
    neighbors
        The neighbours of these scores where they are known already: PHATE then takes its kernel
        from them, which gives the same layout as its own search.

    Raises
    ------
    MissingExtraError
        Where the library phate is not installed.
    """
    try:
        with _quiet():
            phate = importlib.import_module("phate")
    except ImportError as error:
        raise MissingExtraError("phate", "phate", "PHATE") from error
    knn = min(config.phate_knn, len(scores) - 2)
    if neighbors is None or neighbors.k < knn:
        neighbors = find_neighbors(scores, _of_phate(knn), seed=seed)
    layout = phate.PHATE(
        n_components=2,
        knn_dist="precomputed_affinity",
        t=config.phate_t or "auto",
        # The default, stochastic scaling, fails with few patches, and was slower in our trials:
        # 10 s against 0.8 s for 600 patches, 28 s against 26 s for 2000 landmarks.
        mds_solver="smacof",
        n_jobs=1,
        random_state=seed,
        verbose=0,
    )
    kernel = decaying_kernel(neighbors, scores, knn=knn, decay=config.phate_decay)
    with _quiet():
        layout.fit(kernel)
        if config.phate_t is None:
            entropies = diffusion_entropies(layout.diff_op)
            knee = phate.vne.find_knee_point(y=entropies, x=np.arange(len(entropies)))
            layout.set_params(t=int(knee))
        return np.asarray(layout.transform(), dtype=np.float32)


def diffusion_entropies(operator: FloatArray, n_powers: int = 100) -> npt.NDArray[np.float64]:
    """Return the von Neumann entropy of each power of a diffusion operator, ``(n_powers,)``.

    phate looks for its time `t` at the knee of this curve. Its own singular value decomposition
    computes vectors that nobody reads, twice the work, and keeps the interpreter meanwhile: with
    2000 landmarks a window stood still for two seconds and more. The values are the same.

    Parameters
    ----------
    operator
        Probabilities of a step, ``(n, n)``.
    n_powers
        The first is the operator itself.

    Notes
    -----
    Moon et al., Nature Biotechnology 37 (2019), equation for H(t) in the methods.
    """
    values = np.linalg.svd(np.asarray(operator, np.float64), compute_uv=False)
    entropies = np.empty(n_powers)
    power = values.copy()
    for index in range(n_powers):
        share = power / power.sum() + np.finfo(float).eps
        entropies[index] = -(share * np.log(share)).sum()
        power *= values
    return entropies


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what scanpy, umap and phate have to say about their own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
