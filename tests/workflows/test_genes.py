"""Genes from a folder of couple: files, controls, painting; one clear error for each bad folder."""

import dataclasses
import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from napari_bio_superposition.alignment.genes_folds import split_wells
from napari_bio_superposition.cli import main
from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.workflows.couple import couple_files
from napari_bio_superposition.workflows.couple_config import CoupleConfig
from napari_bio_superposition.workflows.gene_painting import paint_gene
from napari_bio_superposition.workflows.genes_config import GenesConfig
from napari_bio_superposition.workflows.genes_data import (
    banner_of,
    load_coupling,
    read_design,
    read_expression,
)
from napari_bio_superposition.workflows.genes_files import read_alternatives

N = 96
LINKED = np.arange(40) < 12
COUPLING = {
    "metric": "euclidean",
    "neighbours": (8,),
    "epsilons": (5e-3,),
    "n_starts": 6,
    "n_nulls": 0,
    "n_resamples": 0,
    "n_permutations": 20,
    "device": "cpu",
}
FLAGS = [
    *("--n-permutations", "20", "--control-permutations", "10", "--n-components", "8"),
    *("--min-patches", "20", "--landscape.n-top", "20", "--landscape.neighbours", "5"),
    *("--device", "cpu"),
]


def bend(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    return np.c_[np.cos(2 * along) * (2 + across), np.sin(2 * along) * (2 + across), along**2]


def write_tables(folder: Path) -> tuple[Path, Path]:
    """Write patches and RNA cells whose states lie on one tapering sheet, in two classes."""
    rng = np.random.default_rng(1)
    along = rng.beta(1.2, 2.2, 2 * N)
    across = (rng.random(2 * N) - 0.5) * (1 - along)
    states = bend(along, across)
    genotype = np.where(np.arange(N) % 2, "SNCA", "Control")
    obs = pd.DataFrame(
        {
            "genotype": genotype,
            "plate": [f"p{i // 2 % 2}" for i in range(N)],
            "group": [f"p{i // 2 % 2}/w{i % 8}" for i in range(N)],
            "image_id": [f"image{i % 8}" for i in range(N)],
            "y": [i // 8 // 4 * 128 for i in range(N)],
            "x": [i // 8 % 4 * 128 for i in range(N)],
        },
        index=[f"patch{i}" for i in range(N)],
    )
    mixed = np.maximum(states[:N] @ rng.normal(size=(3, 24)), 0)
    image = anndata.AnnData(mixed, obs=obs)
    image.obsm["X_pca"] = states[:N]
    image.obsm["X_cnn"] = states[:N] @ rng.normal(size=(3, 6))
    log_rate = np.tile(rng.normal(1.0, 0.3, 40), (N, 1))
    log_rate[:, LINKED] += (along[N:, None] - along.mean()) * rng.choice([-3, 3], 12)
    rna = anndata.AnnData(
        sparse.csr_matrix(np.log1p(rng.poisson(np.exp(log_rate)) * 1.37).astype(np.float32)),
        obs=pd.DataFrame({"genotype": genotype}, index=[f"cell{i}" for i in range(N)]),
        var=pd.DataFrame(index=[f"GENE{i}" for i in range(40)]),
    )
    rna.obsm["X_pca"] = states[N:]
    paths = folder / "image.h5ad", folder / "rna.h5ad"
    for table, path in zip((image, rna), paths, strict=True):
        table.write_h5ad(path)
    return paths


@pytest.fixture(scope="module")
def coupled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coupled")
    image, rna = write_tables(folder)
    run(couple_files(image, rna, CoupleConfig(**COUPLING), folder / "coupling"))
    return folder / "coupling"


@pytest.fixture(scope="module")
def predicted(coupled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("genes")
    sets = out / "sets.gmt"
    linked = "\t".join(f"GENE{i}" for i in range(12))
    sets.write_text(f"linked\tplanted\t{linked}\n")
    arguments = ["genes", str(coupled), "--out", str(out), *FLAGS, "--label", "genotype"]
    assert main([*arguments, "--gene-sets", str(sets)]) == 0
    return out


def test_every_gene_stands_beside_its_controls(predicted: Path) -> None:
    genes = pd.read_parquet(predicted / "genes.parquet")
    assert genes["class"].value_counts().to_dict() == {"Control": 40, "SNCA": 40}
    columns = {"r2", "z", "p", "q", "moran", "log_mean", "dropout", "z_residual", "z_split_cells"}
    assert columns | {"z_held_out", "q_held_out", "r2_geometry"} <= set(genes.columns)
    controls = json.loads((predicted / "controls.json").read_text())
    assert {name.split("/")[0] for name in controls} == {
        *("geometry", "swapped", "held_out", "features", "plates", "split_cells"),
    }
    assert not controls["geometry/unrelated"]["run"]
    assert controls["features/cnn"]["run"]
    assert controls["features/random_sae"]["run"]
    table = pd.read_parquet(predicted / "controls.parquet")
    assert {"control", "class", "gene", "r2", "z"} <= set(table.columns)
    assert set(table["control"]) == {name for name, about in controls.items() if about["run"]}


def test_planted_genes_are_found(predicted: Path) -> None:
    genes = pd.read_parquet(predicted / "genes.parquet")
    for _, rows in genes.groupby("class"):
        assert roc_auc_score(LINKED, rows["z_split_cells"]) > 0.85


def test_the_verdict_and_what_was_used_are_written(predicted: Path) -> None:
    figures = json.loads((predicted / "genes.json").read_text())
    assert figures["verdict"] == "not tested"
    assert "not compared with chance" in figures["banner"]
    assert "genotype" in figures["used"]["labels"]
    assert figures["settings"]["n_permutations"] == 20
    page = (predicted / "report.html").read_text()
    assert "smooth function of the image by construction" in page


def test_the_landscape_is_written(predicted: Path) -> None:
    folder = predicted / "landscape"
    assert len(pd.read_csv(folder / "genes.csv")) == 40
    assert pd.read_csv(folder / "flows.csv")["genes"].sum() == 40 * 2
    assert list(folder.glob("network_*.svg"))


def test_gene_sets_are_tested_on_the_clusters(predicted: Path) -> None:
    sets = pd.read_parquet(predicted / "enrichment.parquet")
    clusters = pd.read_csv(predicted / "landscape" / "top.csv").iloc[:, -1]
    tested = sets[sets["list"].str.startswith("top cluster")]
    assert len(tested) == clusters.nunique()
    assert tested["overlap"].sum() <= 12
    page = (predicted / "report.html").read_text()
    assert "Gene sets" in page
    assert "permutations can give" not in page  # other RNA cells judge without that limit


def test_a_gene_is_painted_with_its_doubt(coupled: Path, predicted: Path) -> None:
    study = load_coupling(coupled)
    config = GenesConfig(min_patches=20, n_components=8, label="genotype")
    alternatives = read_alternatives(predicted)
    assert {other.kind for other in alternatives} == {"basin", "k"}
    painted = paint_gene(study, "GENE0", config, alternatives=alternatives)
    assert np.isfinite(painted.painted.values).all()
    assert "not tested" in painted.banner
    grid = painted.grid("image0")
    assert grid.values.shape == (3, 4)
    assert grid.step == 128
    assert ((grid.opacity >= 0) & (grid.opacity <= 1)).all()
    module = paint_gene(study, ["GENE0", "GENE1"], config)
    assert module.name == "module of 2 genes"
    np.testing.assert_array_equal(module.painted.spread_basins, 0)
    with pytest.raises(TableError, match="ABSENT not among the 40 genes"):
        paint_gene(study, "ABSENT", config)
    with pytest.raises(TableError, match="No image 'x'"):
        painted.grid("x")


def test_bad_folders_are_refused(coupled: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"lacks plan\.npz"):
        load_coupling(tmp_path)
    with pytest.raises(TableError, match="Say where with --rna"):
        load_coupling(coupled, rna=str(tmp_path / "absent.h5ad"))
    with pytest.raises(TableError, match="not the RNA table that was coupled"):
        load_coupling(coupled, rna=str(coupled.parent / "image.h5ad"))


def test_a_missing_column_is_one_line(
    coupled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["genes", str(coupled), "--out", str(out), "--label", "donor", *FLAGS]) == 2
    assert "No column 'donor' in obs of the image table" in capsys.readouterr().err
    assert not out.exists()


def _hold_nan(image, rna):
    image.X[3, 3] = np.nan
    return image, rna


def _be_constant(image, rna):
    image.X[:] = 1
    return image, rna


def _miss_a_label(image, rna):
    image.obs["genotype"] = ["", *image.obs["genotype"][1:]]
    return image, rna


def _have_a_patch_of_a_class(image, rna):
    image.obs["genotype"] = ["Control", *["SNCA"] * (N - 1)]
    return image, rna


def _have_no_wells(image, rna):
    image.obs = image.obs.drop(columns=["group", "image_id"])
    return image, rna


def _lie_in_another_order(image, rna):
    return image[::-1].copy(), rna


def _repeat_genes(image, rna):
    rna.var_names = ["GENE1", "GENE1", *rna.var_names[2:]]
    return image, rna


def _be_negative(image, rna):
    rna.X = -rna.X
    return image, rna


def _have_no_variable_gene(image, rna):
    rna.var["highly_variable"] = False
    return image, rna


def _stay(image, rna):
    return image, rna


def spoil_coupling(coupled: Path, folder: Path, spoil) -> Path:
    """Return a copy of a coupling whose tables were changed, hashes included."""
    shutil.copytree(coupled, folder)
    figures = json.loads((folder / "coupling.json").read_text())
    tables = [
        anndata.read_h5ad(path) for path in (folder / "coupled.h5ad", figures["files"]["rna"])
    ]
    image, rna = spoil(*tables)
    image.write_h5ad(folder / "coupled.h5ad")
    rna.write_h5ad(folder / "rna.h5ad")
    figures["files"]["rna"] = str(folder / "rna.h5ad")
    figures["inputs"]["rna"] = hash_file(folder / "rna.h5ad")
    (folder / "coupling.json").write_text(json.dumps(figures))
    return folder


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("spoil", "flags", "words"),
    [
        (_hold_nan, [], "image (X) features hold 1 values that are NaN"),
        (_be_constant, [], "image (X) features are constant"),
        (_miss_a_label, [], "1 of 96 rows of the image table have no 'genotype'"),
        (_have_a_patch_of_a_class, [], "has 1 patches and 48 RNA cells"),
        (_have_no_wells, [], "no column 'group' (the well of each patch)"),
        (_lie_in_another_order, [], "are not the rows of plan.npz"),
        (_repeat_genes, [], "Gene names of the RNA table repeat"),
        (_be_negative, [], "holds negative or NaN values"),
        (_have_no_variable_gene, [], "No gene of the RNA table is marked"),
        (_stay, ["--other-class", "KO"], "No class 'KO' to lay genes out; there are SNCA"),
        (_stay, ["--gene-sets", "SETS"], "None of 1 gene sets has 5 tested genes"),
    ],
)
def test_bad_tables_are_refused_before_anything_is_computed(
    coupled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil, flags, words: str
) -> None:
    folder, out = spoil_coupling(coupled, tmp_path / "coupling", spoil), tmp_path / "out"
    (tmp_path / "sets.gmt").write_text("other species\t\tZZZ1\tZZZ2\n")
    flags = [str(tmp_path / "sets.gmt") if flag == "SETS" else flag for flag in flags]
    arguments = ["genes", str(folder), "--out", str(out), "--label", "genotype", *FLAGS, *flags]
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1
    assert not out.exists()


def test_what_cannot_be_laid_out_is_told_and_leaves_nothing_old(
    coupled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "landscape").mkdir()
    (tmp_path / "landscape" / "genes.csv").write_text("of an earlier run")
    flags = ["--controls", "split_cells", "--no-alternatives", "--control-class", "Healthy"]
    arguments = ["genes", str(coupled), "--out", str(tmp_path), "--label", "genotype"]
    assert main([*arguments, *FLAGS, *flags]) == 0
    assert "There is no class 'Healthy'" in capsys.readouterr().out
    assert not (tmp_path / "landscape").exists()
    assert "of highest z on other RNA cells" in (tmp_path / "report.html").read_text()


def test_counts_are_taken_per_10000_of_all_genes() -> None:
    rna = anndata.AnnData(np.array([[1.0, 3.0, 4.0], [2.0, 0.0, 0.0]]))
    rna.var["highly_variable"] = [True, True, False]
    values, genes, notes = read_expression(rna, GenesConfig())
    assert genes == ["0", "1"]
    np.testing.assert_allclose(np.expm1(values), [[1250, 3750], [10_000, 0]], rtol=1e-5)
    assert "no logarithms" in notes[0]


def test_only_a_map_of_cells_has_no_banner() -> None:
    assert banner_of("cell-level") == ""
    assert "classes only" in banner_of("class-level only")


def test_parts_that_are_coupled_alone_have_all_classes(coupled: Path) -> None:
    study = load_coupling(coupled)
    figures = study.figures | {"settings": study.figures["settings"] | {"label": "genotype"}}
    design = read_design(dataclasses.replace(study, figures=figures), GenesConfig(pooled=True))
    assert set(design.classes) == {"all"}
    genotype = study.image.obs["genotype"].to_numpy()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        for train, test in split_wells(design.groups, design.strata, 2, rng=rng):
            assert set(genotype[train]) == set(genotype[test]) == {"Control", "SNCA"}
