"""Latent states: planted differences between genotypes, and tables that keep them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.imaging.simulation.states import (
    FACTORS,
    GENOTYPES,
    CellStates,
    death_probability,
    expected_factor,
    sample_states,
)

N = 4000


@pytest.fixture(scope="module")
def states() -> CellStates:
    return sample_states(np.arange(4 * N) % 4, rng=np.random.default_rng(3))


def test_death_is_more_likely_with_progression_but_never_certain(states: CellStates) -> None:
    np.testing.assert_allclose(death_probability(np.array([0.0, 1.0])), [0.03, 0.48])
    late = states.progression > 0.8
    early = states.progression < 0.2
    assert states.dead[late].mean() == pytest.approx(0.36, abs=0.04)
    assert states.dead[early].mean() == pytest.approx(0.033, abs=0.01)


def test_progression_differs_between_genotypes_and_overlaps(states: CellStates) -> None:
    control, snca = (states.progression[states.genotype == g] for g in (0, 1))
    assert np.mean(control) < np.mean(snca) - 0.15
    assert np.quantile(control, 0.9) > np.median(snca)


@pytest.mark.parametrize(
    ("genotype", "factor"),
    [("SNCA", "fragmentation"), ("GBA", "lysosome_size"), ("LRRK2", "perinuclear")],
)
def test_each_genotype_has_its_own_factor_that_grows_with_progression(
    genotype: str, factor: str
) -> None:
    everyone = np.arange(4)
    start, end = (expected_factor(factor, everyone, np.full(4, p)) for p in (0.0, 1.0))
    own = GENOTYPES.index(genotype)
    assert np.argmax(start) == np.argmax(end) == own
    assert end[own] - start[own] > 0.5


def test_wells_and_neighbourhoods_shift_the_progression(rng: np.random.Generator) -> None:
    genotype = np.zeros(N, dtype=np.int64)
    near = np.zeros(N)
    low = sample_states(genotype, rng=rng, well_offset=-1.0, neighbourhood=near)
    high = sample_states(genotype, rng=rng, well_offset=1.0, neighbourhood=near)
    assert high.progression.mean() - low.progression.mean() > 0.25
    alone = sample_states(genotype, rng=rng, neighbourhood=near).progression
    mixed = sample_states(genotype, rng=rng).progression
    assert mixed.std() > 1.5 * alone.std()  # without a place every cell has its own neighbourhood


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_states_survive_a_table_and_stay_in_their_range(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    states = sample_states(rng.integers(0, 4, n), rng=rng, well_offset=float(rng.normal(0, 3)))
    again = CellStates.from_frame(states.to_frame())
    pd.testing.assert_frame_equal(again.to_frame(), states.to_frame())
    for name in ("progression", *FACTORS):
        values = getattr(again, name)
        assert values.shape == (n,)
        assert ((values >= 0) & (values <= 1)).all()


def test_picking_and_joining_keep_the_order(states: CellStates) -> None:
    first, rest = states.take(np.arange(10)), states.take(np.arange(len(states)) >= 10)
    joined = CellStates.concatenate([first, rest])
    pd.testing.assert_frame_equal(joined.to_frame(), states.to_frame())
