"""The plane of genes, flows, networks and over-representation, against planted groups."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from napari_bio_superposition.alignment.genes_enrichment import (
    draw_matched,
    enrich,
    parse_gene_sets,
)
from napari_bio_superposition.alignment.genes_landscape import (
    build_landscape,
    build_network,
    count_flows,
)
from napari_bio_superposition.alignment.genes_landscape_config import LandscapeConfig
from napari_bio_superposition.core.errors import TableError

GENES = [f"G{i}" for i in range(120)]


def test_planted_groups_are_clustered_and_flow() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 40)
    centres = np.array([[0, 0], [8, 0], [0, 8]])[group]
    points = pd.DataFrame(centres + rng.normal(0, 0.5, (120, 2)), index=GENES)
    config = LandscapeConfig(resolutions=(0.05, 0.2), n_top=40, top_resolutions=(0.1, 0.5))
    landscape = build_landscape(points[0], points[1], config, rng=np.random.default_rng(1))
    assert adjusted_rand_score(group, landscape.genes["leiden_0.2"]) > 0.9
    assert landscape.flows["genes"].sum() == 120
    assert len(landscape.top) == 40
    assert (landscape.top["y"] > 5).all()
    again = build_landscape(points[0], points[1], config, rng=np.random.default_rng(1))
    pd.testing.assert_frame_equal(landscape.genes, again.genes)


def test_flows_by_hand() -> None:
    levels = pd.DataFrame({"leiden_1": [0, 0, 1], "leiden_2": [0, 1, 1]})
    assert count_flows(levels).to_numpy().tolist() == [
        ["leiden_1", 0, "leiden_2", 0, 1],
        ["leiden_1", 0, "leiden_2", 1, 1],
        ["leiden_1", 1, "leiden_2", 1, 1],
    ]


def test_few_genes_make_no_landscape() -> None:
    few = pd.Series(np.arange(4.0), index=GENES[:4])
    with pytest.raises(TableError, match="4 genes have a z in both"):
        build_landscape(few, few, rng=np.random.default_rng(0))


def test_a_network_joins_what_is_correlated() -> None:
    rng = np.random.default_rng(0)
    drivers = rng.normal(size=(200, 2))
    expression = np.repeat(drivers, 6, axis=1) + 0.3 * rng.normal(size=(200, 12))
    expression = np.c_[expression, np.ones(200)]
    nodes, edges = build_network(
        expression, GENES[:13], LandscapeConfig(network_neighbours=3), rng=rng
    )
    graph = nx.from_pandas_edgelist(edges[edges["correlation"] > 0.5])
    parts = sorted(sorted(part, key=GENES.index) for part in nx.connected_components(graph))
    assert parts == [GENES[:6], GENES[6:12]]
    assert len(nodes) == 12  # the constant gene is left out
    assert nodes["degree"].sum() == 2 * len(edges)


def test_over_representation_by_hand() -> None:
    sets = {
        "planted": frozenset(GENES[:10]),
        "other": frozenset(GENES[50:60]),
        "tiny": frozenset({"G1"}),
    }
    table = enrich(GENES[:8], GENES, sets, rng=np.random.default_rng(0))
    assert table.index.tolist() == ["planted", "other"]
    assert table.loc["planted", "overlap"] == 8
    assert table.loc["planted", "expected"] == pytest.approx(10 * 8 / 120)
    # all eight of the chosen among ten of 120: C(10, 8) / C(120, 8)
    assert table.loc["planted", "p"] == pytest.approx(45 / 840_261_910_995, rel=1e-6)
    assert table.loc["other", "p"] == 1.0
    assert table.loc["planted", "genes"].startswith("G0, G1")


def test_genes_of_like_expression_are_no_discovery() -> None:
    """A set of highly expressed genes beats chance, but not lists of equally high expression."""
    level = dict(zip(GENES, np.arange(120.0), strict=True))
    chosen = GENES[96:120:2]
    sets = {"high": frozenset(GENES[96:])}
    table = enrich(chosen, GENES, sets, level, rng=np.random.default_rng(0))
    assert table.loc["high", "q"] < 1e-6
    assert table.loc["high", "p_matched"] > 0.5


def test_symbols_of_two_species_are_one_gene() -> None:
    both = [*GENES, *(gene.lower() for gene in GENES)]
    level = dict.fromkeys(both, 1.0)
    sets = {"planted": frozenset(GENES[:8])}
    once = enrich(GENES[:6], GENES, sets, rng=np.random.default_rng(0))
    twice = enrich(both[len(GENES) :][:6], both, sets, level, rng=np.random.default_rng(0))
    columns = ["overlap", "size", "expected", "p", "genes"]
    pd.testing.assert_frame_equal(twice[columns], once[columns])


def test_matched_lists_have_the_same_levels() -> None:
    level = np.repeat(np.arange(20.0), 6)
    chosen = np.zeros(120, dtype=bool)
    chosen[[0, 1, 60, 119]] = True
    drawn = draw_matched(chosen, level, 30, rng=np.random.default_rng(0))
    for row in drawn:
        assert sorted(level[row]) == sorted(level[chosen])


def test_gene_sets_are_read_and_checked() -> None:
    text = "A\thttp://a\tG1\tG2\n\nB\t\tG3\n"
    assert parse_gene_sets(text) == {"A": {"G1", "G2"}, "B": {"G3"}}
    for bad, words in (("A\tx\n", "Line 1"), ("A\tx\tG\nA\tx\tH\n", "more than once"), ("", "no")):
        with pytest.raises(TableError, match=words):
            parse_gene_sets(bad)
    with pytest.raises(TableError, match="were not tested"):
        enrich(["ABSENT"], GENES, {"a": frozenset(GENES)}, rng=np.random.default_rng(0))
    with pytest.raises(TableError, match="None of 1 gene sets"):
        enrich(GENES[:3], GENES, {"a": frozenset({"X"})}, rng=np.random.default_rng(0))
