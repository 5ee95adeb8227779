"""How the demo compares a coupling with the truth: perfect, flipped and empty couplings."""

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.workflows.demo_genes import rank_nearest, read_verdict, score_genes

N = 20
PLACE = np.linspace(0, 1, N)
DISTANCE = np.abs(PLACE[:, None] - PLACE[None])
CLASSES = np.where(np.arange(N) < N // 2, "Control", "GBA")


@pytest.mark.parametrize(
    ("strength", "overall", "within"),
    [(-DISTANCE, 0.0, 0.0), (DISTANCE, 1.0, 1.0), (np.ones((N, N)), 0.5, 0.5)],
)
def test_the_nearest_cell_is_first_last_or_in_the_middle(
    strength: np.ndarray, overall: float, within: float
) -> None:
    assert rank_nearest(strength, DISTANCE, (CLASSES, CLASSES)) == pytest.approx((overall, within))


def test_a_map_of_classes_is_chance_within_them() -> None:
    strength = (CLASSES[:, None] == CLASSES[None]).astype(float)
    overall, within = rank_nearest(strength, DISTANCE, (CLASSES, CLASSES))
    assert within == pytest.approx(0.5)
    assert overall == pytest.approx((N / 2 - 1) / 2 / (N - 1))


@pytest.mark.parametrize(
    ("verdict", "fits", "words"),
    [
        ("no alignment", False, "bears the verdict out: single cells of a genotype do not"),
        ("class-level only", False, "bears the verdict out: single cells of a genotype do not"),
        ("ambiguous", True, "claims less than is true: single cells of a genotype correspond"),
        ("cell-level", False, "claims more than is true: single cells of a genotype do not"),
        ("cell-level", True, "bears the verdict out: single cells of a genotype correspond"),
    ],
)
def test_the_truth_is_told_beside_the_verdict(verdict: str, fits: bool, words: str) -> None:
    assert words in read_verdict(verdict, cells_fit=fits)


def test_planted_genes_are_counted_where_they_are_found() -> None:
    linked = pd.Series([True, True, False, False], index=list("abcd"))
    table = pd.DataFrame(
        {
            "gene": list("abcd"),
            "class": "Control",
            "z": [3.0, 2.0, 1.0, 0.0],
            "z_split_cells": [3.0, 0.5, 1.0, np.nan],
            "q_split_cells": [0.01, 0.5, 0.01, np.nan],
            "r2_split_cells": [0.2, 0.1, 0.1, np.nan],
        }
    )
    row = score_genes(table, linked).loc["Control"]
    assert row["auroc"] == 1.0
    assert row["auroc_split_cells"] == 0.5  # a above c, b below it; d has no score
    assert row[["genes", "linked", "found_linked", "found_others"]].tolist() == [4, 2, 1, 1]
