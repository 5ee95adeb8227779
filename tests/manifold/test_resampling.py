"""Draws that respect wells: whole wells are drawn, outcomes change places within a plate."""

import numpy as np

from napari_bio_superposition.manifold.resampling import Wells

UNITS = np.array(["a", "b", "a", "c", "b", "d"])
PLATES = np.array(["1", "1", "1", "2", "1", "2"])


def test_wells_by_hand(rng: np.random.Generator) -> None:
    wells = Wells(UNITS, PLATES)
    assert wells.n_wells == 4
    assert wells.smallest_block == 2
    assert [rows.tolist() for rows in wells.rows] == [[0, 2], [1, 4], [3], [5]]
    assert wells.means(np.arange(6.0)).tolist() == [1, 2.5, 3, 5]
    drawn = wells.resample(rng)
    counts = np.bincount(drawn, minlength=6)
    assert counts[0] == counts[2]  # patches of a well come together
    assert counts[1] == counts[4]


def test_outcomes_stay_on_their_plate_and_together(rng: np.random.Generator) -> None:
    values = np.array([10.0, 20, 11, 30, 21, 40])
    seen = set()
    for _ in range(40):
        shuffled = Wells(UNITS, PLATES).shuffle(values, rng)
        assert sorted(shuffled[PLATES == "1"]) == [10, 11, 20, 21]
        assert sorted(shuffled[PLATES == "2"]) == [30, 40]
        assert {int(shuffled[0]) // 10, int(shuffled[2]) // 10} in ({1}, {2})
        seen.add(tuple(shuffled))
    assert len(seen) > 8


def test_a_well_that_takes_from_a_smaller_one_repeats_values(rng: np.random.Generator) -> None:
    units = np.array(["big"] * 5 + ["small"])
    values = np.array([1.0, 2, 3, 4, 5, 9])
    outcomes = {tuple(Wells(units).shuffle(values, rng)[:5]) for _ in range(20)}
    assert (9, 9, 9, 9, 9) in outcomes


def test_wells_of_one_patch_change_places_within_their_plate(rng: np.random.Generator) -> None:
    values = np.array([10.0, 20, 11, 30, 21, 40])
    alone = Wells(np.array(list("fbcdea")), PLATES)  # their names are not in the order of the rows
    outcomes = {tuple(alone.shuffle(values, rng)) for _ in range(400)}
    assert {tuple(sorted(found[:3] + found[4:5])) for found in outcomes} == {(10, 11, 20, 21)}
    assert len(outcomes) == 24 * 2  # every order of four, times every order of two
