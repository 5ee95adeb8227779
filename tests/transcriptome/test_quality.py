"""Quality control of cells: thresholds against hand-made cells, genes that tell donors apart."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.transcriptome.config import RnaQualityConfig
from napari_bio_superposition.transcriptome.quality import (
    filter_cells,
    find_doublets,
    find_sex_genes,
    judge_cells,
)


def make_cells() -> anndata.AnnData:
    """Return 3 cells x 6 genes: good, few genes, and mitochondrial."""
    counts = np.array([[2, 1, 1, 1, 0, 1], [9, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 6]])
    genes = ["A", "RPS2", "C", "XIST", "UTY", "mt-Nd1"]
    obs = pd.DataFrame({"sample": ["s"] * 3}, index=["good", "few", "mito"])
    return anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=genes)
    )


def test_cells_are_measured_and_judged() -> None:
    config = RnaQualityConfig(min_genes=3, max_mitochondrial=0.5, doublet_rule="none")
    cells = judge_cells(make_cells(), config)
    assert cells["verdict"].tolist() == ["accepted", "few genes", "mitochondrial"]
    assert cells["n_genes"].tolist() == [5, 1, 5]
    np.testing.assert_allclose(cells["mitochondrial"], [1 / 6, 0, 0.6])
    np.testing.assert_allclose(cells["ribosomal"], [1 / 6, 0, 0.1])


def test_genes_of_the_sexes_and_rare_genes_go() -> None:
    table = make_cells()
    config = RnaQualityConfig(min_genes=3, max_mitochondrial=0.7, doublet_rule="none", min_cells=2)
    kept = filter_cells(table, judge_cells(table, config), config)
    assert kept.var_names.tolist() == ["A", "RPS2", "C", "mt-Nd1"]
    assert find_sex_genes(table).tolist() == [False, False, False, True, True, False]
    table.var["chromosome"] = ["chrY", "1", "1", "X", "Y", "MT"]
    assert find_sex_genes(table)[0]


def test_doublets_are_above_both_percentiles() -> None:
    cells = pd.DataFrame({"n_genes": range(100), "n_counts": [*range(98), 200, 98]})
    both = find_doublets(cells, RnaQualityConfig(doublet_percentile=98.0))
    either = find_doublets(cells, RnaQualityConfig(doublet_percentile=98.0, doublet_rule="either"))
    assert np.flatnonzero(both).tolist() == [98, 99]
    cells["n_counts"] = [*range(50, 100), *range(50)]
    assert not find_doublets(cells, RnaQualityConfig(doublet_percentile=98.0)).any()
    assert either.sum() == 2


def test_percentiles_are_those_of_the_sample() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (200, 40))
    counts[:100] *= 3  # all cells of the first sample have more counts
    obs = pd.DataFrame({"sample": ["a"] * 100 + ["b"] * 100}, index=[str(i) for i in range(200)])
    table = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)
    config = RnaQualityConfig(min_genes=0, doublet_percentile=90.0, doublet_rule="either")
    doublets = judge_cells(table, config)["verdict"] == "doublet"
    assert doublets[:100].sum() > 3
    assert doublets[100:].sum() > 3


def test_nothing_left_is_an_error_with_figures() -> None:
    table = make_cells()
    with pytest.raises(TableError, match=r"None of 3 cells passed.*few genes: 3"):
        filter_cells(table, judge_cells(table))
