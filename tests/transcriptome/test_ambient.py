"""Ambient RNA: a planted contamination is found and taken out; without the extra it is said."""

import sys

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import MissingExtraError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.transcriptome.ambient import (
    CONTAMINATION,
    cluster_coarsely,
    remove_ambient,
)


def _contaminated(rng: np.random.Generator) -> tuple[AnnData, np.ndarray, np.ndarray]:
    """Return counts, the clean counts below them, and the planted share of ambient RNA."""
    profiles = rng.dirichlet(np.full(200, 0.3), 3)
    kind, share = rng.integers(0, 3, 300), rng.beta(2, 10, 300)
    ambient = np.bincount(kind) / 300 @ profiles
    clean = rng.poisson(1500 * (1 - share)[:, None] * profiles[kind])
    foreign = rng.poisson(1500 * share[:, None] * ambient)
    index = [f"cell{number}" for number in range(300)]
    obs = pd.DataFrame({"sample": np.where(np.arange(300) % 2, "a", "b")}, index=index)
    return AnnData(sparse.csr_matrix(clean + foreign, dtype=np.float32), obs=obs), clean, share


def test_planted_ambient_rna_is_taken_out(rng: np.random.Generator) -> None:
    pytest.importorskip("pydecontx", reason="the extra decontx is not installed")
    table, clean, share = _contaminated(rng)
    before = np.abs(table.X.toarray() - clean).sum()
    notes = run(remove_ambient(table, sample_key="sample", rng=rng))
    assert len(notes) == 2
    assert np.corrcoef(table.obs[CONTAMINATION], share)[0, 1] > 0.9
    assert np.abs(table.X.toarray() - clean).sum() < 0.6 * before
    assert np.array_equal(table.X.data, np.round(table.X.data))


def test_without_the_extra_it_is_named(rng: np.random.Generator, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pydecontx", None)
    with pytest.raises(MissingExtraError, match="decontx"):
        run(remove_ambient(_contaminated(rng)[0], sample_key="sample", rng=rng))


def test_coarse_clusters_follow_the_kinds_of_cells(rng: np.random.Generator) -> None:
    profiles = rng.dirichlet(np.full(100, 0.3), 2)
    counts = np.stack([rng.poisson(1000 * profiles[number // 60]) for number in range(120)])
    found = cluster_coarsely(sparse.csr_matrix(counts.astype(float)), seed=0)
    assert not set(found[:60]) & set(found[60:])  # kinds may be split, but are never mixed
