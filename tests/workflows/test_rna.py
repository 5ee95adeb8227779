"""The command rna: from counts to a table that couple takes, with its page and figures."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from napari_bio_superposition.cli import main


def write_counts(path: Path, n: int = 60, seed: int = 0) -> Path:
    """Write counts of two kinds of cells, a few of them empty or mitochondrial."""
    rng = np.random.default_rng(seed)
    rate = np.tile(np.exp(rng.normal(0.3, 0.5, 80)), (n, 1))
    rate[: n // 2, :20] *= 6
    rate[0] = 0.01
    rate[1, 79] = 400
    genes = [*(f"GENE{i}" for i in range(79)), "MT-CO1"]
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n)])
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(path)
    return path


def test_counts_become_a_table_to_couple(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(write_counts(tmp_path / f"s{i}.h5ad", seed=i)) for i in (1, 2)]
    about = tmp_path / "samples.csv"
    about.write_text("sample,genotype\ns1,Control\ns2,SNCA\n")
    out = tmp_path / "out"
    flags = ["--quality.min-genes", "10", "--latent.n-latent", "5", "--latent.n-top-genes", "60"]
    arguments = ["rna", *files, "--out", str(out), "--samples", str(about), *flags]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "cells kept (left out: 2 few genes, 2 mitochondrial" in shown
    assert "None of the marker genes is among the genes" in shown
    table = anndata.read_h5ad(out / "rna.h5ad")
    assert table.obsm["X_pca"].shape == (table.n_obs, 5)
    assert set(table.obs["genotype"]) == {"Control", "SNCA"}
    assert {"counts"} == set(table.layers)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["verdicts"]["few genes"] == 2
    assert summary["verdicts"]["mitochondrial"] == 2
    assert summary["cells"] == table.n_obs
    assert summary["representation"] == "X_pca"
    cells = pd.read_csv(out / "cells.csv", index_col=0)
    assert len(cells) == 120
    page = (out / "report.html").read_text()
    assert "Ambient RNA was not corrected" in page
    assert (out / "figures" / "quality.png").exists()


def test_logged_counts_are_one_line_of_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_counts(tmp_path / "a.h5ad")
    table = anndata.read_h5ad(path)
    table.X = table.X.log1p()
    table.write_h5ad(path)
    assert main(["rna", str(path), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "logarithms had been taken" in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()
