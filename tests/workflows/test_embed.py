"""The job embed: a planted decline is found per group, with honest words where there is none."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import spearmanr

from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.manifold.embedding_config import EmbeddingConfig
from napari_bio_superposition.manifold.trajectory_config import (
    DynamicsConfig,
    TrajectoryConfig,
    TrendConfig,
)
from napari_bio_superposition.workflows.config_files import config_from_plain, config_to_plain
from napari_bio_superposition.workflows.embed import embed_table
from napari_bio_superposition.workflows.embed_config import EmbedConfig, choose_embed_preset
from napari_bio_superposition.workflows.embed_files import embed_files, read_any_table
from napari_bio_superposition.workflows.trajectory_truth import compare_sources

QUICK = {
    "embedding": EmbeddingConfig(umap=False, phate="never"),
    "trajectory": TrajectoryConfig(n_roots=3),
    "trend": TrendConfig(n_bootstraps=40, n_permutations=40, n_curves=8),
    "dynamics": DynamicsConfig(n_bins=20),
}


def make_study(rng: np.random.Generator, n: int = 300) -> AnnData:
    """Control early, two genotypes all along; death falls; the CNN sees little of it."""
    genotype = np.array(["Control", "SNCA", "GBA"])[np.arange(n) % 3]
    along = np.where(genotype == "Control", rng.uniform(0, 0.3, n), rng.uniform(0, 1, n))
    values = 3 * np.exp(-((along[:, np.newaxis] - np.linspace(0, 1, 40)) ** 2) / 0.05)
    values = values + rng.gamma(1, 0.2, (n, 40))
    plate = np.array(["p0", "p1"])[(np.arange(n) // 3) % 2]
    well = [f"{plate[i]}/{genotype[i]}{(i // 6) % 4}" for i in range(n)]
    obs = pd.DataFrame(
        {
            Keys.GENOTYPE: genotype,
            Keys.PLATE: plate,
            Keys.GROUP: well,
            Keys.DEATH: 1 - along + 0.2 * rng.normal(size=n),
            "progression": along,
        },
        index=[f"patch{i}" for i in range(n)],
    )
    obs.loc["patch10", Keys.DEATH] = np.nan
    cnn = np.stack([along + 2 * rng.normal(size=n), *rng.normal(size=(5, n))], axis=1)
    return AnnData(values.astype(np.float32), obs=obs, obsm={Keys.CNN: cnn.astype(np.float32)})


def test_a_planted_decline_is_found_in_each_group(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    result = run(embed_table(adata, EmbedConfig(**QUICK)))
    assert set(result.trajectories) == {"GBA", "SNCA"}
    assert result.outcome == Keys.DEATH
    assert {Keys.PSEUDOTIME, Keys.LEIDEN} <= set(result.table.obs)
    assert result.table.obs[Keys.STAGE].value_counts().tolist() == [67, 66, 66]
    assert json.loads(result.table.uns[Keys.EMBED])["settings"]["reference"] == "Control"
    assert Keys.PSEUDOTIME not in adata.obs
    for group, one in result.trajectories.items():
        assert (result.table.obs[Keys.GENOTYPE].iloc[one.rows] == group).all()
        rank = one.correlation["spearman"]
        assert rank.high < -0.6
        assert rank.p_value == pytest.approx(1 / 41)
        assert rank.n_wells == 8
        assert one.curve is not None
        assert one.curve.r2_held_out > 0.4
        assert set(one.stages) == {"terciles", "equal_width"}
        assert len(one.stages["terciles"].codes) == one.known.sum()
        assert len(one.root_spearman) == 3
        assert (one.root_spearman < -0.6).all()
        assert one.dynamics is not None
        assert set(np.concatenate(one.dynamics.bins)) == set(one.rows)
        assert result.table.obs_names.get_loc(one.root) in range(0, 300, 3)  # a control
    assert result.trajectories["GBA"].known.sum() == 100
    assert result.trajectories["SNCA"].known.sum() == 99  # patch10 has no outcome
    json.dumps(result.as_plain(), allow_nan=False)
    assert "Spearman -0." in "\n".join(result.as_lines())


def test_pairs_have_their_own_graph_and_the_grid_its_rows(rng: np.random.Generator) -> None:
    trend = TrendConfig(
        n_bootstraps=10,
        n_permutations=10,
        n_curves=0,
        robustness=True,
        grid_neighbors=(10, 15),
        grid_pcs=(5, 10),
    )
    settings = EmbedConfig(**QUICK | {"trend": trend}, scope="pairs")
    result = run(embed_table(make_study(rng), settings))
    assert Keys.PSEUDOTIME not in result.table.obs
    for group, one in result.trajectories.items():
        time = result.table.obs[f"{Keys.PSEUDOTIME}_{group}"]
        members = result.table.obs[Keys.GENOTYPE].isin([group, "Control"])
        assert (time.notna() == members).all()
        np.testing.assert_array_equal(time.iloc[one.rows], one.pseudotime)
        assert one.grid is not None
        assert len(one.grid) == 4
        assert one.paga.composition.to_numpy().sum() == 200
        assert one.dynamics is not None
        assert set(np.concatenate(one.dynamics.bins)) == set(one.rows)


def test_half_of_the_wells_choose_features_and_the_other_half_judges(
    rng: np.random.Generator,
) -> None:
    result = run(embed_table(make_study(rng), EmbedConfig(**QUICK, n_selected=12)))
    assert result.table.n_vars == 12
    judging = set(result.selection["wells_that_judge"])
    assert not judging & set(result.selection["wells_that_chose"])
    for one in result.trajectories.values():
        assert set(one.wells) <= judging
        assert 40 <= len(one.rows) <= 60


def test_groups_can_be_thinned_with_known_outcomes_first(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    adata.obs.loc[adata.obs_names[:60], Keys.DEATH] = np.nan
    result = run(
        embed_table(adata, EmbedConfig(**QUICK, max_patches_per_group=70, with_trajectory=False))
    )
    assert result.table.obs[Keys.GENOTYPE].value_counts().tolist() == [70, 70, 70]
    assert result.table.obs[Keys.DEATH].notna().all()
    assert result.trajectories == {}


def test_cnn_features_go_the_same_way_and_the_truth_tells_them_apart(
    rng: np.random.Generator,
) -> None:
    adata = make_study(rng)
    cnn = EmbedConfig(
        **QUICK | {"embedding": EmbeddingConfig(source="cnn", umap=False, phate="never")}
    )
    result = run(embed_table(adata, cnn))
    assert result.table.var_names[0] == "cnn_0000"
    assert result.table.n_vars == 6
    truth = adata.obs["progression"].to_numpy()
    found = run(compare_sources(adata, truth, EmbedConfig(**QUICK)))
    assert found.table.loc["SAE features", "spearman"] > 0.9
    assert found.low > 0
    assert "at least as well" in found.verdict
    swapped = AnnData(
        np.abs(adata.obsm[Keys.CNN]), obs=adata.obs, obsm={Keys.CNN: np.asarray(adata.X)}
    )
    assert "less well" in run(compare_sources(swapped, truth, EmbedConfig(**QUICK))).verdict


def test_what_is_missing_is_told(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    del adata.obs[Keys.GROUP], adata.obs[Keys.DEATH]
    result = run(embed_table(adata, EmbedConfig(**QUICK)))
    told = " ".join(result.notices)
    assert "no 'dead_area_rate'" in told
    assert "taken as independent" in told
    one = result.trajectories["SNCA"]
    assert one.correlation == {}
    assert one.dynamics is not None
    other = run(embed_table(adata, EmbedConfig(**QUICK, reference="healthy")))
    assert other.trajectories == {}
    assert "'healthy'; there is Control, GBA, SNCA" in " ".join(other.notices)
    with pytest.raises(TableError, match="Choose one of: progression"):
        run(embed_table(adata, EmbedConfig(**QUICK | {"trend": TrendConfig(outcome="mood")})))
    root = TrajectoryConfig(root="patch")
    with pytest.raises(TableError, match="'patch' is not among"):
        run(embed_table(adata, EmbedConfig(**QUICK | {"trajectory": root})))


def test_a_named_root_needs_no_groups(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    del adata.obs[Keys.GENOTYPE]
    root = str(adata.obs_names[adata.obs["progression"].argmin()])
    settings = EmbedConfig(**QUICK | {"trajectory": TrajectoryConfig(root=root)})
    result = run(embed_table(adata, settings))
    assert list(result.trajectories) == ["all"]
    assert result.trajectories["all"].root == root
    assert spearmanr(result.table.obs[Keys.PSEUDOTIME], adata.obs["progression"])[0] > 0.9


def test_the_seed_decides_everything(rng: np.random.Generator) -> None:
    adata = make_study(rng)
    first, again = (run(embed_table(adata, EmbedConfig(**QUICK))).as_plain() for _ in range(2))
    assert first == again


def test_settings_go_through_toml_and_presets_go_by_name() -> None:
    paper = choose_embed_preset("paper")
    assert config_from_plain(config_to_plain(paper), EmbedConfig) == paper
    assert paper.scope == "pairs"
    assert paper.embedding.log == "plain"
    with pytest.raises(ConfigError, match="default, paper"):
        choose_embed_preset("best")


def test_files_are_written_and_a_foreign_table_is_read(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "study.h5ad"
    make_study(rng).write_h5ad(path)
    result = run(embed_files(path, EmbedConfig(**QUICK), tmp_path / "out"))
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["input"]["name"] == "study.h5ad"
    assert set(summary["trajectories"]) == {"GBA", "SNCA"}
    written = anndata.read_h5ad(out / "embedded.h5ad")
    np.testing.assert_allclose(written.obs[Keys.PSEUDOTIME], result.table.obs[Keys.PSEUDOTIME])
    table = pd.read_csv(out / "tables" / "correlations.csv")
    assert len(table) == 4
    assert (table["value"] < -0.6).all()
    names = {file.name for file in (out / "figures").iterdir()}
    wanted = ("pseudotime", "stages_terciles", "root_perturbation", "paga", "dynamics_GBA")
    assert {f"{name}.{ending}" for name in wanted for ending in ("png", "svg")} <= names
    assert "<text" in (out / "figures" / "pseudotime.svg").read_text()
    assert (out / "settings.toml").exists()


def test_unreadable_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no table"):
        read_any_table(tmp_path / "absent.h5ad")
    (tmp_path / "broken.h5ad").write_text("no table")
    with pytest.raises(TableError, match=r"broken\.h5ad cannot be read"):
        read_any_table(tmp_path / "broken.h5ad")
