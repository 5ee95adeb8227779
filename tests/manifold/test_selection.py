"""Features chosen on half of the wells: planted ones come first, the halves do not overlap."""

import numpy as np
import pytest

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.manifold.selection import select_on_half


def make_study(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups = np.repeat(["Control", "SNCA"], 80)
    wells = np.repeat([f"w{place}" for place in range(8)], 20)
    values = rng.normal(size=(160, 30)).astype(np.float32)
    values[groups == "SNCA", 4] += 2
    values[groups == "SNCA", 9] -= 2
    return values, groups, wells


def test_planted_features_are_chosen_on_half_of_the_wells(rng: np.random.Generator) -> None:
    values, groups, wells = make_study(rng)
    found = select_on_half(values, groups, wells, n_features=2, rng=rng)
    assert sorted(found.features) == [4, 9]
    chose, judge = map(set, found.wells)
    assert len(chose) == len(judge) == 4
    assert chose | judge == set(wells)
    assert set(wells[found.choosing]) == chose
    for name in ("Control", "SNCA"):
        assert len(set(wells[groups == name]) & chose) == 2


def test_the_judging_half_has_no_say(rng: np.random.Generator) -> None:
    values, groups, wells = make_study(rng)
    first = select_on_half(values, groups, wells, n_features=5, rng=np.random.default_rng(1))
    values[~first.choosing] += rng.normal(size=values[~first.choosing].shape).astype(np.float32)
    again = select_on_half(values, groups, wells, n_features=5, rng=np.random.default_rng(1))
    assert first.features.tolist() == again.features.tolist()


def test_a_group_with_one_well_cannot_be_halved(rng: np.random.Generator) -> None:
    values, groups, wells = make_study(rng)
    with pytest.raises(TableError, match="'Control' has one well"):
        select_on_half(
            values, groups, np.where(groups == "SNCA", wells, "w"), n_features=2, rng=rng
        )
    with pytest.raises(TableError, match="between two or more groups"):
        select_on_half(values, np.full(160, "one"), wells, n_features=2, rng=rng)
