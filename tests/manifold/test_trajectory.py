"""Trajectories: scanpy's own numbers, a real order recovered, toys as their authors show."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.stats import spearmanr

from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.embedding import diffusion_entropies, embed
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig
from napari_bio_superposition.manifold.trajectory import add_trajectory, perturb_root, read_paga
from napari_bio_superposition.manifold.trajectory_config import TrajectoryConfig

PLAIN = EmbeddingConfig(
    normalize_rows=False, log="none", standardize=False, umap=False, phate="never", n_pcs=10
)


def make_line(rng: np.random.Generator, n: int = 120) -> AnnData:
    """Patches along one line; the first third is the control, near its start."""
    time = np.sort(rng.uniform(size=n))
    centres = np.linspace(0, 1, 12)
    values = np.exp(-((time[:, np.newaxis] - centres) ** 2) / 0.05) + 0.05 * rng.normal(
        size=(n, 12)
    )
    obs = pd.DataFrame({"time": time, "label": np.where(time < 0.3, "Control", "SNCA")})
    obs.index = [f"patch{place}" for place in range(n)]
    return AnnData(values.astype(np.float32), obs=obs)


def embedded(adata: AnnData, rng: np.random.Generator) -> AnnData:
    return run(embed(adata, PLAIN, rng=rng))


def test_a_planted_order_is_recovered_and_written_as_scanpy_does(rng: np.random.Generator) -> None:
    adata = embedded(make_line(rng), rng)
    reference = (adata.obs["label"] == "Control").to_numpy()
    result = run(add_trajectory(adata, reference=reference))
    assert spearmanr(result.obs[Keys.PSEUDOTIME], adata.obs["time"])[0] > 0.9
    assert {"X_diffmap"} <= set(result.obsm)
    assert {"diffmap_evals", "iroot", "leiden", "paga", "neighbors"} <= set(result.uns)
    assert Keys.PSEUDOTIME not in adata.obs
    sc.tl.umap(result)  # a scanpy user goes on
    assert result.obsm["X_umap"].shape == (120, 2)


@pytest.mark.parametrize("kernel", ["umap", "gauss"])
def test_the_numbers_are_scanpys(kernel: str, rng: np.random.Generator) -> None:
    adata = embedded(make_line(rng), rng)
    config = TrajectoryConfig(kernel=kernel, root="patch3", paga_neighbors=5)  # type: ignore[arg-type]
    ours = run(add_trajectory(adata, config, n_neighbors=12, seed=4))
    theirs = AnnData(adata.X, obs=adata.obs[[]], obsm={"X_pca": adata.obsm["X_pca"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(theirs, 12, use_rep="X_pca", method=kernel, random_state=4)
        sc.tl.diffmap(theirs, 15, random_state=4)
        theirs.uns["iroot"] = 3
        sc.tl.dpt(theirs, n_dcs=10)
        sc.pp.neighbors(theirs, 5, use_rep="X_pca", random_state=4, key_added="small")
        leiden = {"flavor": "igraph", "n_iterations": 2, "directed": False, "random_state": 4}
        sc.tl.leiden(theirs, 0.65, neighbors_key="small", **leiden)
        sc.tl.paga(theirs, "leiden", neighbors_key="small")
    np.testing.assert_allclose(ours.obs[Keys.PSEUDOTIME], theirs.obs[Keys.PSEUDOTIME], atol=2e-6)
    np.testing.assert_allclose(ours.obsm["X_diffmap"], theirs.obsm["X_diffmap"], atol=1e-6)
    assert (ours.obs["leiden"] == theirs.obs["leiden"]).all()
    difference = ours.uns["paga"]["connectivities"] - theirs.uns["paga"]["connectivities"]
    assert abs(difference).max() < 1e-9


@pytest.mark.skipif(
    importlib.util.find_spec("phate") is None, reason="the extra phate is not installed"
)
def test_phate_from_shared_neighbours_is_phate(rng: np.random.Generator) -> None:
    import phate

    config = EmbeddingConfig(umap=False, phate="always", n_pcs=5)
    result = run(embed(make_line(rng), config, rng=np.random.default_rng(5)))
    seed = int(np.random.default_rng(5).integers(2**31 - 1, size=3)[2])
    direct = phate.PHATE(
        knn=5, decay=40, n_pca=None, mds_solver="smacof", random_state=seed, verbose=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layout = direct.fit_transform(result.obsm["X_pca"])
    theirs = phate.vne.compute_von_neumann_entropy(direct.diff_op)
    np.testing.assert_allclose(diffusion_entropies(direct.diff_op), theirs)
    size = np.abs(layout).max()
    np.testing.assert_allclose(result.obsm["X_phate"] / size, layout / size, atol=1e-3)
    assert "neighbors" in result.uns  # the same neighbours, for scanpy


def test_the_root_is_the_control_nearest_its_centre_or_the_named_patch(
    rng: np.random.Generator,
) -> None:
    adata = embedded(make_line(rng), rng)
    reference = (adata.obs["label"] == "Control").to_numpy()
    result = run(add_trajectory(adata, reference=reference))
    points = result.obsm["X_diffmap"][reference]
    nearest = np.linalg.norm(points - points.mean(axis=0), axis=1).argmin()
    assert result.uns["iroot"] == np.flatnonzero(reference)[nearest]
    named = run(add_trajectory(adata, TrajectoryConfig(root="patch7")))
    assert named.uns["iroot"] == 7
    assert named.obs[Keys.PSEUDOTIME].iloc[7] == 0
    with pytest.raises(TableError, match="'nobody' is not among the 120"):
        run(add_trajectory(adata, TrajectoryConfig(root="nobody")))
    with pytest.raises(TableError, match="Name the reference group"):
        run(add_trajectory(adata, reference=np.zeros(120, bool)))


def test_other_roots_give_other_times_that_agree(rng: np.random.Generator) -> None:
    adata = embedded(make_line(rng), rng)
    reference = (adata.obs["label"] == "Control").to_numpy()
    result = run(add_trajectory(adata, reference=reference))
    before = result.obs[Keys.PSEUDOTIME].copy()
    found = run(
        perturb_root(
            result,
            TrajectoryConfig(n_roots=4, root_choice="nearest"),
            reference=reference,
            rng=rng,
        )
    )
    assert found.roots[0] == result.uns["iroot"]
    assert len(set(found.roots)) == 4
    np.testing.assert_allclose(found.pseudotime[0], before)
    late = ~reference
    for time in found.pseudotime:
        assert spearmanr(time[late], adata.obs["time"][late])[0] > 0.9
    assert (result.obs[Keys.PSEUDOTIME] == before).all()


def test_clusters_form_a_chain_with_their_mix(rng: np.random.Generator) -> None:
    adata = embedded(make_line(rng), rng)
    result = run(add_trajectory(adata, TrajectoryConfig(root="patch0", leiden_resolution=1.0)))
    graph = read_paga(result, group="label", threshold=0.05)
    n = len(graph.names)
    assert n >= 3
    assert graph.sizes.sum() == 120
    assert graph.composition.to_numpy().sum() == 120
    assert list(graph.composition.columns) == ["Control", "SNCA"]
    assert graph.positions.shape == (n, 2)
    assert len(graph.edges()) >= n - 1
    assert all(weight >= 0.05 for _, _, weight in graph.edges())
    with pytest.raises(TableError, match="no graph of clusters"):
        read_paga(adata)


def test_what_cannot_be_ordered_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(TableError, match="Run `embed` first"):
        run(add_trajectory(make_line(rng)))
    few = embedded(make_line(rng, n=8), rng)
    with pytest.raises(TableError, match="at least 10"):
        run(add_trajectory(few, TrajectoryConfig(root="patch0")))
    with pytest.raises(ConfigError, match="only 5 diffusion components"):
        TrajectoryConfig(n_diffusion=5)


def test_pseudotime_follows_the_stages_of_real_embryos(
    shared_data: Path, rng: np.random.Generator
) -> None:
    """Guo et al. 2010: 437 cells from one cell to blastocyst; the first stage is the reference."""
    counts = pd.read_csv(shared_data / "guo2010" / "guo_qpcr.csv", index_col=0)
    stage = np.array([float(str(name).split("C")[0].split()[0]) for name in counts.index])
    adata = AnnData(counts.to_numpy(np.float32))
    result = run(add_trajectory(embedded(adata, rng), reference=stage == 1))
    time = result.obs[Keys.PSEUDOTIME].to_numpy()
    assert np.isfinite(time).all()
    assert spearmanr(time, np.log(stage))[0] >= 0.78


@pytest.mark.filterwarnings("ignore")
def test_the_toggle_switch_has_two_arms(rng: np.random.Generator) -> None:
    """Two simulations of 100 steps from one state; either gene wins. Comes with scanpy."""
    toy = sc.datasets.toggleswitch()
    toy.obs_names_make_unique()
    result = run(add_trajectory(embedded(toy, rng), TrajectoryConfig(root=toy.obs_names[0])))
    time = result.obs[Keys.PSEUDOTIME].to_numpy()
    for arm in (slice(0, 100), slice(100, 200)):
        assert spearmanr(time[arm], np.arange(100))[0] > 0.95
    ends = result.obsm["X_diffmap"][[99, 199], 1]
    assert ends[0] * ends[1] < 0  # the first diffusion component tells the arms apart


@pytest.mark.filterwarnings("ignore")
def test_myeloid_progenitors_reach_four_fates(rng: np.random.Generator) -> None:
    """Krumsiek et al. 2011: four simulations of 160 steps from a progenitor. Comes with scanpy."""
    toy = sc.datasets.krumsiek11()
    toy.obs_names_make_unique()
    root = toy.obs_names[toy.uns["iroot"]]
    result = run(add_trajectory(embedded(toy, rng), TrajectoryConfig(root=root)))
    time = result.obs[Keys.PSEUDOTIME].to_numpy()
    for start in range(0, 640, 160):
        assert spearmanr(time[start : start + 160], np.arange(160))[0] > 0.85
    fate = toy.obs["cell_type"].astype(str).to_numpy()
    clusters = pd.crosstab(result.obs["leiden"], fate)
    homes = {name: clusters[name].idxmax() for name in ("Mo", "Ery", "Mk", "Neu")}
    assert len(set(homes.values())) == 4
