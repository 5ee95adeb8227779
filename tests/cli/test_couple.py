"""The command couple: from two files to a verdict; the real benchmark runs as a slow test."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.cli import main

QUICK = [
    *("--metric", "euclidean", "--neighbours", "8", "--epsilons", "0.005", "--n-starts", "6"),
    *("--n-nulls", "0", "--n-resamples", "0", "--device", "cpu"),
]


def _write(folder: Path, name: str, cells: np.ndarray, labels: list[str]) -> str:
    obs = pd.DataFrame({"stage": labels}, index=[f"cell{i}" for i in range(len(cells))])
    path = folder / f"{name}.h5ad"
    anndata.AnnData(cells, obs=obs).write_h5ad(path)
    return str(path)


def test_two_files_give_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    along = rng.beta(1.2, 2.2, 40)
    cells = np.c_[np.cos(2 * along), np.sin(2 * along), along**2, rng.random(40) * 0.1]
    labels = np.where(along < 0.3, "early", "late").tolist()
    files = [_write(tmp_path, name, cells, labels) for name in ("image", "rna")]
    out = tmp_path / "out"
    assert main(["couple", *files, "--out", str(out), "--label", "stage", "--paired", *QUICK]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Verdict: ")
    assert "FOSCTTM" in shown
    assert json.loads((out / "coupling.json").read_text())["k"] == 8


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["couple", "absent.h5ad", "absent.h5ad", "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "There is no file absent.h5ad" in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_scgem_is_a_map_of_classes(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "scgem"
    stage = np.loadtxt(folder / "expression_type.txt").astype(int).astype(str).tolist()
    files = [
        _write(tmp_path, name, np.loadtxt(folder / f"{name}.txt"), stage)
        for name in ("methylation", "expression")
    ]
    out = tmp_path / "out"
    truth = ["--label", "stage", "--paired", "--device", "cpu"]
    assert main(["couple", *files, "--out", str(out), *truth]) == 0
    figures = json.loads((out / "coupling.json").read_text())
    assert figures["verdict"] == "class-level only"
    assert figures["foscttm"]["overall"] <= 0.19
    assert figures["foscttm"]["within_class"] > 0.35
