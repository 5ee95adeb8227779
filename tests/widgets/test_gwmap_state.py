"""Which cells belong to which patches, and where painted arrays lie: no window, no files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.utils.colormaps import ensure_colormap
from scipy import sparse

from napari_bio_superposition.widgets.geometry import Geometry
from napari_bio_superposition.widgets.gwmap_couple import describe_figures
from napari_bio_superposition.widgets.gwmap_jobs import RnaCells, as_cells
from napari_bio_superposition.widgets.gwmap_landscape import describe_sets
from napari_bio_superposition.widgets.gwmap_painting import blend_colours, place_grid
from napari_bio_superposition.widgets.gwmap_state import GwMap, find_partners
from napari_bio_superposition.widgets.study import Study
from napari_bio_superposition.workflows.gene_painting import PaintedGrid
from napari_bio_superposition.workflows.genes_data import CoupledStudy

PLAN = sparse.csr_matrix(
    [
        [0.20, 0.04, 0.01, 0.00],
        [0.05, 0.15, 0.05, 0.00],
        [0.00, 0.01, 0.04, 0.20],
        [0.00, 0.05, 0.15, 0.05],
    ]
)


def make_table(names: list[str]) -> AnnData:
    return AnnData(np.zeros((len(names), 2), np.float32), obs=pd.DataFrame(index=names))


@pytest.fixture
def linked() -> GwMap:
    """Return a study with the coupled patches in another order, and one more, beside cells."""
    study = Study()
    study.set_table(make_table(["new", "p3", "p2", "p1", "p0"]))
    state = GwMap(study)
    cells = make_table([f"c{i}" for i in range(4)])
    state.set_rna(RnaCells(cells, Path("rna.h5ad"), None, ()))
    image = make_table([f"p{i}" for i in range(4)])
    state.set_coupling(CoupledStudy(image, cells, PLAN, {"verdict": "cell-level"}), Path("out"))
    return state


def test_partners_are_the_fewest_columns_that_hold_half_of_the_mass() -> None:
    columns, mass = find_partners(PLAN, np.array([0]))
    assert columns.tolist() == [0]
    assert mass == pytest.approx(0.8)
    columns, mass = find_partners(PLAN, np.array([0, 1]))
    assert columns.tolist() == [0]  # 0.25 of 0.5: exactly a half
    assert mass == pytest.approx(0.5)
    columns, mass = find_partners(PLAN, np.array([0, 1]), 0.6)
    assert columns.tolist() == [0, 1]
    assert mass == pytest.approx(0.88)
    columns, mass = find_partners(PLAN, np.zeros(0, np.int64))
    assert not len(columns)
    assert mass == 0


def test_selected_patches_light_up_their_cells(linked: GwMap) -> None:
    linked.study.selection.select([4], source="image")
    assert linked.cells.rows.tolist() == [0]
    assert linked.report is not None
    assert linked.report.describe(4) == "1 patches chosen; 1 of 4 cells hold 80% of their mass."
    linked.study.selection.select([0], source="image")  # took no part in the coupling
    assert not len(linked.cells)
    linked.study.selection.clear()
    assert linked.report is None


def test_selected_cells_light_up_their_patches_and_stay_as_chosen(linked: GwMap) -> None:
    linked.select_cells([3])
    assert linked.cells.rows.tolist() == [3]
    assert linked.study.table is not None
    names = linked.study.table.obs_names[linked.study.selection.mask]
    assert names.tolist() == ["p2"]
    assert linked.report is not None
    assert linked.report.from_cells
    linked.study.selection.undo()
    assert not len(linked.study.selection)
    assert not len(linked.cells)


def test_other_cells_leave_the_coupling_behind(linked: GwMap) -> None:
    linked.study.selection.select([3])
    assert linked.report is not None
    linked.set_rna(RnaCells(make_table(["a", "b"]), Path("other.h5ad"), None, ()))
    assert linked.report is None
    assert linked.coupling is None
    assert not linked.is_linked
    linked.study.selection.select([4])
    assert linked.cells.n_rows == 2
    assert not len(linked.cells)


def test_another_table_of_the_study_is_matched_again(linked: GwMap) -> None:
    linked.study.set_table(make_table(["p0", "p2"]))
    linked.study.selection.select([1])
    assert linked.cells.rows.tolist() == [3]
    linked.study.set_table(None)
    assert not linked.is_linked


def test_an_array_of_patches_lies_on_the_middles_of_its_patches() -> None:
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    geometry = Geometry(
        (0.5, 0.5), ("micrometer", "micrometer"), (10.0, 20.0), turn, np.eye(3)
    )  # fmt: skip
    empty = np.zeros((2, 3))
    grid = PaintedGrid(empty, empty, empty, (64, 128), 128)
    placed = place_grid(geometry, grid, 128)
    assert placed.scale == (64.0, 64.0)
    first = geometry.to_world((64 + 63.5, 128 + 63.5))
    assert placed.to_world((0, 0)) == pytest.approx(first)
    other = geometry.to_world((64 + 128 + 63.5, 128 + 2 * 128 + 63.5))
    assert placed.to_world((1, 2)) == pytest.approx(other)


def test_unsure_and_missing_patches_fade() -> None:
    values = np.array([[0.0, 2.0, np.nan]])
    alpha = np.array([[1.0, 0.25, 0.0]])
    picture = blend_colours(values, alpha, (0.0, 2.0), ensure_colormap("gray"))
    assert picture.shape == (1, 3, 4)
    assert picture[0, :2].tolist() == [[0, 0, 0, 255], [255, 255, 255, 64]]
    assert picture[0, 2, 3] == 0


def test_a_prepared_table_brings_its_clusters_and_quality(tmp_path: Path) -> None:
    table = make_table(["a", "b"])
    assert as_cells(table, tmp_path / "rna.h5ad").lines == ("2 cells, 2 genes.",)
    summary = {
        "clusters": [{"cluster": "0", "cells": 2, "lineage": "Glia", "markers": "X"}],
        "verdicts": {"accepted": 2, "few genes": 3, "doublet": 0},
        "cells": 2,
        "cells_read": 5,
        "notes": ["note"],
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    cells = as_cells(table, tmp_path / "rna.h5ad")
    assert cells.lines == ("2 of 5 cells kept (3 few genes), 2 genes.", "note")
    assert cells.clusters is not None
    assert cells.clusters.loc["0", "lineage"] == "Glia"


def test_figures_of_a_coupling_are_told_in_words() -> None:
    figures = {
        "k": 15,
        "k_averaged": [15, 30],
        "epsilon": 0.005,
        "loss": 0.0123,
        "solver": "low_rank",
        "n_rna_cells": 400,
        "effective_support": {"mean": 12.4},
        "agreement": {"across_k": {"15": 1.0, "30": 0.91}},
        "marginal_error": {"rows": 1e-8, "columns": 2e-9},
        "label_transfer": {"to_images": {"barycentric": 0.5, "null_mean": 0.25, "null_max": 0.3}},
        "used": {
            "image": {"from": "obsm X_pca", "steps": []},
            "rna": {"from": "X", "steps": ["log1p of counts per 10,000"]},
        },
        "settings": {"classes": "scores"},
    }
    text = " ".join(describe_figures(figures))
    assert "k 15, 30, epsilon 0.005, loss 0.0123, solver low rank." in text
    assert "with 12 of 400 cells" in text
    assert "0.91 (k 30)." in text
    assert "Label transfer to patches 0.50 (permuted labels 0.25, at most 0.30)." in text
    assert "patches obsm X_pca with RNA X, log1p of counts per 10,000." in text
    figures["settings"] = {"classes": "intra-class"}
    assert "Label transfer says nothing" in " ".join(describe_figures(figures))


def test_gene_sets_of_a_cluster_are_told_in_words() -> None:
    sets = pd.DataFrame(
        {
            "list": ["top cluster 0", "top cluster 0", "found in SNCA"],
            "set": ["lysosome", "ribosome", "mitochondrion"],
            "overlap": [8, 1, 9],
            "size": [12, 20, 10],
            "q": [0.003, 0.7, 0.001],
            "p_matched": [0.01, 0.5, 0.01],
        }
    )
    assert describe_sets(sets, "0") == "lysosome: 8 of 12 genes, q 0.003, matched 0.01"
    assert describe_sets(sets, "1").startswith("No gene set stands out in cluster 1")
    assert "name a GMT file" in describe_sets(None, "0")
