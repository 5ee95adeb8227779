"""The command embed: files from a table, a preset below flags, errors in one line."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.cli import main

QUICK = [
    *("--embedding.no-umap", "--embedding.phate", "never", "--trajectory.n-roots", "0"),
    *("--trend.n-bootstraps", "10", "--trend.n-permutations", "10", "--trend.n-curves", "0"),
    "--trend.no-robustness",
]


def test_a_table_becomes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    along = rng.uniform(size=120)
    values = np.exp(-((along[:, np.newaxis] - np.linspace(0, 1, 15)) ** 2) / 0.05)
    obs = pd.DataFrame(
        {
            "genotype": np.where(along < 0.3, "Control", "SNCA"),
            "group": [f"w{place % 6}" for place in range(120)],
            "dead_area_rate": 1 - along,
        },
        index=[f"patch{place}" for place in range(120)],
    )
    path = tmp_path / "study.h5ad"
    anndata.AnnData(values.astype(np.float32), obs=obs).write_h5ad(path)
    out = tmp_path / "out"
    assert main(["embed", str(path), "--out", str(out), "--preset", "paper", *QUICK, "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["settings"]["scope"] == "pairs"
    assert last["trajectories"]["SNCA"]["correlation"]["spearman"]["value"] < -0.9
    assert (out / "figures" / "pseudotime.png").exists()


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "absent.h5ad", "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "There is no table absent.h5ad" in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main(["embed", "a.h5ad", "--out", "b", "--preset", "best"]) == 2
    assert "default, paper" in capsys.readouterr().err
