"""Coupling of tables: what is used, what is written, and one clear error for each bad table."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.workflows.couple import couple_files, couple_tables
from napari_bio_superposition.workflows.couple_config import CoupleConfig

FEW = {
    "metric": "euclidean",
    "neighbours": (8,),
    "epsilons": (5e-3,),
    "n_starts": 6,
    "n_nulls": 0,
    "n_resamples": 0,
    "n_permutations": 20,
    "top_entries": 10,
    "device": "cpu",
}


def make_pair(n: int = 60) -> tuple[anndata.AnnData, anndata.AnnData]:
    """Return two views of one bent, tapering cloud; row i is the same cell."""
    rng = np.random.default_rng(1)
    along = rng.beta(1.2, 2.2, n)
    across = (rng.random(n) - 0.5) * (1 - along)
    cells = np.c_[np.cos(2 * along) * (2 + across), np.sin(2 * along) * (2 + across), along**2]
    obs = pd.DataFrame({"stage": np.where(along < 0.35, "early", "late")})
    obs.index = [f"cell{i}" for i in range(n)]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return anndata.AnnData(cells, obs=obs), anndata.AnnData(cells @ rotation, obs=obs.copy())


def test_files_hold_the_plan_the_verdict_and_the_joined_table(tmp_path: Path) -> None:
    image, rna = make_pair()
    image.write_h5ad(tmp_path / "image.h5ad")
    rna[::-1].copy().write_h5ad(tmp_path / "rna.h5ad")  # names say who is who
    config = CoupleConfig(**FEW, label="stage", paired=True)
    out = tmp_path / "out"
    run(couple_files(tmp_path / "image.h5ad", tmp_path / "rna.h5ad", config, out))
    assert sorted(path.name for path in out.iterdir()) == [
        "coupled.h5ad",
        "coupling.json",
        "plan.npz",
    ]
    plan = sparse.load_npz(out / "plan.npz")
    figures = json.loads((out / "coupling.json").read_text())
    joined = anndata.read_h5ad(out / "coupled.h5ad")
    assert plan.shape == (60, 60)
    assert np.diff(plan.indptr).max() == 10
    missing = figures["plan"]["residual_mass_mean"]
    assert plan.sum() + missing == pytest.approx(1, abs=1e-5)
    assert figures["verdict"] == "cell-level"
    assert figures["foscttm"]["overall"] < 0.05
    assert figures["label_transfer"]["to_images"]["barycentric"] > 0.9
    assert figures["marginal_error"]["rows"] < 1e-6
    assert figures["used"]["labels"] == "for scores only"
    assert np.mean(joined.obs["coupled_cell"] == joined.obs_names) > 0.3
    assert joined.obsm["X_rna_coupled"].shape == (60, 3)


def test_truth_changes_no_plan() -> None:
    image, rna = make_pair()
    plain = run(couple_tables(image, rna, CoupleConfig(**FEW)))
    scored = run(couple_tables(image, rna, CoupleConfig(**FEW, label="stage", paired=True)))
    np.testing.assert_array_equal(plain.coupling.plan, scored.coupling.plan)
    assert plain.labels is None
    assert plain.pairs is None


def test_a_named_representation_is_used() -> None:
    image, rna = make_pair()
    rna.obsm["X_scVI"] = rna.X
    rna.X = np.random.default_rng(0).random(rna.shape)
    result = run(couple_tables(image, rna, CoupleConfig(**FEW, use_rep="X", paired=True)))
    assert [entry.source for entry in result.representations] == ["X", "obsm X_scVI"]
    assert result.pairs is not None
    assert result.pairs.overall < 0.1


def test_many_counts_are_reduced() -> None:
    from napari_bio_superposition.alignment.representation import choose_representation

    counts = np.random.default_rng(0).poisson(2.0, (40, 150))
    table = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    rng = np.random.default_rng(0)
    found = choose_representation(table, "", preferred=("X_pca",), name="RNA", rng=rng)
    assert found.values.shape == (40, 30)
    assert found.steps == ("log1p of counts per 10,000", "30 principal components")


def _repeat_names(image, rna):
    rna.obs_names = ["a"] * rna.n_obs
    return image, rna


def _hold_nan(image, rna):
    image.X[3, 1] = np.nan
    return image, rna


def _be_constant(image, rna):
    rna.X[:] = 1
    return image, rna


def _have_one_cell_class(image, rna):
    image.obs["stage"] = ["rare"] + ["early"] * (image.n_obs - 1)
    return image, rna


def _have_a_class_per_cell(image, rna):
    image.obs["stage"] = [f"stage{i}" for i in range(image.n_obs)]
    return image, rna


def _differ_in_size(image, rna):
    return image, rna[:50].copy()


def _share_some_names(image, rna):
    rna.obs_names = [f"cell{i + 5}" for i in range(rna.n_obs)]
    return image, rna


@pytest.mark.parametrize(
    ("spoil", "settings", "message"),
    [
        (_repeat_names, {}, "row names of the RNA table repeat"),
        (_hold_nan, {}, "1 values that are NaN or infinite"),
        (_be_constant, {}, "columns of the RNA features are constant"),
        (_have_one_cell_class, {"label": "stage"}, "one of the rows of the image table each: rare"),
        (_have_a_class_per_cell, {"label": "stage"}, r"stage0, stage1, .* \(60 in all\)"),
        (_differ_in_size, {"paired": True}, "60 patches and 50 RNA cells"),
        (_share_some_names, {"paired": True}, "55 of 60 row names are in both"),
        (lambda *pair: pair, {"use_rep": "X_umap"}, "No representation 'X_umap' in the image"),
        (lambda *pair: pair, {"label": "batch"}, "No column 'batch' in obs of the image table"),
        (lambda *pair: pair, {"label": "stage", "label_rna": "type"}, "obs of the RNA table"),
    ],
)
def test_bad_tables_are_refused(spoil, settings, message: str) -> None:
    image, rna = spoil(*make_pair())
    with pytest.raises(TableError, match=message) as caught:
        run(couple_tables(image, rna, CoupleConfig(**FEW, **settings)))
    assert "\n" not in str(caught.value)


def test_what_may_mislead_is_a_warning() -> None:
    image, rna = make_pair()
    rna.var_names = ["a", "a", *rna.var_names[2:]]
    rna.obs["stage"] = ["late"] * 50 + ["early"] * 10
    shown = run(couple_tables(image, rna, CoupleConfig(**FEW, label="stage"))).as_lines()
    assert any("1 gene names of the RNA table repeat" in line for line in shown)
    assert any(" of patches and 17% of RNA cells" in line for line in shown)
    assert any(line.startswith("Coupled: patches ") for line in shown)


def test_rna_that_is_logged_is_not_logged_again(rng: np.random.Generator) -> None:
    from napari_bio_superposition.alignment.representation import choose_representation

    logs = anndata.AnnData(np.log1p(rng.poisson(2.0, (40, 150)) * 1.3))
    found = choose_representation(logs, "", preferred=(), name="RNA", rng=rng)
    assert found.steps[0] == "taken for logarithms or scaled values already"
    found = choose_representation(logs, "", preferred=(), name="image", rng=rng)
    assert found.steps[0] == "log1p of multiples of the median positive value"


def test_a_label_of_the_rna_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="--label"):
        CoupleConfig(label_rna="type")


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5ad").write_text("no table")
    with pytest.raises(TableError, match=r"text\.h5ad cannot be read"):
        run(couple_files(tmp_path / "text.h5ad", tmp_path / "text.h5ad"))
    with pytest.raises(TableError, match="There is no file"):
        run(couple_files(tmp_path / "absent.h5ad", tmp_path / "text.h5ad"))


def test_classes_restrict_the_plan_where_asked() -> None:
    image, rna = make_pair()
    same = image.obs["stage"].to_numpy()[:, None] == rna.obs["stage"].to_numpy()[None, :]
    intra = run(
        couple_tables(image, rna, CoupleConfig(**FEW, label="stage", classes="intra-class"))
    )
    assert intra.coupling.plan[~same].sum() < 1e-6
    assert intra.as_plain()["used"]["labels"].startswith("to couple cells of one class")
    assert intra.coupling.row_error < 1e-6
    each = run(couple_tables(image, rna, CoupleConfig(**FEW, label="stage", classes="per-class")))
    plan = each.coupling.plan.toarray()
    assert plan[~same].sum() == 0
    assert plan.sum() == pytest.approx(1, abs=1e-6)
    assert "Class early:" in each.coupling.explanation[0]


def test_shared_features_decide_between_mirror_images() -> None:
    line = np.linspace(-1, 1, 50)
    cells = np.c_[line, np.zeros(50)]
    image, rna = anndata.AnnData(cells), anndata.AnnData(cells[::-1].copy())
    image.obsm["known"], rna.obsm["known"] = line[:, None], line[::-1, None].copy()
    fused = run(couple_tables(image, rna, CoupleConfig(**FEW, shared="known")))
    assert np.corrcoef(fused.coupling.pull(rna.obsm["known"])[:, 0], line)[0, 1] > 0.95
    assert fused.as_plain()["used"]["shared"] == "known"


@pytest.mark.parametrize(
    ("classes", "message"),
    [("intra-class", "empty in one of the tables: third"), ("per-class", "empty in one")],
)
def test_classes_that_one_table_lacks_are_refused(classes: str, message: str) -> None:
    image, rna = make_pair()
    rna.obs["stage"] = ["third", "third", *rna.obs["stage"][2:]]
    with pytest.raises(TableError, match=message):
        run(couple_tables(image, rna, CoupleConfig(**FEW, label="stage", classes=classes)))


def test_small_classes_and_unlike_shared_features_are_refused() -> None:
    image, rna = make_pair()
    for table in (image, rna):
        table.obs["stage"] = ["few"] * 5 + ["many"] * 55
    with pytest.raises(TableError, match=r"Class few: .* 5 rows"):
        run(couple_tables(image, rna, CoupleConfig(**FEW, label="stage", classes="per-class")))
    image.obsm["known"], rna.obsm["known"] = image.X[:, :2], rna.X
    with pytest.raises(TableError, match="2 columns in the images and 3 in the RNA"):
        run(couple_tables(image, rna, CoupleConfig(**FEW, shared="known")))
    with pytest.raises(ConfigError, match="no column holds them"):
        CoupleConfig(classes="intra-class")
